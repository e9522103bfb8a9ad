"""Turn a recording, or a simulation, into a dataset that all other jobs read."""

from __future__ import annotations

import argparse
import inspect
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray import storage
from ldns_ray.checks import check_seed
from ldns_ray.cli import add_output, add_seed, job_parser, run
from ldns_ray.data import shards
from ldns_ray.data.card import Card
from ldns_ray.data.formats.options import FORMATS
from ldns_ray.data.ingestion.ingest import ingest
from ldns_ray.data.ingestion.progress import Progress
from ldns_ray.data.ingestion.sources import expand
from ldns_ray.data.simulation.simulators import SIMULATORS

EXAMPLES = """examples:
  aligned trials, spikes_1ms of shape (trials, units, ms), summed to 5 ms bins; the target (0-7,
  45 degrees apart) is kept as an angle and shared out evenly over train, val and test:
    python jobs/ingest.py npz reach.npz --out data/reach --spikes spikes_1ms \\
        --spikes-axes trial,unit,time --bin-ms 5 --angle 'angle=target*45' --stratify target

  one long recording of 50 ms counts, (time, units), cut into trials, with hand velocity:
    python jobs/ingest.py npz m1.npz --out data/m1 --spikes counts --spikes-axes time,unit \\
        --sample-ms 50 --bin-ms 50 --trial-start trial_start --trial-len trial_len \\
        --covariate velocity=vel:a.u.

  spike times of an NWB file, 700 ms around movement onset, with hand velocity 80 ms later:
    python jobs/ingest.py nwb session.nwb --out data/maze --bin-ms 5 --align move_onset_time \\
        --window-ms -250 450 --covariate velocity=behavior/hand_vel:m/s@80 --angle 'angle=velocity[50]'

  a folder of sessions, read in parallel:
    python jobs/ingest.py speech-mat competitionData --out data/speech

  128 simulated units driven by a Lorenz system, with true rates and latents:
    python jobs/ingest.py simulate lorenz --out data/lorenz
"""

LINE_SECONDS = 10.0
"""Least time between two lines of progress where nobody watches."""


def parser() -> argparse.ArgumentParser:
    top = job_parser(__doc__, EXAMPLES)
    kinds = top.add_subparsers(
        dest="kind", required=True, metavar=f"{{{','.join([*FORMATS, 'simulate'])}}}"
    )
    for kind, form in FORMATS.items():
        sub = kinds.add_parser(kind, aliases=form.aliases, help=form.about)
        sub.set_defaults(kind=kind)
        sub.add_argument("files", nargs="+", metavar="FILE",
            help=f"files, patterns, or folders of {' or '.join(form.suffixes)} files; local or URIs")  # fmt: skip
        _common(sub, " ".join(f"{share:g}" for share in form.fractions))
        form.add_options(sub.add_argument)
        if form.strata:
            sub.add_argument("--stratify", metavar="NAME", default="auto",
                help=f"{form.strata} whose values are shared out evenly over the splits; none: at random "
                "(default: sessions and conditions that are labels)")  # fmt: skip
        else:
            sub.add_argument("--stratify", choices=("auto", "none"), default="auto",
                help="share conditions and sessions out evenly over the splits, or not (default: auto)")  # fmt: skip
        sub.add_argument("--in-process", action="store_true",
            help="read one file after another, without Ray (default: for one file)")  # fmt: skip

    sim = kinds.add_parser("simulate", help="a simulated recording with known rates and latents")
    sim.add_argument("system", choices=tuple(SIMULATORS))
    _common(sim, "lorenz 0.7 0.1 0.2, speech 0.7 0.15 0.15, reach 0.8 0.05 0.15")
    sim.add_argument("--n-trials", type=int, help="(default: lorenz 5000, speech 9270, reach 2295)")
    sim.add_argument("--n-units", type=int, help="(default: 128, reach 182)")
    sim.add_argument("--n-bins", type=int, help="lorenz, reach: bins per trial (default: 256, 140)")
    sim.add_argument("--min-bins", type=int, help="speech: shortest trial in bins (default: 100)")
    sim.add_argument("--max-bins", type=int, help="speech: longest trial in bins (default: 512)")
    sim.add_argument("--n-blocks", type=int, help="speech: blocks of slow drift (default: 20)")
    sim.add_argument("--n-targets", type=int, help="reach: targets on a circle (default: 8)")
    sim.add_argument("--bin-ms", type=float, help="speech, reach: bin width in ms (default: 20, 5)")
    sim.add_argument(
        "--mean-rate",
        type=float,
        help="counts per bin (default: lorenz 0.3, speech 0.5, reach 0.04)",
    )
    return top


