"""Make one of the README's results anew, from recording to table: train, sample, evaluate, and write it down.

What is already done under the storage root is not done again, and what was interrupted goes on from its
last checkpoint.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray import storage
from ldns_ray.cli import add_root, add_tracking, add_workers, default_root, job_parser, run
from ldns_ray.config import Hardware, experiment
from ldns_ray.evaluation.reporting.results import REPORT
from ldns_ray.pipeline import Pipeline
from ldns_ray.reproduction.command import reproduce
from ldns_ray.reproduction.directions import parse_degrees
from ldns_ray.reproduction.recordings import dataset_of, settings_of
from ldns_ray.reproduction.request import HELD_OUT, Request
from ldns_ray.reproduction.results import RESULTS, check, check_name
from ldns_ray.reproduction.writing import JSON, MARKDOWN
from ldns_ray.settings import apart, override, parse_overrides
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.training.distributed import connect_ray

EXAMPLES = f"""results: {", ".join(RESULTS)}; lorenz and speech are simulated, the others need a recording

examples:
  the Lorenz system, in minutes on two CPU cores:
    python jobs/reproduce.py lorenz --small

  reaches given their angle, of the recording that the README is about; two directions are never seen in training:
    python jobs/reproduce.py reach_angle --small --recording pmd_reach_plan_train.npz --held-out 90,225

  the paper's reaches with the paper's networks, on a GPU:
    python jobs/ingest.py nwb sub-Jenkins/*desc-train*.nwb --out data/maze --preset mc_maze --split-rule ldns
    python jobs/reproduce.py reach --data data/maze --gpus-per-worker 1
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    p.add_argument("result", help="name of the result")
    p.add_argument("overrides", nargs="*", metavar="setting=value",
                   help="settings of the experiment to change; `python jobs/train.py RESULT --settings` lists them")  # fmt: skip
    p.add_argument("--small", action="store_true",
                   help="networks and trainings for two CPU cores instead of the paper's")  # fmt: skip
    p.add_argument("--recording", metavar="FILE",
                   help="recording to ingest: pmd_reach_plan_train.npz for reach and reach_angle, m1_reach_contdata95.npz "
                   "for reach_velocity")  # fmt: skip
    p.add_argument("--data", metavar="DATASET",
                   help="any dataset made by jobs/ingest.py, instead of a recording or a simulation")  # fmt: skip
    p.add_argument("--held-out", metavar="DEGREES", default=",".join(f"{x:g}" for x in HELD_OUT),
                   help="reach_angle: directions that are left out of training in turn, in degrees (default: %(default)s)")  # fmt: skip
    add_workers(p)
    add_root(p)
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_intermixed_args(argv)
    check_name(args.result)
    held_out = parse_degrees(args.held_out)
    changes, of_hardware = apart(parse_overrides(args.overrides), "hardware")
    name = f"{args.result}_small" if args.small else args.result
    e = experiment(name, **(settings_of(args.result, args.recording) | changes))
    hardware = Hardware(args.workers, args.gpus_per_worker, args.cpus_per_worker)
    hardware = override(hardware, of_hardware, "hardware.")
    root = default_root(args.root)
    tracking = connect(args.tracking_uri or default_uri(root), e.name)
    data_uri = dataset_of(args.result, e, root, data=args.data, recording=args.recording)
    request = Request(args.result, e, data_uri, held_out)
    check(Pipeline(e, data_uri, root, hardware), request)
    if hardware.workers:
        connect_ray()
    command = shlex.join(["python", "jobs/reproduce.py", *argv])
    outcome = reproduce(request, root, hardware, tracking, command, print)
    print(f"\n{outcome.markdown}")
    print(f"Report: {storage.join(outcome.uri, REPORT)}")
    print(f"To paste: {storage.join(outcome.uri, MARKDOWN)}")
    print(f"Numbers: {storage.join(outcome.uri, JSON)}")
    print(f"Results: {outcome.uri} and {outcome.url}")
    return 0


if __name__ == "__main__":
    run(main)
