"""Compare sampled spikes with real ones: one row per sampled dataset, each metric beside its noise floor."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.checks import check_seed
from ldns_ray.cli import add_root, add_seed, add_tracking, default_root, job_parser, run
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.comparison import (
    compare_candidates,
    format_rows,
    metric_rows,
    sample_baseline,
    split_labels,
)
from ldns_ray.evaluation.conditional import (
    Conditional,
    conditional_metrics,
    decode_samples,
    format_conditional,
    smoothed_counts,
    with_rates,
)
from ldns_ray.evaluation.plots import conditional, spikes, style
from ldns_ray.settings import fingerprint
from ldns_ray.tracking.connection import connect, default_uri

EXAMPLES = """examples:
  two models' samples beside the test trials:
    python jobs/evaluate.py data/reach data/sampled data/others

  and whether they have the velocity, or the target, that they were sampled for:
    python jobs/evaluate.py data/reach data/sampled --decode velocity
    python jobs/evaluate.py data/reach data/sampled --decode target --decode-from 0.2
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
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
    p.add_argument("--plots", help="folder for the pictures (default: in the tracking store only)")
    add_root(p)
    add_tracking(p)
    return p


def _have_rates(*cards: Card) -> bool:
    return all(card.has_rates for card in cards)


def _decoded(
    args: argparse.Namespace, card: Card, cards: list[Card], train: TrialSet | None, reference: TrialSet
) -> dict[str, Conditional]:  # fmt: skip
    """By URI of a sampled dataset, what `--decode` finds in it."""
    name, trace = args.decode, args.decode in card.covariates
    if name not in (*card.covariates, *card.conditions):
        there = ", ".join((*card.covariates, *card.conditions)) or "none"
        raise ValueError(f"{args.real} has no covariate or condition {name!r}; it has: {there}.")
    if train is None:
        raise ValueError(
            f"--decode needs train trials of {args.real} beside the {args.split} trials."
        )
    result = {}
    for uri, other in zip(args.sampled, cards, strict=True):
        shared = [c for c in card.conditions if c in other.conditions]
        if trace:
            rates = ["rates"] if _have_rates(card, other) else []
            columns = [f"covariate:{name}", *rates]
            sets = [
                load_trialset(args.real, "train", columns),
                load_trialset(args.real, args.split, columns),
                load_trialset(uri, None, columns),
            ]
            if not rates:
                sets = [with_rates(trials, smoothed_counts) for trials in sets]
            result[uri] = decode_samples(*sets, covariates=[name])
            continue
        result[uri] = decode_samples(
            train, reference, load_trialset(uri, None, [f"condition:{c}" for c in shared]),
            conditions=shared, label=name, labels=split_labels(train, reference, name),
            from_s=args.decode_from,
        )  # fmt: skip
        if not result[uri]:
            raise ValueError(
                f"{uri} does not say which {name} its trials were sampled for; "
                f"its conditions: {', '.join(other.conditions) or 'none'}."
            )
    return result


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
    columns = [f"condition:{c}" for c in card.conditions]
    reference = load_trialset(args.real, args.split, columns)
    train = None
    if "train" in card.splits and args.split != "train":
        train = load_trialset(args.real, "train", columns)
    names = [Path(uri.rstrip("/")).name for uri in args.sampled]
    if len(set(names)) < len(names):
        names = list(args.sampled)
    candidates = {
        n: load_trialset(u, None, []).spikes_list()
        for n, u in zip(names, args.sampled, strict=True)
    }
    first = next(iter(candidates))
    figures = spikes.spike_statistics(reference.spikes_list(), candidates[first], card.bin_width_s)
    decoded = _decoded(args, card, cards, train, reference) if args.decode else {}
    if decoded:
        units = {name: str(c["unit"]) for name, c in card.covariates.items()}
        figures |= conditional.conditional(decoded[args.sampled[0]], card.bin_width_s, units)
    if train is not None:
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
        *((args.decode, args.decode_from) if args.decode else ()),
    )
    with tracking.run(f"evaluate {names[0]}", key=key, tags={"ldns.kind": "evaluate"}) as run_:
        run_.dataset(card.name, card.fingerprint, args.real, "evaluation", {"split": args.split})
        for uri, other in zip(args.sampled, cards, strict=True):
            run_.dataset(other.name, other.fingerprint, uri, "sampled", {"trials": other.n_trials})
        run_.metrics({"score": rows[0].score, **rows[0].distances})
        if decoded:
            run_.metrics(conditional_metrics(decoded[args.sampled[0]].summary()))
        run_.table("metrics", metric_rows(rows))
        run_.figures(figures)
        url = run_.url
    if args.plots:
        style.save_figures(figures, Path(args.plots))
    print(
        f"Beside the {args.split} split of {args.real} (score: 1 is as close as the data is to itself)"
    )
    print(format_rows(rows))
    for name, uri, other in zip(names, args.sampled, cards, strict=True):
        if uri in decoded:
            smoothed = args.decode in card.covariates and not _have_rates(card, other)
            source = ", from smoothed counts" if smoothed else ""
            print(f"{name}: {format_conditional(decoded[uri].summary())}{source}")
    print(f"Results: {url}" + (f" and {args.plots}" if args.plots else ""))
    return 0


if __name__ == "__main__":
    run(main)
