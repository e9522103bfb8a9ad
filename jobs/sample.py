"""Sample new trials from a trained model into a dataset, and record it in MLflow.

The same request gives the same dataset, file by file, for any number of workers. Killed or interrupted, the same
command samples only what is missing.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ldns_ray import storage
from ldns_ray.cli import add_output, add_root, add_seed, add_tracking, default_root, job_parser, run
from ldns_ray.data.card import Card
from ldns_ray.data.conditions import TrialConditions, is_condition_file, read_conditions
from ldns_ray.data.shard_writer import SHARD_BYTES
from ldns_ray.data.shards import load_trialset
from ldns_ray.logged import log_sampling
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.models.ldns import LDNS
from ldns_ray.sampling.dataset import InProcess, Work, carry_out
from ldns_ray.sampling.places import check_free
from ldns_ray.sampling.plan import plan_samples
from ldns_ray.sampling.progress import Progress
from ldns_ray.tracking.connection import connect, default_uri

EXAMPLES = """examples:
  500 trials like the training trials, in length and condition:
    python jobs/sample.py MODEL --n 500 --out data/sampled

  100 trials of 300 bins:
    python jobs/sample.py MODEL --n 100 --lengths 300 --out data/sampled

  100 trials that exaggerate their conditions:
    python jobs/sample.py MODEL --n 100 --guidance 2 --out data/sampled

  one trial for each trial of a dataset, with that trial's length, conditions and covariates:
    python jobs/sample.py MODEL --conditions data/reach --split test --out data/sampled

  ten trials of every line of a table, guided:
    printf 'angle.0,angle.1,n_bins\\n1,0,140\\n0,1,140\\n' > angles.csv
    python jobs/sample.py MODEL --conditions angles.csv --n 20 --guidance 2 --out data/sampled

  a million trials by eight workers of a Ray cluster; after a crash, the same command goes on:
    RAY_ADDRESS=ray-head:6379 python jobs/sample.py MODEL --n 1_000_000 --workers 8 --out s3://bucket/sampled
