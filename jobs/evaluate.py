"""Compare sampled spikes with real ones: a table, a report with pictures, and a run in MLflow.

Every metric stands beside its noise floor, with an interval, and beside baselines made from the training trials.
The datasets may come from any model. The first sampled dataset is the one in the pictures.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray import storage
from ldns_ray.checks import check_seed
from ldns_ray.cli import add_root, add_seed, add_tracking, default_root, job_parser, run
from ldns_ray.config import Evaluation
from ldns_ray.evaluation.datasets import Comparison
from ldns_ray.evaluation.reporting.results import REPORT, format_summary, write_results
from ldns_ray.logged import log_comparison
from ldns_ray.tracking.connection import connect, default_uri

EXAMPLES = """examples:
  two models' samples beside the test trials:
    python jobs/evaluate.py data/reach data/sampled data/others

  and whether they have the velocity, or the target, that they were sampled for:
    python jobs/evaluate.py data/reach data/sampled --decode velocity
    python jobs/evaluate.py data/reach data/sampled --decode target --decode-from 0.2

  with names for the tables:
    python jobs/evaluate.py data/reach LDNS=data/sampled AutoLFADS=data/others
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    e = Evaluation()
    p.add_argument("real", help="dataset of real trials")
    p.add_argument(
        "sampled",
        nargs="+",
        metavar="[NAME=]SAMPLED",
        help="datasets of sampled trials, of this or any other model",
    )
    p.add_argument(
        "--split", default=e.split, help=f"reference split of the real dataset (default: {e.split})"
    )
    p.add_argument(
        "--splits",
        type=int,
        default=e.n_splits,
        help=f"random halvings of the reference (default: {e.n_splits})",
    )
    p.add_argument(
        "--resamples", type=int, default=e.n_resamples,
        help=f"bootstrap resamples for the intervals; 0 for none (default: {e.n_resamples})",
    )  # fmt: skip
    add_seed(p, "seed of the halvings")
    p.add_argument(
        "--label",
        default="",
        help="condition that defines the PSTH's classes (default: all discrete ones)",
    )
    p.add_argument(
        "--decode",
        metavar="NAME",
        default="",
        help="also decode this covariate or condition of the real trials from the sampled ones: covariates from the "
        "rates of both datasets (jobs/encode.py), or from smoothed counts where one has none",
    )
    p.add_argument(
        "--decode-from", type=float, default=0.0, metavar="SECONDS",
        help="decode a condition from the spikes after this time in the trial (default: 0)",
    )  # fmt: skip
    add_root(p)
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    check_seed("--seed", args.seed)
    settings = Evaluation(
        split=args.split, n_splits=args.splits, n_resamples=args.resamples, label=args.label,
        decode_from_s=args.decode_from, seed=args.seed,
    )  # fmt: skip
    comparison = Comparison.of(args.real, args.sampled, settings, args.decode)
    root = default_root(args.root)
    tracking = connect(args.tracking_uri or default_uri(root), "evaluate")
    uri = storage.join(root, "comparisons", comparison.fingerprint)
    command = shlex.join(["python", "jobs/evaluate.py", *argv])
    found = comparison.run()
    write_results(uri, found, comparison.origin(command))
    url = log_comparison(tracking, comparison, uri, found.summary, command)
    print(format_summary(found.summary))
    if comparison.decodes_smoothed_counts:
        print(f"{args.decode} was decoded from smoothed counts: not all datasets have rates.")
    print(f"\nReport: {storage.join(uri, REPORT)}")
    print(f"Results: {uri} and {url}")
    return 0


if __name__ == "__main__":
    run(main)
