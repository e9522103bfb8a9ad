"""What a trial and a dataset are, and the checks both must pass.

Shapes: S trials, T bins, N units, D latents, d channels of one covariate or condition.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
MAX_COUNT = 65535


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a recording, or one sampled from a model.

    spikes: (T, N) uint8 or uint16, counts per bin. T may differ between trials, N may not.
    trial_id: unique in its dataset.
    session: the recording session (day, block) the trial belongs to.
    split: one of `SPLITS`.
    covariates: name -> (T, d) float32, one row per bin.
    conditions: name -> (d,) float32, one vector per trial.
    rates: (T, N) float32, expected counts per bin, where known (simulations, samples).
    latents: (T, D) float32, where known.
    """

    spikes: np.ndarray
    trial_id: str
    session: str
    split: str
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict)
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)
    rates: np.ndarray | None = None
    latents: np.ndarray | None = None

    @property
    def n_bins(self) -> int:
        return int(self.spikes.shape[0])


def as_counts(array: Any, where: str) -> np.ndarray:
    """Spike counts as uint8, or uint16 where one exceeds 255.

    array: any shape; a 2-D one is read as (T, N), so that an error names bin and unit.
    where: the place named in errors, such as "trial 'a7'".
    Raises ValueError for negative, NaN, fractional, or too large counts.
    """
    counts = np.asarray(array)
    if counts.dtype == np.uint8:
        return counts
    if counts.dtype == np.bool_:
        return counts.astype(np.uint8)
    if counts.dtype.kind not in "iuf":
        raise ValueError(f"{where}: spikes must be numbers, got an array of {counts.dtype}.")
    if counts.size == 0:
        return counts.astype(np.uint8)
    if counts.dtype.kind == "f":
        _forbid(~np.isfinite(counts), counts, where, "spike counts must be finite")
    _forbid(counts < 0, counts, where, "spike counts must not be negative")
    if counts.dtype.kind == "f":
        what = "spike counts must be whole numbers (these look like rates or smoothed spikes)"
        _forbid(counts != np.floor(counts), counts, where, what)
    _forbid(counts > MAX_COUNT, counts, where, f"spike counts must be at most {MAX_COUNT}")
    return counts.astype(np.uint8 if counts.max() <= 255 else np.uint16)


def _forbid(bad: np.ndarray, values: np.ndarray, where: str, what: str) -> None:
    """Raise for the first bad entry, naming its place and value."""
    if not bad.any():
        return
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    index = tuple(int(i) for i in at)
    place = f"bin {index[0]}, unit {index[1]}" if len(index) == 2 else f"index {index}"
    raise ValueError(f"{where}, {place}: {what}, got {values[at]} ({int(bad.sum())} such entries).")


def _as_floats(array: Any, shape: tuple[int | None, ...], where: str) -> np.ndarray:
    """A finite float32 array of the given shape (None: any size there)."""
    values = np.asarray(array)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{where} must be numbers, got an array of {values.dtype}.")
    matches = values.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, values.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{where} must have shape ({wanted}), got {values.shape}.")
    values = np.ascontiguousarray(values, dtype=np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), bad.shape)
        index = tuple(int(i) for i in at)
        raise ValueError(f"{where} must be finite, got {values[at]} at index {index}.")
    return values


def _check_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where} must be a non-empty string, got {name!r}.")
    return name


