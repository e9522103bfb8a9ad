"""Compare sampled spikes with real ones: one row per sampled dataset, each metric beside its noise floor."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.checks import check_seed
from ldns_ray.cli import add_root, add_seed, add_tracking, default_root, job_parser, run
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation import plots
from ldns_ray.evaluation.comparison import (
    compare_candidates,
    format_rows,
    metric_rows,
    sample_baseline,
    split_labels,
)
from ldns_ray.settings import fingerprint
from ldns_ray.tracking.connection import connect, default_uri


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__)
    p.add_argument("real", help="dataset of real trials")
    p.add_argument(
        "sampled", nargs="+", help="datasets of sampled trials, of this or any other model"
    )
    p.add_argument(
        "--split", default="test", help="reference split of the real dataset (default: test)"
    )
    p.add_argument(
        "--splits", type=int, default=20, help="random halvings of the reference (default: 20)"
    )
    add_seed(p, "seed of the halvings")
    p.add_argument(
        "--label",
        default="",
        help="condition that defines the PSTH's classes (default: all discrete ones)",
    )
    p.add_argument("--plots", help="folder for the pictures (default: in the tracking store only)")
    add_root(p)
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    check_seed("--seed", args.seed)
    card = read_card(args.real)
    cards = [read_card(uri) for uri in args.sampled]
    for uri, other in zip(args.sampled, cards, strict=True):
        if (other.n_units, other.bin_width_s) != (card.n_units, card.bin_width_s):
            raise ValueError(
                f"{uri} has {other.n_units} units in bins of {other.bin_width_s:g} s, {args.real} has "
                f"{card.n_units} in bins of {card.bin_width_s:g} s. They cannot be compared."
            )
    root = default_root(args.root)
    tracking = connect(args.tracking_uri or default_uri(root), "evaluate")
    reference = load_trialset(args.real, args.split, [f"condition:{c}" for c in card.conditions])
    names = [Path(uri.rstrip("/")).name for uri in args.sampled]
    if len(set(names)) < len(names):
        names = list(args.sampled)
    candidates = {
        n: load_trialset(u, None, []).spikes_list()
        for n, u in zip(names, args.sampled, strict=True)
    }
    first = next(iter(candidates))
    figures = plots.spike_statistics(reference.spikes_list(), candidates[first], card.bin_width_s)
    if "train" in card.splits and args.split != "train":
        train = load_trialset(args.real, "train", [f"condition:{c}" for c in card.conditions])
        labels, _ = split_labels(train, reference, args.label)
        candidates["PSTH + Poisson"] = sample_baseline(
            train, labels, len(candidates[first]), seed=args.seed
        )
    rows = compare_candidates(
        reference.spikes_list(), candidates, card.bin_width_s, seed=args.seed, n_splits=args.splits
    )
    key = fingerprint(
        "evaluate",
        card.fingerprint,
        [c.fingerprint for c in cards],
        args.split,
        args.seed,
        args.splits,
        args.label,
    )
    with tracking.run(f"evaluate {names[0]}", key=key, tags={"ldns.kind": "evaluate"}) as run_:
        run_.dataset(card.name, card.fingerprint, args.real, "evaluation", {"split": args.split})
        for uri, other in zip(args.sampled, cards, strict=True):
            run_.dataset(other.name, other.fingerprint, uri, "sampled", {"trials": other.n_trials})
        run_.metrics({"score": rows[0].score, **rows[0].distances})
        run_.table("metrics", metric_rows(rows))
        run_.figures(figures)
        url = run_.url
    if args.plots:
        plots.save_figures(figures, Path(args.plots))
    print(
        f"Beside the {args.split} split of {args.real} (score: 1 is as close as the data is to itself)"
    )
    print(format_rows(rows))
    print(f"Results: {url}" + (f" and {args.plots}" if args.plots else ""))
    return 0


if __name__ == "__main__":
    run(main)
