"""What is to be sampled: lengths, conditions and covariates, checked, or drawn from the training trials.

Shapes: n trials asked for, S training trials, T bins, C condition entries, K covariate channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ldns_ray.models.blocks import Arrays
from ldns_ray.models.conditioning import LENGTH, Conditioning
from ldns_ray.models.observation import CONDITION_DRAW, keyed_generator


@dataclass(frozen=True)
class TrainingDraws:
    """Lengths, conditions and covariates of the training trials: what samples are drawn for by default."""

    n_bins_S: np.ndarray
    conditions: dict[str, np.ndarray]
    covariates: dict[str, np.ndarray]


class Requests(NamedTuple):
    """What each trial is sampled for."""

    n_bins: np.ndarray
    """(n,) int64."""
    conditions: dict[str, np.ndarray]
    """By name (n, C) float32; without `length`."""
    covariates: dict[str, list[np.ndarray]]
    """By name n arrays (T_i, K) float32."""

    def rows(self, start: int, stop: int) -> "Requests":
        """Those of trials `start` … `stop - 1`."""
        return Requests(
            self.n_bins[start:stop],
            {k: v[start:stop] for k, v in self.conditions.items()},
            {k: v[start:stop] for k, v in self.covariates.items()},
        )


def resolve(
    n: int,
    n_bins: int | Sequence[int] | np.ndarray | None,
    condition: Mapping[str, Any] | None,
    covariates: Mapping[str, Arrays] | None,
    *,
    conditioning: Conditioning,
    training: TrainingDraws,
    seed: int,
    first_trial: int,
) -> Requests:
    """The requests of `n` trials, see `LDNS.sample`; trial i's are drawn by (seed, first_trial + i).

    Conditions and covariates are either all given or all drawn, since those of one trial belong together.
    Raises ValueError for names that are unknown or missing, wrong sizes and types, and numbers that are none.
    """
    wanted = {k: v for k, v in conditioning.conditions.items() if k != LENGTH}
    given_conditions = _named("condition", condition, wanted, n)
    given_traces = _named("covariate", covariates, conditioning.covariates, n)
    conditions = {
        name: _condition(name, value, (n, wanted[name])) for name, value in given_conditions.items()
    }
    traces = {
        name: [_trace(name, i, x) for i, x in enumerate(value)]
        for name, value in given_traces.items()
    }
    pick = np.array(
        [
            keyed_generator(seed, first_trial + i, CONDITION_DRAW).integers(len(training.n_bins_S))
            for i in range(n)
        ],
        dtype=np.int64,
    )
    if n_bins is not None:
        lengths = _lengths(n_bins, n)
    elif traces:
        lengths = np.array([len(x) for x in next(iter(traces.values()))], dtype=np.int64)
    else:
        lengths = training.n_bins_S[pick].astype(np.int64)
    if n and lengths.min() < 1:
        raise ValueError(f"n_bins must be at least 1, got {lengths.min()}.")
    for name, trials in traces.items():
        for i, (x, length) in enumerate(zip(trials, lengths, strict=True)):
            _check_trace(name, i, x, (int(length), conditioning.covariates[name]))
    if conditions or traces:
        _check_missing("condition", conditions, wanted, together=True)
        _check_missing("covariate", traces, conditioning.covariates, together=True)
        return Requests(lengths, conditions, traces)
    for kind, names, drawable in (
        ("condition", wanted, training.conditions), ("covariate", conditioning.covariates, training.covariates),
    ):  # fmt: skip
        for name in names:
            if name not in drawable:
                raise ValueError(
                    f"The model knows no training trials to draw the {kind} {name!r} from. Pass "
                    f"{', '.join((*wanted, *conditioning.covariates))} of every trial "
                    "(python jobs/sample.py MODEL --conditions FILE)."
                )
    if conditioning.covariates and (lengths > training.n_bins_S[pick]).any():
        raise ValueError(
            "Trials longer than those of the training set need their covariates "
            f"{', '.join(conditioning.covariates)}: pass them."
        )
    starts = np.cumsum(training.n_bins_S) - training.n_bins_S
    return Requests(
        lengths,
        {k: training.conditions[k][pick] for k in wanted},
        {
            k: [v[starts[i] : starts[i] + t] for i, t in zip(pick, lengths, strict=True)]
            for k, v in training.covariates.items()
        },
    )


def _named(
    kind: str, given: Mapping[str, Any] | None, known: Mapping[str, int], n: int
) -> dict[str, Any]:
    """What is given, by names that are known, all of them or none, with `n` rows each."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(
            f"Give {kind}s by name, such as {{{next(iter(known), 'angle')!r}: array}}, got {type(given).__name__}."
        )
    for name in given:
        if name not in known:
            raise ValueError(
                f"The model has no {kind} {name!r}; it was trained with: {', '.join(known) or 'none'}."
            )
    if given:
        _check_missing(kind, given, known, together=False)
    for name, value in given.items():
        rows = f"The {kind} {name!r} must have {n} rows, one per trial"
        try:
            n_rows = len(value)
        except TypeError:
            raise ValueError(f"{rows}, got {value!r}.") from None
        if n_rows != n:
            raise ValueError(f"{rows}, got {n_rows}.")
    return dict(given)


def _check_missing(
    kind: str, given: Mapping[str, Any], known: Mapping[str, int], *, together: bool
) -> None:
    for name in known:
        if name not in given:
            why = (
                " Give all conditions and covariates, or none to draw those of training trials."
                if together
                else ""
            )
            raise ValueError(
                f"The {kind} {name!r} is missing; the model was trained with: {', '.join(known)}.{why}"
            )


def _numbers(what: str, value: Any) -> np.ndarray:
    """`value` as float32. Raises ValueError where it is not all numbers."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{what} must be an array, got rows of different lengths.") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, got {array.dtype}.")
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as such
        return array.astype(np.float32)


def _condition(name: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    what = f"The condition {name!r}"
    array_nC = _numbers(what, value)
    _check_array(what, array_nC, shape, "trial", "entry")
    return array_nC


def _trace(name: str, trial: int, value: Any) -> np.ndarray:
    what = f"The covariate {name!r} of trial {trial}"
    trace = _numbers(what, value)
    if trace.ndim == 0:
        raise ValueError(f"{what} must be a trial's bins, got {trace}.")
    return trace


def _check_trace(name: str, trial: int, trace: np.ndarray, shape: tuple[int, int]) -> None:
    _check_array(f"The covariate {name!r} of trial {trial}", trace, shape, "bin", "channel")


def _check_array(
    what: str, array: np.ndarray, shape: tuple[int, int], row: str, column: str
) -> None:
    """Raises ValueError for another shape, or a number that is none, by the names of rows and columns."""
    if array.shape != shape:
        raise ValueError(f"{what} must be {shape}, got {array.shape}.")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        i, j = bad[0]
        raise ValueError(f"{what} must be finite, got {array[i, j]} in {column} {j} of {row} {i}.")


def _lengths(n_bins: int | Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    array = np.asarray(n_bins)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != n):
        raise ValueError(
            f"n_bins must be one number or {n}, got {len(array) if array.ndim == 1 else array.shape}."
        )
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(
            f"n_bins must be whole numbers, got {array.flat[0]!s} of type {array.dtype}."
        )
    return np.broadcast_to(array.astype(np.int64), (n,)).copy()
