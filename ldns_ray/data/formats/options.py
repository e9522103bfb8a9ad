"""The file formats as a command line knows them: their readers' fields as options, and what is usual for their files."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from ldns_ray.data.formats.arrays import ArrayReader
from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.formats.nwb import NwbReader, mc_maze
from ldns_ray.data.formats.specs import ArrayAngle, NwbAngle, SeriesSpec, ValueSpec
from ldns_ray.data.formats.speech import SpeechReader
from ldns_ray.data.recordings import Reader


def _add_npz(add: Callable[..., Any]) -> None:
    add("--bin-ms", type=float, required=True, help="width of the dataset's bins in ms")
    add("--sample-ms", type=float, help="width of the file's bins in ms (default: 1)")
    add("--spikes", help="array of spike counts (default: spikes)")
    add("--spikes-axes", dest="axes", help="order of its axes, from trial, unit, time; time,unit for "
        "one long recording (default: trial,unit,time)")  # fmt: skip
    add("--trial-start", help="long recording: array of each trial's first sample")
    add("--trial-len", help="long recording: array of each trial's number of samples")
    add("--trial-stop", help="long recording: array of the sample after each trial's last")
    add("--times-in", choices=("samples", "ms", "s"), help="unit of those three (default: samples)")
    add("--window-bins", type=int, help="long recording: cut into windows of so many bins instead")
    _repeated(add, "--covariate", "NAME=ARRAY:UNIT", "varies in time, such as vel=hand_vel:m/s")
    _repeated(add, "--condition", "NAME=ARRAY:UNIT", "a number or vector per trial")
    _repeated(add, "--angle", "NAME=ARRAY*DEGREES", "an angle per trial, kept as (cos, sin): "
        "angle=direction_deg, angle=target*45 or, where one array indexes another, "
        "angle=target_deg[target]")  # fmt: skip
    add("--split", help="array of train, val or test per trial, instead of a random split")
    add("--trial-id", help="array of trial names or numbers (default: 0, 1, …)")
    add(
        "--session",
        help="array of session names, or one name (default: the array session, or the file's name)",
    )
    add("--unit-names", help="array of the units' names")


def _make_npz(args: argparse.Namespace) -> Reader:
    own = _given(args, ArrayReader)
    if "axes" in own:
        own["axes"] = tuple(own["axes"].split(","))
    if args.window_bins is not None:
        own["window_samples"] = round(args.window_bins * args.bin_ms / (args.sample_ms or 1.0))
    return ArrayReader(**_parsed(own, ValueSpec.parse, ValueSpec.parse, ArrayAngle.parse))


def _add_nwb(add: Callable[..., Any]) -> None:
    add("--preset", choices=("mc_maze",), help="mc_maze: DANDI 000128 as in the LDNS paper; other "
        "options change it")  # fmt: skip
    add("--bin-ms", type=float, help="width of the bins in ms")
    add("--align", help="column of the trials table with the times that trials are aligned to")
    add("--window-ms", type=float, nargs=2, metavar=("FROM", "TO"), help="trial around that time, "
        "such as -250 450 (default: from start_time to stop_time)")  # fmt: skip
    add(
        "--window-s",
        type=float,
        help="no trials: cut the recording into windows of so many seconds",
    )
    add("--snap", action="store_true", default=None,
        help="let trials start at multiples of the bin width, as nlb_tools does")  # fmt: skip
    _repeated(add, "--covariate", "NAME=SERIES:UNIT@LAG_MS", "a time series, such as "
        "velocity=behavior/hand_vel:m/s@80; converted to the unit, taken the lag later than the spikes")  # fmt: skip
    _repeated(add, "--condition", "NAME=COLUMN:UNIT", "a numeric column of the trials table")
    _repeated(add, "--angle", "NAME=COVARIATE[BIN]", "kept as (cos, sin): the direction of a covariate "
        "in one bin, or NAME=COLUMN:deg or :rad")  # fmt: skip
    add("--split", help="column of train, val, test or none, instead of a random split")
    add("--split-rule", choices=("own", "ldns"), help="ldns: the first half of the validation trials "
        "joins train, the rest is shared out between val and test")  # fmt: skip
    add("--unit-filter", metavar="COLUMN=VALUE", help="take these units only, such as quality=good")


def _make_nwb(args: argparse.Namespace) -> Reader:
    own = _given(args, NwbReader)
    own = _parsed(own, SeriesSpec.parse, ValueSpec.parse, NwbAngle.parse)
    if "window_ms" in own:
        own["window_ms"] = tuple(own["window_ms"])
    if args.preset == "mc_maze":
        return dataclasses.replace(mc_maze(own.get("bin_ms", 5.0)), **own)
    if "bin_ms" not in own:
        raise ValueError("nwb needs --bin-ms, the width of the bins in ms, or --preset.")
    return NwbReader(**own)


def _add_nlb(add: Callable[..., Any]) -> None:
    add(
        "--bin-ms",
        type=float,
        required=True,
        help="width of the file's bins in ms, which it does not say (5)",
    )
    add("--behavior", metavar="NAME", help="keep the behaviour as this covariate")
    add("--behavior-unit", help="its physical unit, such as mm/s")
    add(
        "--forward", action="store_true", default=None, help="append the bins of forward prediction"
    )
    add(
        "--evaluation",
        choices=("test", "val", "val+test", "skip"),
        help="splits of the eval_ trials (default: test)",
    )


def _make_nlb(args: argparse.Namespace) -> Reader:
    return NlbReader(**_given(args, NlbReader))


def _add_speech(add: Callable[..., Any]) -> None:
    add("--bin-ms", type=float, help="width of the file's bins in ms (default: 20)")
    add("--array", help="cell array of threshold crossings (default: tx1)")
    add("--n-channels", type=int, help="channels to keep, from the first (default: 128)")
    add("--max-bins", type=int, help="drop longer trials (default: 512; 0 keeps all)")


def _make_speech(args: argparse.Namespace) -> Reader:
    own = _given(args, SpeechReader)
    if own.get("max_bins") == 0:
        own["max_bins"] = None
    return SpeechReader(**own)


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format.

    suffixes: of its files in a folder. fractions: of the splits, unless given. strata: what holds labels of trials,
    where the format can name one. folder_of: suffix of the files that make a folder one recording.
    """

    about: str
    add_options: Callable[[Callable[..., Any]], None]
    make: Callable[[argparse.Namespace], Reader]
    suffixes: tuple[str, ...]
    fractions: tuple[float, float, float]
    strata: str = ""
    folder_of: str | None = None
    aliases: tuple[str, ...] = ()


