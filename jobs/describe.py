"""Say what a dataset holds: its card, its splits and sessions, firing rates, silent units."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import job_parser, run
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.shards import load_trialset, read_card, verify_dataset

MAX_SESSIONS = 20


def parser() -> argparse.ArgumentParser:
    top = job_parser(__doc__)
    top.add_argument("dataset", help="folder or URI of a dataset, as written by jobs/ingest.py")
    top.add_argument("--split", help="rates and picture of this split only (default: all trials)")
    top.add_argument("--plot", metavar="FILE.png", help="draw raster, rates and population counts")
    top.add_argument("--trial", help="trial_id of the raster (default: the first)")
    top.add_argument("--verify", action="store_true", help="compare every file with its checksum")
    return top


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    card = verify_dataset(args.dataset) if args.verify else read_card(args.dataset)
    print_card(card)
    trials = load_trialset(args.dataset, args.split, columns=[])
    print_sessions(trials, card)
    print_units(trials, card)
    if args.verify:
        print(f"\nAll {len(card.shards)} files match their checksums.")
    if args.plot:
        trial = _trial_index(trials, args.trial)
        plot(trials, card, trial, args.plot)
        print(f"\nPicture: {args.plot}")
    else:
        print(f"\nDataset: {args.dataset}")
    return 0


def print_card(card: Card) -> None:
    def described(items: dict[str, dict[str, object]]) -> str:
        texts = [
            f"{name} ({x['size']}{', ' * bool(x['unit'])}{x['unit']})" for name, x in items.items()
        ]
        return ", ".join(texts) or "none"

    n_bytes = sum(shard["n_bytes"] for shard in card.shards)
    rows = {
        "name": card.name,
        "units": card.n_units,
        "bin": f"{1000 * card.bin_width_s:g} ms",
        "trials": f"{card.n_trials} of {card.min_bins}-{card.max_bins} bins "
        f"({card.min_bins * card.bin_width_s:g}-{card.max_bins * card.bin_width_s:g} s)",
        "covariates": described(card.covariates),
        "conditions": described(card.conditions),
        "true latents": card.n_latents or "none",
        "true rates": "yes" if card.has_rates else "no",
        "source": card.source or "not given",
        "citation": card.citation or "not given",
        "licence": card.licence or "not given",
        "files": f"{len(card.shards)}, {n_bytes / 2**20:.1f} MB",
        "fingerprint": card.fingerprint,
    }
    for name, value in rows.items():
        print(f"{name:13}{value}")
    print(f"\n{'split':13}{'trials':>9}{'bins':>11}{'seconds':>11}")
    for split, counts in card.splits.items():
        seconds = counts["n_bins"] * card.bin_width_s
        print(f"{split:13}{counts['n_trials']:>9}{counts['n_bins']:>11}{seconds:>11.1f}")


def print_sessions(trials: TrialSet, card: Card) -> None:
    sessions = np.array(trials.sessions)
    names = sorted(set(trials.sessions))
    spikes_S = np.add.reduceat(trials.spikes.sum(axis=1, dtype=np.int64), trials.starts_S)
    print(f"\n{'session':13}{'trials':>9}{'bins':>11}{'Hz per unit':>13}")
    for name in names[:MAX_SESSIONS]:
        mine = sessions == name
        n_bins = int(trials.n_bins_S[mine].sum())
        rate = spikes_S[mine].sum() / (n_bins * card.bin_width_s * card.n_units)
        print(f"{name:13}{mine.sum():>9}{n_bins:>11}{rate:>13.2f}")
    if len(names) > MAX_SESSIONS:
        print(f"… and {len(names) - MAX_SESSIONS} more")


def print_units(trials: TrialSet, card: Card) -> None:
    rate_N = unit_rates(trials)
    quartiles = np.percentile(rate_N, [0, 25, 50, 75, 100])
    print("\nrate per unit (Hz): least {:.2f}, quartiles {:.2f} {:.2f} {:.2f}, most {:.2f}".format(
        *quartiles))  # fmt: skip
    print(f"spikes per bin: {trials.spikes.mean():.4f}, at most {trials.spikes.max()}; "
          f"{100 * (trials.spikes == 0).mean():.1f} % of the entries are 0")  # fmt: skip
    silent = [card.unit_names[i] for i in np.flatnonzero(rate_N == 0)]
    print(f"silent units: {', '.join(silent) or 'none'}")


def unit_rates(trials: TrialSet) -> np.ndarray:
    """(N,) mean rate of each unit in Hz."""
    return trials.spikes.mean(axis=0) / trials.bin_width_s


def _trial_index(trials: TrialSet, trial_id: str | None) -> int:
    if trial_id is None:
        return 0
    if trial_id not in trials.trial_ids:
        some = ", ".join(trials.trial_ids[:5])
        raise ValueError(f"no trial {trial_id!r} among {len(trials)}; the first are: {some}.")
    return trials.trial_ids.index(trial_id)


def plot(trials: TrialSet, card: Card, trial: int, path: str) -> None:
    """Raster of one trial, histogram of unit rates, distribution of population counts per bin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts_TN = trials.spikes_list()[trial]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), width_ratios=(2, 1, 1), layout="constrained")
    end = len(counts_TN) * card.bin_width_s
    image = axes[0].imshow(
        counts_TN.T,
        aspect="auto",
        cmap="Greys",
        interpolation="nearest",
        origin="lower",
        extent=(0, end, -0.5, card.n_units - 0.5),
        vmax=max(1, int(counts_TN.max())),
    )
    figure.colorbar(image, ax=axes[0], label="spikes per bin")
    axes[0].set(title=f"trial {trials.trial_ids[trial]}", xlabel="time (s)", ylabel="unit")
    axes[1].hist(unit_rates(trials), bins=30, color="0.3")
    axes[1].set(title=f"{card.n_units} units", xlabel="mean rate (Hz)", ylabel="units")
    population = np.bincount(trials.spikes.sum(axis=1, dtype=np.int64))
    axes[2].bar(np.arange(len(population)), population / population.sum(), width=1, color="0.3")
    axes[2].set(
        title=f"{len(trials)} trials", xlabel="population spikes per bin", ylabel="share of bins"
    )
    figure.suptitle(f"{card.name}: {card.n_units} units, {1000 * card.bin_width_s:g} ms bins")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
