"""Say what a dataset holds: its card, splits, sessions, rates, covariates and conditions; and draw it."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import job_parser, run
from ldns_ray.data.card import Card, check_split, read_card
from ldns_ray.data.description import Description, describe, values_in_order
from ldns_ray.data.passes import iter_trialsets
from ldns_ray.data.verification import verify_dataset
from ldns_ray.evaluation.plots import style
from ldns_ray.evaluation.plots.dataset import dataset
from ldns_ray.text_table import format_table

MAX_ROWS = 20
"""Sessions, and channels of covariates, that are listed."""
MAX_UNITS = 12
"""Silent units that are named."""
NAME_WIDTH = 44
"""Characters of a name in a table."""
LABEL, LINE = 13, 100
"""Width of what stands in front of a text, and of the whole line."""


def parser() -> argparse.ArgumentParser:
    top = job_parser(__doc__)
    top.add_argument("dataset", help="folder or URI of a dataset, as written by jobs/ingest.py")
    top.add_argument("--split", help="sums and picture of this split only (default: all trials)")
    picture = top.add_mutually_exclusive_group()
    picture.add_argument(
        "--plot", metavar="FILE.png", help="the picture (default: dataset-NAME.png in this folder)"
    )
    picture.add_argument("--no-plot", action="store_true", help="draw no picture")
    top.add_argument("--trial", help="trial_id of the raster (default: the first)")
    top.add_argument("--verify", action="store_true", help="compare every file with its checksum")
    return top


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    picture = args.plot and Path(args.plot)
    if picture and picture.suffix.lower() != ".png":
        raise ValueError(f"--plot must be a .png file, got {args.plot}.")
    card = verify_dataset(args.dataset) if args.verify else read_card(args.dataset)
    check_split(card, args.split)
    print_card(card)
    columns = [f"covariate:{name}" for name in card.covariates]
    columns += [f"condition:{name}" for name in card.conditions]
    description = describe(iter_trialsets(args.dataset, args.split, columns), args.trial)
    print_sessions(description)
    print_units(description, card)
    print_covariates(description, card)
    print_conditions(description, card)
    if args.verify:
        print(f"\nChecksums match (files: {len(card.shards)}).")
    if args.no_plot:
        print(f"\nDataset: {args.dataset}")
        return 0
    picture = picture or Path(default_picture(card, args.split))
    units = {name: covariate["unit"] for name, covariate in card.covariates.items()}
    figure = dataset(description, name=card.name, units=units)
    style.save_figures({picture.stem: figure}, picture.parent)
    print(f"\nPicture: {picture}")
    return 0


def default_picture(card: Card, split: str | None) -> str:
    """A name in the working directory that tells the dataset and the split."""
    words = ["dataset", card.name, *([split] if split else [])]
    return "-".join(re.sub(r"[^\w.]+", "-", word).strip("-.") for word in words) + ".png"


# -- Text


def print_card(card: Card) -> None:
    n_bytes = sum(shard["n_bytes"] for shard in card.shards)
    seconds = spread(card.min_bins * card.bin_width_s, card.max_bins * card.bin_width_s)
    rows = {
        "name": card.name,
        "units": card.n_units,
        "bin": f"{1000 * card.bin_width_s:g} ms",
        "trials": f"{card.n_trials} of {spread(card.min_bins, card.max_bins)} bins ({seconds} s)",
        "covariates": sized(card.covariates),
        "conditions": sized(card.conditions),
        "true latents": card.n_latents or "none",
        "true rates": "yes" if card.has_rates else "no",
        "source": card.source or "not given",
        "citation": card.citation or "not given",
        "licence": card.licence or "not given",
        "files": f"{len(card.shards)}, {n_bytes / 2**20:.1f} MB",
        "fingerprint": card.fingerprint,
    }
    for name, value in rows.items():
        print_text(name, value)
    for sentence in card.warnings:
        print_text("warning", sentence)
    table = [["split", "trials", "bins", "seconds"]]
    for split, counts in card.splits.items():
        n_bins = counts["n_bins"]
        table.append([split, str(counts["n_trials"]), str(n_bins), f"{n_bins * card.bin_width_s:.1f}"])  # fmt: skip
    print_table(table)


def print_sessions(description: Description) -> None:
    d = description
    splits = list(dict.fromkeys(name for s in d.sessions.values() for name in s.n_trials))
    splits = [name for name in ("train", "val", "test") if name in splits]
    table = [["session", "trials", *splits, "bins per trial", "Hz per unit", "silent units"]]
    for name, session in list(d.sessions.items())[:MAX_ROWS]:
        rate = session.spikes_N.mean() / (session.n_bins * d.bin_width_s)
        table.append([
            cut(name), str(session.n_trials.total()), *(str(session.n_trials[split]) for split in splits),
            spread(session.min_bins, session.max_bins), f"{rate:.2f}", str(int((session.spikes_N == 0).sum())),
        ])  # fmt: skip
    print_table(table, n_more=len(d.sessions) - MAX_ROWS)


def print_units(description: Description, card: Card) -> None:
    d = description
    quartiles = np.percentile(d.rates_N, [0, 25, 50, 75, 100])
    print(f"\nrate per unit (Hz): {d.rates_N.mean():.2f} on average, least {quartiles[0]:.2f}, "
          "quartiles {:.2f} {:.2f} {:.2f}, most {:.2f}".format(*quartiles[1:]))  # fmt: skip
    print(f"spikes per bin and unit: {d.mean_count:.4f}, at most {d.max_count}; "
          f"{100 * d.zero_share:.1f} % of the entries are 0")  # fmt: skip
    silent = [card.unit_names[i] for i in np.flatnonzero(d.rates_N == 0)]
    named = ", ".join(cut(name) for name in silent[:MAX_UNITS])
    more = f" and {len(silent) - MAX_UNITS} more" if len(silent) > MAX_UNITS else ""
    print_text("silent units:", f"{len(silent)} ({named}{more})" if silent else "none", LABEL + 1)


def print_covariates(description: Description, card: Card) -> None:
    if not description.covariates:
        return
    rows = []
    for name, extent in sorted(description.covariates.items()):
        unit = card.covariates[name]["unit"] or "-"
        for channel, (least, most) in enumerate(zip(extent.least_d, extent.most_d, strict=True), 1):
            rows.append([cut(name), str(channel), cut(unit), f"{least:.4g}", f"{most:.4g}"])
    table = [["covariate", "channel", "unit", "least", "most"], *rows[:MAX_ROWS]]
    print_table(table, n_more=len(rows) - MAX_ROWS)


def print_conditions(description: Description, card: Card) -> None:
    width = max([LABEL, *(len(cut(name)) + 1 for name in description.conditions)])
    if description.conditions:
        print()
    for name, values in sorted(description.conditions.items()):
        unit = card.conditions[name]["unit"]
        counts = values_in_order(values)
        if counts:
            # Spaces that do not break, so that a value and its trials stay together.
            each = ", ".join(f"{value}\u00a0({n})" for value, n in counts.items())
            text = f"{len(counts)} value{'s' * (len(counts) > 1)} (trials): {each}"
        elif values.is_direction:
            text = "many directions"
        else:
            extents = list(zip(values.least_d, values.most_d, strict=True))[:MAX_ROWS]
            text = "many values: " + ", ".join(f"{a:.4g} to {b:.4g}" for a, b in extents)
        print_text(cut(name), f"{text}{f', in {unit}' if unit else ''}", width)


def print_text(label: str, text: object, width: int = LABEL) -> None:
    """A label and a text beside it, in lines of at most `LINE` characters."""
    lines = textwrap.fill(
        str(text), LINE, initial_indent=f"{label:{width - 1}} ", subsequent_indent=" " * width,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    print(lines.replace("\u00a0", " "))


def print_table(table: list[list[str]], n_more: int = 0) -> None:
    print(f"\n{format_table(table)}")
    if n_more > 0:
        print(f"… and {n_more} more")


def sized(items: dict[str, dict[str, Any]]) -> str:
    """`vel (2, m/s), target (1)`, or none."""
    return ", ".join(
        f"{name} ({x['size']}{', ' * bool(x['unit'])}{x['unit']})" for name, x in items.items()
    ) or "none"  # fmt: skip


def spread(least: float, most: float) -> str:
    """`20-30`, or one number where they are the same."""
    return f"{least:g}" if least == most else f"{least:g}-{most:g}"


def cut(name: str) -> str:
    """The name, without its middle where it is long: beginnings are often the same, ends never."""
    half = (NAME_WIDTH - 1) // 2
    return name if len(name) <= NAME_WIDTH else f"{name[:half]}…{name[-half:]}"


if __name__ == "__main__":
    run(main)