"""

SECONDS_BETWEEN_LINES = 15.0


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    p.add_argument("model", help="model folder or URI, as printed by jobs/train.py")
    add_output(p, "where to write the sampled dataset")
    p.add_argument(
        "--n",
        type=int,
        default=0,
        help="trials (default: as many as --conditions has, or the training split had)",
    )
    p.add_argument(
        "--lengths",
        default="",
        help="bins of every trial, or a comma-separated list of lengths to cycle through",
    )
    p.add_argument(
        "--conditions",
        metavar="DATASET|FILE",
        help="what gives lengths, conditions and covariates: a dataset, a .npz file of arrays by name (conditions "
        "(trials, entries), covariates (trials, bins, channels), or (all bins, channels) with an array n_bins), or a "
        ".csv file of conditions with the columns angle.0,angle.1 (or a plain name), and n_bins",
    )
    p.add_argument("--split", help="split of that dataset (default: test)")
    p.add_argument(
        "--sampler",
        default="dpmpp_2m_sde",
        help="dpmpp_2m_sde (default), dpmpp_2m or ddim (few steps), or ddpm (every diffusion step)",
    )
    p.add_argument("--n-steps", type=int, default=20, help="steps of all but ddpm (default: 20)")
    p.add_argument(
        "--guidance", type=float, default=1.0,
        help="strength of the conditions: 1 as trained (default), 2 to exaggerate them, 0 to leave them out; needs a "
        "model trained with diffusion.condition_dropout",
    )  # fmt: skip
    add_seed(p, "same seed, same spikes")
    p.add_argument("--workers", type=int, default=0,
                   help="Ray actors that share the trials out; 0 samples in this process, without Ray (default: 0). Each "
                   "computes with one thread: take as many as there are cores")  # fmt: skip
    p.add_argument(
        "--gpus-per-worker", type=float, default=0.0, help="GPUs of each worker (default: 0)"
    )
    p.add_argument(
        "--cpus-per-worker", type=float, default=1.0, help="CPUs of each worker (default: 1)"
    )
    p.add_argument(
        "--shard-mb", type=float, default=SHARD_BYTES / 2**20,
        help="uncompressed size of a file, roughly; a worker is busy with one at a time (default: 96)",
    )  # fmt: skip
    add_root(p)
    add_tracking(p)
    return p


def _asked(args: argparse.Namespace, model: LDNS) -> TrialConditions | None:
    """What `--conditions` asks for."""
    if not args.conditions:
        return None
    c = model.conditioning
    conditions = {name: size for name, size in c.conditions.items() if name != LENGTH}
    if is_condition_file(args.conditions):
        if args.split is not None:
            raise ValueError(
                f"--split is for datasets; {args.conditions} is a file, whose trials are all taken."
            )
        return read_conditions(args.conditions, conditions=conditions, covariates=c.covariates)
    names = [f"condition:{name}" for name in conditions]
    names += [f"covariate:{name}" for name in c.covariates]
    trials = load_trialset(args.conditions, args.split or "test", names)
    covariates = {name: trials.covariates_list(name) for name in trials.covariates}
    return TrialConditions(trials.n_bins_S, dict(trials.conditions), covariates)


def _lengths(text: str, n: int) -> np.ndarray:
    """`n` lengths, those of `text` over and over."""
    try:
        lengths = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--lengths must be whole numbers, got {text!r}. Example: 100,200"
        ) from None
    return np.resize(lengths, n)


def _line(say: Callable[[str], None]) -> Callable[[Progress], None]:
    """Says how far it has come, now and then."""
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{'samples':<12} {progress}")

    return show


def _work(args: argparse.Namespace) -> Work:
    """Who samples."""
    if not args.workers:
        return InProcess(n_threads=1)
    from ldns_ray.sampling.cluster import OnCluster

    return OnCluster(args.workers, args.cpus_per_worker, args.gpus_per_worker)


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    if args.n < 0:
        raise ValueError(f"--n must be at least 1, or 0 for as many as in training, got {args.n}.")
    _check_workers(args)
    model = LDNS.load(args.model)
    n = args.n or len(model.training.n_bins_S)
    n_bins, condition, covariates = None, None, None
    asked = _asked(args, model)
    if asked is not None:
        n = args.n or len(asked)
        asked = asked.cycled(n)
        n_bins, condition, covariates = asked.n_bins, asked.conditions, asked.covariates
    if args.lengths:
        n_bins = _lengths(args.lengths, n)
    work, uri = _work(args), storage.absolute(storage.new_folder(args.out))
    planned = plan_samples(
        model, storage.absolute(args.model), n, sampler=args.sampler, n_steps=args.n_steps, seed=args.seed,
        guidance=args.guidance, n_bins=n_bins, condition=condition, covariates=covariates, device=work.device,
        shard_bytes=int(args.shard_mb * 2**20),
    )  # fmt: skip
    check_free(planned, uri, args.overwrite)
    tracking = connect(args.tracking_uri or default_uri(default_root(args.root)), "sample")
    if args.workers:
        from ldns_ray.training.distributed import connect_ray

        connect_ray()

    def sample() -> Card:
        return carry_out(
            planned, model, uri, work, overwrite=args.overwrite, on_progress=_line(print)
        )

    command = shlex.join(["python", "jobs/sample.py", *argv])
    url = log_sampling(tracking, planned, uri, command, sample)
    print(f"{n} trials of {len(model.unit_names)} units.")
    print(f"Results: {args.out} and {url}")
    return 0


def _check_workers(args: argparse.Namespace) -> None:
    for option in ("workers", "cpus_per_worker", "gpus_per_worker"):
        value = getattr(args, option)
        if not 0 <= value < math.inf:
            name = option.replace("_", "-")
            raise ValueError(f"--{name} must be finite and non-negative, got {value:g}.")
    if not 0 < args.shard_mb < math.inf:
        raise ValueError(f"--shard-mb must be positive and finite, got {args.shard_mb:g}.")


if __name__ == "__main__":
    run(main)
