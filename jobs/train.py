"""Train one LDNS experiment, from dataset to score: autoencoder, diffusion model, samples, evaluation.

What is already done under the storage root is not done again, and what was interrupted goes on from its
last checkpoint.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import (
    add_data,
    add_root,
    add_tracking,
    add_workers,
    default_root,
    job_parser,
    run,
)
from ldns_ray.config import EXPERIMENTS, Hardware, experiment
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.evaluation.reporting.results import REPORT, format_summary
from ldns_ray.logged import introduce
from ldns_ray.observers import Several, Terminal, Tracked
from ldns_ray.pipeline import STAGES, Pipeline
from ldns_ray.settings import apart, fingerprint, override, parse_overrides, settings
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.training.distributed import connect_ray

EXAMPLES = f"""experiments: {", ".join(EXPERIMENTS)}
settings are given by their dotted names; `python jobs/train.py EXPERIMENT --settings` lists them

examples:
  the small experiment on simulated speech:
    python jobs/train.py speech_small

  your own recording, with wider latents and two GPUs:
    python jobs/train.py reach --data data/reach --workers 2 --gpus-per-worker 1 \\
        autoencoder.n_latents=24 diffusion.optimisation.epochs=1000
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    p.add_argument("experiment", help="name of the experiment")
    p.add_argument("overrides", nargs="*", metavar="setting=value", help="settings to change")
    add_data(p)
    p.add_argument("--until", default="evaluation", help=f"last stage: {', '.join(STAGES)}")
    add_workers(p)
    p.add_argument(
        "--settings", action="store_true", help="list the experiment's settings and stop"
    )
    add_root(p)
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_intermixed_args(argv)
    changes, of_hardware = apart(parse_overrides(args.overrides), "hardware")
    e = experiment(args.experiment, **changes)
    hardware = Hardware(args.workers, args.gpus_per_worker, args.cpus_per_worker)
    hardware = override(hardware, of_hardware, "hardware.")
    if args.settings:
        for name, value in {**settings(e), **settings(hardware, "hardware.")}.items():
            print(f"{name} = {value}")
        return 0
    root = default_root(args.root)
    tracking = connect(args.tracking_uri or default_uri(root), e.name)
    data_uri = args.data or simulated_dataset(e, root)
    pipeline = Pipeline(e, data_uri, root, hardware)
    pipeline.check(args.until)
    key = fingerprint(
        "train", pipeline.fingerprints
    )  # reads the dataset's card: fails before Ray starts
    if hardware.workers:
        connect_ray()
    compare_url = introduce(tracking)
    with tracking.run(e.name, key=key, tags={"ldns.kind": "train"}) as parent:
        what = f"LDNS `{e.name}`, from dataset to score."
        pipeline.observer = Several([Terminal(), Tracked(parent, pipeline, what)])
        records = pipeline.run(args.until)
        url = parent.url
    if args.until == "evaluation":
        print()
        print(format_summary(records["evaluation"]["summary"]))
    print(f"\nModel: {pipeline.model_uri if 'observation' in records else '-'}")
    if "samples" in records:
        print(f"Samples: {pipeline.samples_uri}")
    if args.until == "evaluation":
        print(f"Report: {pipeline.uri('evaluation', REPORT)}")
    print(f"All runs, best first: {compare_url}")
    print(f"Results: {pipeline.uri(args.until)} and {url}")
    return 0


if __name__ == "__main__":
    run(main)
