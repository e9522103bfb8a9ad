"""Search for the LDNS model whose sampled speech-cortex spikes are most like the real ones.

Every trial trains an autoencoder and a diffusion model, samples, and is scored on the validation trials;
trials with the same autoencoder settings share it. Submitting the same sweep again continues it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.checks import check_seed
from ldns_ray.cli import add_data, add_root, add_seed, add_tracking, default_root, job_parser, run
from ldns_ray.config import Hardware, experiment
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.evaluation.reporting.results import format_summary
from ldns_ray.settings import apart, override, parse_overrides
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.sweep import format_result, run_sweep
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.training.distributed import connect_ray
from search_spaces.speech import SPACE

EXAMPLES = """examples:
  the small sweep on simulated speech:
    python jobs/sweep_speech.py

  the paper's settings on a recording, 100 trials on a GPU cluster:
    ray job submit --working-dir . -- python jobs/sweep_speech.py --experiment speech \\
        --data s3://bucket/speech --root s3://bucket/ldns --n-trials 100 --gpus-per-trial 1
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    p.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="settings of all trials to change"
    )
    p.add_argument(
        "--experiment",
        default="speech_small",
        help="what the trials start from (default: speech_small)",
    )
    add_data(p)
    p.add_argument("--n-trials", type=int, default=4, help="trials (default: 4)")
    add_seed(p, "seed of the search")
    p.add_argument(
        "--cpus-per-trial", type=float, default=1.0, help="CPUs of each trial (default: 1)"
    )
    p.add_argument(
        "--gpus-per-trial",
        type=float,
        default=0.0,
        help="GPUs of each trial, may be a fraction (default: 0)",
    )
    p.add_argument(
        "--max-concurrent", type=int, default=0, help="trials at once (default: as many as fit)"
    )
    p.add_argument(
        "--optuna-storage",
        default="",
        help="database URL of the Optuna study (default: a file under the root)",
    )
    add_root(p)
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_intermixed_args(argv)
    check_seed("--seed", args.seed)
    changes, of_hardware = apart(parse_overrides(args.overrides), "hardware")
    e = experiment(args.experiment, **changes)
    hardware = override(Hardware(workers=0), of_hardware, "hardware.")
    if hardware != Hardware(workers=0, data=hardware.data):
        raise ValueError(
            "Of the hardware of trials, settings say hardware.data alone; for the rest there are --cpus-per-trial and "
            "--gpus-per-trial."
        )
    root = default_root(args.root)
    tracking_uri = args.tracking_uri or default_uri(root)
    connect(tracking_uri, "speech")  # an unreachable server is told before anything starts
    data_uri = args.data or simulated_dataset(e, root)
    sweep = Sweep(
        "speech", e, SPACE, data_uri, root, tracking_uri, n_trials=args.n_trials, seed=args.seed,
        cpus_per_trial=args.cpus_per_trial, gpus_per_trial=args.gpus_per_trial,
        max_concurrent=args.max_concurrent, data=hardware.data, optuna_storage=args.optuna_storage,
    )  # fmt: skip
    connect_ray()
    result = run_sweep(sweep, lambda line: print(line, flush=True))
    print(
        "\nTrials, best first, on the validation split: each metric, and (in brackets) its noise floor"
    )
    print(format_result(list(SPACE), result))
    print(f"\n{result['best']['name']}")
    print(format_summary(result["test"]["summary"]))
    failed = sum(row["status"] == "FAILED" for row in result["trials"])
    if failed:
        print(f"{failed} of {len(result['trials'])} trials failed; their tracebacks are in MLflow.")
    print(f"\nBest model: {result['test']['model']}")
    if "compare_url" in result:  # not in what earlier versions stored
        print(f"Trials, best first: {result['compare_url']}")
    print(f"Results: {sweep.uri} and {result['url']}")
    return 0


if __name__ == "__main__":
    run(main)