FORMATS = {
    "npz": Format("NumPy: .npz files, .npy files, or folders of .npy files", _add_npz, _make_npz,
        (".npz",), (0.6, 0.2, 0.2), "array", ".npy", ("npy",)),
    "nwb": Format("NWB files: spike times, trials table, time series", _add_nwb, _make_nwb,
        (".nwb",), (0.8, 0.05, 0.15), "column of the trials table"),
    "nlb-h5": Format("tensors of the Neural Latents Benchmark (HDF5)", _add_nlb, _make_nlb,
        (".h5", ".hdf5"), (0.64, 0.16, 0.2)),
    "speech-mat": Format("speech BCI of Willett et al. 2023 (.mat)", _add_speech, _make_speech,
        (".mat",), (0.8, 0.05, 0.15)),
}  # fmt: skip


def _repeated(add: Callable[..., Any], flag: str, metavar: str, text: str) -> None:
    add(flag, dest=f"{flag[2:]}s", action="append", metavar=metavar, help=f"{text}; repeatable")


def _given(args: argparse.Namespace, reader: type) -> dict[str, Any]:
    """The reader's fields that the command line gives."""
    names = [f.name for f in dataclasses.fields(reader)]
    values = {name: getattr(args, name, None) for name in names}
    if values.get("stratify") in ("auto", "none"):
        del values["stratify"]
    return {name: value for name, value in values.items() if value is not None}


def _parsed(own: dict[str, Any], *parsers: Callable[[str], Any]) -> dict[str, Any]:
    """The fields with covariates, conditions and angles made of their texts."""
    for name, parse in zip(("covariates", "conditions", "angles"), parsers, strict=True):
        if name in own:
            own[name] = tuple(parse(text) for text in own[name])
    return own