def validate_trial(trial: Trial) -> Trial:
    """The trial with counts as uint8/uint16 and the rest as contiguous float32.

    Raises ValueError, naming the trial and what is wrong with it.
    """
    where = f"trial {_check_name(trial.trial_id, 'trial_id')!r}"
    _check_name(trial.session, f"{where}: session")
    if trial.split not in SPLITS:
        raise ValueError(f"{where}: split must be one of {', '.join(SPLITS)}, got {trial.split!r}.")
    spikes = np.asarray(trial.spikes)
    if spikes.ndim != 2:
        raise ValueError(f"{where}: spikes must be (bins, units), got shape {spikes.shape}.")
    n_bins, n_units = spikes.shape
    if n_bins == 0 or n_units == 0:
        raise ValueError(f"{where}: needs at least 1 bin and 1 unit, got shape {spikes.shape}.")
    overlap = sorted(set(trial.covariates) & set(trial.conditions))
    if overlap:
        raise ValueError(
            f"{where}: {overlap[0]!r} is both a covariate and a condition; rename one."
        )
    covariates, conditions = {}, {}
    for name in sorted(trial.covariates):
        _check_name(name, f"{where}: covariate name")
        shape = (n_bins, None)
        at = f"{where}: covariate {name!r} (bins, channels)"
        covariates[name] = _as_floats(trial.covariates[name], shape, at)
    for name in sorted(trial.conditions):
        _check_name(name, f"{where}: condition name")
        at = f"{where}: condition {name!r} (channels,)"
        conditions[name] = _as_floats(trial.conditions[name], (None,), at)
    rates = trial.rates
    if rates is not None:
        rates = _as_floats(rates, (n_bins, n_units), f"{where}: rates (bins, units)")
        if (rates < 0).any():
            raise ValueError(f"{where}: rates must not be negative, got {rates.min()}.")
    latents = trial.latents
    if latents is not None:
        latents = _as_floats(latents, (n_bins, None), f"{where}: latents (bins, latents)")
    counts = np.ascontiguousarray(as_counts(spikes, where))
    return Trial(
        counts, trial.trial_id, trial.session, trial.split, covariates, conditions, rates, latents
    )


def trial_digest(trial: Trial) -> bytes:
    """SHA-256 over one validated trial: its names, shapes and values, whatever its count dtype."""
    digest = hashlib.sha256()
    parts: list[tuple[str, np.ndarray | None]] = [("spikes", trial.spikes.astype("<u2"))]
    parts += [(f"covariate:{name}", trial.covariates[name]) for name in sorted(trial.covariates)]
    parts += [(f"condition:{name}", trial.conditions[name]) for name in sorted(trial.conditions)]
    parts += [("rates", trial.rates), ("latents", trial.latents)]
    digest.update(json.dumps([trial.trial_id, trial.session, trial.split]).encode())
    for name, array in parts:
        if array is not None:
            digest.update(json.dumps([name, array.shape]).encode())
            stored = array if name == "spikes" else array.astype("<f4")
            digest.update(np.ascontiguousarray(stored).tobytes())
    return digest.digest()


class TrialChecker:
    """Checks trials one after another against their predecessors, and sums them up for a card.

    `check` validates a trial and raises ValueError where it does not fit those before it;
    the memory kept is one digest and one name per trial.
    """

    def __init__(self) -> None:
        self.n_units = 0
        self.n_latents = 0
        self.has_rates = False
        self.covariate_sizes: dict[str, int] = {}
        self.condition_sizes: dict[str, int] = {}
        self.splits: dict[str, dict[str, int]] = {}
        self.min_bins = 0
        self.max_bins = 0
        self._digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, trial: Trial) -> Trial:
        trial = validate_trial(trial)
        where = f"trial {trial.trial_id!r}"
        n_latents = 0 if trial.latents is None else int(trial.latents.shape[1])
        covariates = {name: int(array.shape[1]) for name, array in trial.covariates.items()}
        conditions = {name: int(array.shape[0]) for name, array in trial.conditions.items()}
        if not self._digests:
            self.n_units = int(trial.spikes.shape[1])
            self.n_latents, self.has_rates = n_latents, trial.rates is not None
            self.covariate_sizes, self.condition_sizes = covariates, conditions
            self.min_bins = self.max_bins = trial.n_bins
        if trial.trial_id in self._digests:
            raise ValueError(f"{where} occurs twice; trial ids must be unique in a dataset.")
        pairs: list[tuple[str, Any, Any]] = [
            ("unit count", int(trial.spikes.shape[1]), self.n_units),
            ("covariates and their sizes", covariates, self.covariate_sizes),
            ("conditions and their sizes", conditions, self.condition_sizes),
            ("number of latents", n_latents, self.n_latents),
            ("presence of rates", trial.rates is not None, self.has_rates),
        ]
        for what, got, wanted in pairs:
            if got != wanted:
                raise ValueError(
                    f"{where}: {what} must be {wanted} as in earlier trials, got {got}."
                )
        counts = self.splits.setdefault(trial.split, {"n_trials": 0, "n_bins": 0})
        counts["n_trials"] += 1
        counts["n_bins"] += trial.n_bins
        self.min_bins = min(self.min_bins, trial.n_bins)
        self.max_bins = max(self.max_bins, trial.n_bins)
        self._digests[trial.trial_id] = trial_digest(trial)
        return trial

    def fingerprint(
        self,
        bin_width_s: float,
        unit_names: Sequence[str],
        units: Mapping[str, str],
    ) -> str:
        """First 16 hex digits of a SHA-256 over all trials, in the order of their ids.

        The same for any order of writing, shard size, or compression. Bin width, unit names, and
        the physical units of covariates and conditions count; name, source and licence do not.
        """
        head = [SCHEMA_VERSION, float(bin_width_s), list(unit_names), sorted(units.items())]
        digest = hashlib.sha256(json.dumps(head).encode())
        for trial_id in sorted(self._digests):
            digest.update(self._digests[trial_id])
        return digest.hexdigest()[:16]