def _common(parser: argparse.ArgumentParser, fractions: str) -> None:
    add = parser.add_argument
    add_output(parser, "folder or URI (s3://…) of the dataset to write")
    add("--name", help="name of the dataset (default: the last part of --out)")
    add_seed(parser, "of the split and the simulation", 42)
    add("--fractions", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"),
        help=f"shares of the splits (default: {fractions})")  # fmt: skip
    add("--source", default="", help="where the recording comes from, for the card")
    add("--citation", default="", help="how to cite it, for the card")
    add("--licence", default="", help="its licence, for the card")
    add("--shard-mb", type=float, default=96, help="uncompressed size of a file (default: 96)")


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    check_seed("--seed", args.seed)
    if not 0 < args.shard_mb < float("inf"):
        raise ValueError(f"--shard-mb must be positive and finite, got {args.shard_mb:g}.")
    uri = storage.new_folder(args.out)
    common = {
        "name": args.name or storage.name_of(uri),
        "citation": args.citation,
        "licence": args.licence,
        "shard_bytes": int(args.shard_mb * 2**20),
        "overwrite": args.overwrite,
    }
    card = _simulate(args, uri, common) if args.kind == "simulate" else _ingest(args, uri, common)
    report(card, uri)
    return 0


def _ingest(args: argparse.Namespace, uri: str, common: dict[str, Any]) -> Card:
    form = FORMATS[args.kind]
    files = expand(args.files, form.suffixes, form.folder_of)

    def connect() -> None:
        from ldns_ray.training.distributed import connect_ray

        connect_ray()

    return ingest(
        files,
        form.make(args),
        uri,
        fractions=args.fractions or form.fractions,
        seed=args.seed,
        stratify="none" if args.stratify == "none" else "auto",
        source=args.source or ", ".join(Path(file).name for file in files[:3]) + ", …" * (len(files) > 3),
        parallel=False if args.in_process else None,
        connect=connect,
        on_progress=progress_line(),
        **common,
    )  # fmt: skip


def progress_line() -> Callable[[Progress], None]:
    """Shows progress on stderr: in one line that changes, or, where nobody watches, in a line now and then."""
    watched, last = sys.stderr.isatty(), time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if watched:
            end = "\n" if progress.trials == progress.of_trials else ""
            sys.stderr.write(f"\r\033[K{progress}{end}")
        elif time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"{progress}\n")
        sys.stderr.flush()

    return show


def report(card: Card, uri: str) -> None:
    """What was written, and what was left out."""
    sizes = ", ".join(f"{split} {counts['n_trials']}" for split, counts in card.splits.items())
    bins = f"{card.min_bins}-{card.max_bins}" if card.min_bins < card.max_bins else card.max_bins
    print(f"{card.name}: {card.n_trials} trials ({sizes}), {card.n_units} units, {bins} bins of "
          f"{1000 * card.bin_width_s:g} ms, fingerprint {card.fingerprint}")  # fmt: skip
    dropped: Counter[str] = Counter()
    for file in card.provenance.get("ingest", {}).get("files", []):
        dropped.update(file["dropped"])
    if dropped:
        parts = [f"{n} trial{'s' * (n > 1)} ({why})" for why, n in dropped.most_common()]
        print(f"left out: {', '.join(parts)}")
    for warning in card.warnings:
        print(f"note: {warning}")
    print(f"Dataset: {uri}    Look at it with: python jobs/describe.py {shlex.quote(uri)}")


def _simulate(args: argparse.Namespace, uri: str, common: dict[str, Any]) -> Card:
    settings = _simulator_settings(args)
    simulator = SIMULATORS[args.system]
    return shards.write_dataset(
        simulator.draw(**settings),
        uri,
        bin_width_s=settings.get("bin_width_s", simulator.bin_width_s),
        covariate_units=simulator.covariate_units,
        source=args.source or f"simulated ({args.system})",
        provenance={"simulator": args.system, "settings": settings},
        **common,
    )


def _simulator_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The simulator's arguments, as far as they are given. Raises ValueError for those it has not."""
    names: Sequence[str] = ("n_trials", "n_units", "n_bins", "min_bins", "max_bins", "n_blocks",
        "n_targets", "bin_ms", "mean_rate", "fractions")  # fmt: skip
    parameters = inspect.signature(SIMULATORS[args.system].draw).parameters
    settings: dict[str, Any] = {"seed": args.seed}
    for name in names:
        value = getattr(args, name)
        if value is None:
            continue
        parameter = "bin_width_s" if name == "bin_ms" else name
        if parameter not in parameters:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is no option of {args.system}; see --help.")
        settings[parameter] = value / 1000 if name == "bin_ms" else value
    return settings


if __name__ == "__main__":
    run(main)
