"""Turn a recording, or a simulation, into a dataset that all other jobs read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.checks import check_seed
from ldns_ray.cli import add_output, add_seed, job_parser, run
from ldns_ray.data import shards, simulate
from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.specs import AngleSpec, ArraySpec
from ldns_ray.data.recordings import Recording
from ldns_ray.data.schema import Trial
from ldns_ray.data.splits import share_out

EXAMPLES = """examples:
  128 simulated units driven by a Lorenz system, with true rates and latents:
    python jobs/ingest.py simulate lorenz --out data/lorenz

  aligned trials, spikes_1ms of shape (trials, units, ms), summed to 5 ms bins; the target (0-7,
  45 degrees apart) is kept as an angle and shared out evenly over train, val and test:
    python jobs/ingest.py npz reach.npz --out data/reach --spikes spikes_1ms \\
        --spikes-axes trial,unit,time --bin-ms 5 --angle 'angle=target*45' --stratify target

  one long recording of 50 ms counts, (time, units), cut into trials, with hand velocity:
    python jobs/ingest.py npz m1.npz --out data/m1 --spikes counts --spikes-axes time,unit \\
        --sample-ms 50 --bin-ms 50 --trial-start trial_start --trial-len trial_len \\
        --covariate vel=vel:cm/s
"""


def parser() -> argparse.ArgumentParser:
    top = job_parser(__doc__, EXAMPLES)
    kinds = top.add_subparsers(dest="kind", required=True, metavar="{npz,simulate}")

    npz = kinds.add_parser("npz", help="a NumPy .npz file of spike counts")
    npz.add_argument("file", help="the .npz file")
    _common(npz)
    add = npz.add_argument
    add("--spikes", default="spikes", help="array of spike counts (default: spikes)")
    add(
        "--spikes-axes",
        default="trial,unit,time",
        help="order of its axes, from trial, unit, time; time,unit for one long recording "
        "(default: trial,unit,time)",
    )
    add("--sample-ms", type=float, default=1.0, help="width of its bins in ms (default: 1)")
    add("--bin-ms", type=float, required=True, help="width of the dataset's bins in ms")
    add("--trial-start", help="long recording: array of each trial's first bin")
    add("--trial-len", help="long recording: array of each trial's number of bins")
    add("--window-bins", type=int, help="long recording: cut into windows of so many bins instead")
    add("--covariate", action="append", default=[], metavar="NAME=ARRAY:UNIT",
        help="covariate that varies in time, such as vel=hand_vel:m/s; repeatable")  # fmt: skip
    add("--condition", action="append", default=[], metavar="NAME=ARRAY:UNIT",
        help="number or vector per trial; repeatable")  # fmt: skip
    add("--angle", action="append", default=[], metavar="NAME=ARRAY*DEGREES",
        help="angle per trial, kept as (cos, sin): angle=direction_deg, angle=target*45 or, where "
        "one array indexes another, angle=target_deg[target]; repeatable")  # fmt: skip
    add("--stratify", help="per-trial array whose values are shared out evenly over the splits")
    add("--split", help="per-trial array of train, val, test, instead of a random split")
    add("--trial-id", help="array of trial names or numbers (default: 0, 1, …)")
    add("--session", default="session", help="array of session names, or one name for all trials")

    sim = kinds.add_parser("simulate", help="a simulated recording with known rates and latents")
    sim.add_argument("system", choices=("lorenz", "speech"))
    _common(sim)
    sim.add_argument("--n-trials", type=int, help="(default: lorenz 5000, speech 9270)")
    sim.add_argument("--n-units", type=int, help="(default: 128)")
    sim.add_argument("--n-bins", type=int, help="lorenz: bins per trial (default: 256)")
    sim.add_argument("--min-bins", type=int, help="speech: shortest trial in bins (default: 100)")
    sim.add_argument("--max-bins", type=int, help="speech: longest trial in bins (default: 512)")
    sim.add_argument("--n-blocks", type=int, help="speech: blocks of slow drift (default: 20)")
    sim.add_argument("--bin-ms", type=float, help="speech: bin width in ms (default: 20)")
    sim.add_argument("--mean-rate", type=float, help="counts per bin (lorenz 0.3, speech 0.5)")
    return top


def _common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_output(parser, "folder or URI (s3://…) of the dataset to write")
    add("--name", help="name of the dataset (default: the last part of --out)")
    add_seed(parser, "of the split and the simulation", 42)
    add("--fractions", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the splits (default: npz 0.6 0.2 0.2, lorenz 0.7 0.1 0.2, "
        "speech 0.7 0.15 0.15)")  # fmt: skip
    add("--source", default="", help="where the recording comes from, for the card")
    add("--citation", default="", help="how to cite it, for the card")
    add("--licence", default="", help="its licence, for the card")
    add("--shard-mb", type=float, default=96, help="uncompressed size of a file (default: 96)")


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    check_seed("--seed", args.seed)
    uri = args.out.rstrip("/")
    covariate_units: dict[str, str] = {}
    condition_units: dict[str, str] = {}
    if args.kind == "npz":
        per_bin = args.bin_ms / args.sample_ms if args.sample_ms > 0 else 0.0
        reader = ArrayReader(
            spikes=args.spikes,
            axes=tuple(args.spikes_axes.split(",")),
            bin_ms=args.bin_ms,
            sample_ms=args.sample_ms,
            trial_start=args.trial_start,
            trial_len=args.trial_len,
            window_samples=args.window_bins and round(args.window_bins * per_bin),
            covariates=tuple(ArraySpec.parse(text) for text in args.covariate),
            conditions=tuple(ArraySpec.parse(text) for text in args.condition),
            angles=tuple(AngleSpec.parse(text) for text in args.angle),
            stratify=args.stratify,
            split=args.split,
            trial_id=args.trial_id,
            session=args.session,
        )
        recording = reader.read(args.file)
        covariate_units = dict(recording.covariate_units)
        condition_units = dict(recording.condition_units)
        trials = _shared_out(recording, args.fractions or (0.6, 0.2, 0.2), args.seed)
        bin_width_s = reader.bin_width_s
        provenance: dict[str, Any] = {"file": Path(args.file).name, "options": _given(args)}
        source = args.source or Path(args.file).name
    else:
        settings = _simulator_settings(args)
        lorenz = args.system == "lorenz"
        trials = simulate.lorenz(**settings) if lorenz else simulate.speech(**settings)
        # The Lorenz system has no physical time: a bin counts as one second.
        bin_width_s = 1.0 if lorenz else settings.get("bin_width_s", 0.02)
        provenance = {"simulator": args.system, "settings": settings}
        source = args.source or f"simulated ({args.system})"
    card = shards.write_dataset(
        trials,
        uri,
        name=args.name or Path(uri).name,
        bin_width_s=bin_width_s,
        covariate_units=covariate_units,
        condition_units=condition_units,
        source=source,
        citation=args.citation,
        licence=args.licence,
        provenance=provenance,
        shard_bytes=int(args.shard_mb * 2**20),
        overwrite=args.overwrite,
    )
    sizes = ", ".join(f"{split} {counts['n_trials']}" for split, counts in card.splits.items())
    bins = f"{card.min_bins}-{card.max_bins}" if card.min_bins < card.max_bins else card.max_bins
    print(f"{card.name}: {card.n_trials} trials ({sizes}), {card.n_units} units, {bins} bins of "
          f"{1000 * card.bin_width_s:g} ms, fingerprint {card.fingerprint}")  # fmt: skip
    print(f"Dataset: {uri}    Look at it with: python jobs/describe.py {uri}")
    return 0


def _shared_out(recording: Recording, fractions: Sequence[float], seed: int) -> Iterator[Trial]:
    """The trials of a recording, each with its split."""
    trials = list(recording.trials)
    strata = np.array(recording.strata) if recording.strata else None
    splits = share_out([trial.split for trial in trials], fractions, seed, strata)
    for trial, split in zip(trials, splits, strict=True):
        yield replace(trial, split=split)


def _simulator_settings(args: argparse.Namespace) -> dict[str, Any]:
    own = {"lorenz": ("n_bins",), "speech": ("min_bins", "max_bins", "n_blocks", "bin_ms")}
    other = own["speech" if args.system == "lorenz" else "lorenz"]
    for name in other:
        if getattr(args, name) is not None:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is no option of {args.system}; see --help.")
    names = ("n_trials", "n_units", "mean_rate", "fractions", *own[args.system])
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if "bin_ms" in given:
        given["bin_width_s"] = given.pop("bin_ms") / 1000
    return {"seed": args.seed, **given}


def _given(args: argparse.Namespace) -> dict[str, object]:
    """The options that shape the content, for the card."""
    left_out = {"kind", "file", "out", "name", "source", "citation", "licence", "overwrite"}
    return {k: v for k, v in vars(args).items() if v not in (None, []) and k not in left_out}


if __name__ == "__main__":
    run(main)