def check_trials(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Validate a stream of trials one by one; ValueError at the first that does not fit."""
    checker = TrialChecker()
    for trial in trials:
        yield checker.check(trial)


@dataclass(frozen=True)
class Card:
    """What a dataset holds: the content of its dataset.json.

    covariates, conditions: name -> {"size": channels, "unit": physical unit}.
    splits: split -> {"n_trials", "n_bins"}; only the splits that have trials.
    shards: one {"file", "sha256", "n_trials", "n_bytes"} per Parquet file.
    provenance: free JSON, such as simulator settings or the model a sample came from.
    """

    name: str
    n_units: int
    bin_width_s: float
    covariates: dict[str, dict[str, Any]]
    conditions: dict[str, dict[str, Any]]
    n_latents: int
    has_rates: bool
    splits: dict[str, dict[str, int]]
    min_bins: int
    max_bins: int
    shards: list[dict[str, Any]]
    source: str
    citation: str
    licence: str
    schema_version: int
    fingerprint: str
    provenance: dict[str, Any]
    unit_names: list[str]

    @property
    def n_trials(self) -> int:
        return sum(split["n_trials"] for split in self.splits.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "dataset.json") -> Card:
        """Parse a card; `where` is the file named in errors (ValueError)."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where} is not valid JSON: {error}. Write the dataset again."
            ) from None
        if not isinstance(content, dict):
            raise ValueError(f"{where} must hold a JSON object, got {type(content).__name__}.")
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"{where}: schema_version must be {SCHEMA_VERSION}, got {version!r}. "
                "Read it with the release that wrote it, or ingest the recording again."
            )
        names = [f.name for f in fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"{where}: missing {', '.join(missing)}. Write the dataset again.")
        _check_shards(content["shards"], where)
        return cls(**{name: content[name] for name in names})


def _check_shards(shards: Any, where: str) -> None:
    if not isinstance(shards, list):
        raise ValueError(f"{where}: shards must be a list, got {type(shards).__name__}.")
    for shard in shards:
        missing = {"file", "sha256", "n_trials", "n_bytes"} - set(shard)
        if missing:
            raise ValueError(f"{where}: a shard lacks {', '.join(sorted(missing))}, got {shard}.")
        file = shard["file"]
        if not isinstance(file, str) or file in ("", ".", "..") or set(file) & set("/\\:"):
            raise ValueError(f"{where}: shard files must be plain names, got {file!r}.")


def assign_splits(
    n_trials: int,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> list[str]:
    """A random split per trial, in the given fractions of train, val and test.

    strata: (S,) or (S, d) labels; each label's trials are shared out in the same fractions.
    Split sizes are right to one trial overall, and to two within a stratum.
    """
    if (
        len(fractions) != 3
        or min(fractions) < 0
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise ValueError(f"fractions must be 3 shares (train, val, test) of 1, got {fractions}.")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    order = rng.permutation(n_trials)
    if strata is not None:
        labels = np.asarray(strata)
        if len(labels) != n_trials:
            raise ValueError(
                f"strata must have one label per trial ({n_trials}), got {len(labels)}."
            )
        names, stratum = np.unique(labels, axis=0, return_inverse=True)
        # Strata in random order: were each trial its own, the split would follow its label.
        stratum = rng.permutation(len(names))[stratum.reshape(-1)]
        order = order[np.argsort(stratum[order], kind="stable")]
    # Along the ordering by stratum, each next trial goes to the split that is furthest behind its
    # share, so every run of trials, and with it every stratum, is shared out evenly.
    assigned = np.empty(n_trials, dtype=np.int64)
    given = np.zeros(3)
    shares = np.asarray(fractions, dtype=np.float64)
    for rank, trial in enumerate(order, start=1):
        split = int(np.argmax(shares * rank - given))
        given[split] += 1
        assigned[trial] = split
    return [SPLITS[i] for i in assigned]
