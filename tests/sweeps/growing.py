"""A sweep's trials on the cluster that RAY_ADDRESS names: two of them, of which each waits until both run.

    python -m tests.sweeps.growing FOLDER

Prints what is said, and as a last line JSON: nodes alive before, the trials' nodes, and their scores.
"""

import json
import sys
from pathlib import Path

import optuna
import ray
from ray import tune

from ldns_ray.config import experiment
from ldns_ray.sweeps import places
from ldns_ray.sweeps.budget import process_resources
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import NUMBER, SCORE, StudySearch
from ldns_ray.training.distributed import connect_ray
from tests.sweeps.processes import wait_until


def alive():
    return sum(node["Alive"] for node in ray.nodes())


def main(folder):
    def trial(config):
        Path(folder, f"trial-{config[NUMBER]}").touch()
        wait_until(lambda: len(list(Path(folder).glob("trial-*"))) == 2, limit_s=90)
        tune.report({SCORE: float(config[NUMBER]), "node": ray.get_runtime_context().get_node_id()})

    places.LOOK_S = 0.5
    space = {"diffusion.optimisation.learning_rate": tune.loguniform(1e-4, 1e-2)}
    sweep = Sweep(
        "growing", experiment("speech_small"), space, "no data", folder, "no server", n_trials=2, cpus_per_trial=2
    )  # fmt: skip
    connect_ray()
    before = alive()
    with places.places(sweep, 2, print) as room:
        search = StudySearch(optuna.create_study(), sweep.distributions, seed=0)
        results = tune.Tuner(
            tune.with_resources(trial, process_resources(sweep)),
            tune_config=tune.TuneConfig(num_samples=2, search_alg=room.limiting(search)),
            run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
        ).fit()
    wait_until(lambda: alive() == before, limit_s=90)
    rows = [result.metrics for result in results]
    print(
        json.dumps(
            {
                "before": before,
                "nodes": [r["node"] for r in rows],
                "scores": [r[SCORE] for r in rows],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
