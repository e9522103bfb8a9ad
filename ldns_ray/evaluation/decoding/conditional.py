"""Whether the samples of a conditional model are what they were asked for, on sets of trials.

Which decoders there are: `ldns_ray.evaluation.decoding.decoders`; how sure their scores are:
`ldns_ray.evaluation.decoding.intervals`. Here: what they are given, and how their scores are told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from ldns_ray.data.batches import TrialSet
from ldns_ray.evaluation.bootstrap import as_list
from ldns_ray.evaluation.decoding.decoders import (
    AngleDecoding,
    ClassDecoding,
    RSquared,
    TraceDecoding,
    TracePairs,
    TrialPairs,
    decode_angles,
    decode_classes,
    decode_traces,
    mean_counts,
)
from ldns_ray.evaluation.decoding.intervals import (
    angle_intervals,
    class_intervals,
    trace_intervals,
)
from ldns_ray.evaluation.labels import SplitLabels, class_labels
from ldns_ray.evaluation.rows import Interval
from ldns_ray.evaluation.wording import told
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.blocks import decode

SMOOTHING_S = 0.05
"""Standard deviation of the Gaussian that makes rates of spike counts where there is no autoencoder, in seconds."""


@dataclass(frozen=True)
class Conditional:
    """What was decoded of the conditions of the real and the sampled trials."""

    covariates: dict[str, TraceDecoding]
    classes: ClassDecoding | None
    class_names: list[str]
    angles: dict[str, AngleDecoding]

    def __bool__(self) -> bool:
        return bool(self.covariates or self.classes or self.angles)

    def summary(self, *, seed: int = 0) -> dict[str, Any]:
        """As JSON values; `ratio` is None where even real trials cannot be decoded.

        Beside every score `x` its interval `x_interval`, [low, high] or None (`decoding_intervals`); `seed` keys
        its resamples.
        """
        return {
            "covariates": {name: _of_trace(x, seed) for name, x in self.covariates.items()},
            "classes": None if self.classes is None else _of_classes(self.classes, self.class_names, seed),
            "angles": {name: _of_angle(x, seed) for name, x in self.angles.items()},
        }  # fmt: skip


def _of_trace(x: TraceDecoding, seed: int) -> dict[str, Any]:
    bounds = trace_intervals(x, seed=seed)

    def side(r2: RSquared, of_r2: Interval | None) -> dict[str, Any]:
        return {
            "r2": r2.total,
            "r2_interval": as_list(of_r2),
            "r2_per_channel": list(r2.per_channel),
        }

    return {
        "real": side(x.real, bounds.real),
        "sampled": side(x.sampled, bounds.sampled),
        "ratio": x.ratio,
        "ratio_interval": as_list(bounds.ratio),
    }


def _of_classes(x: ClassDecoding, names: list[str], seed: int) -> dict[str, Any]:
    bounds = class_intervals(x, seed=seed)
    return {
        "names": names,
        "chance": x.chance,
        "accuracy_real": x.accuracy_real,
        "accuracy_real_interval": as_list(bounds.real),
        "accuracy_sampled": x.accuracy_sampled,
        "accuracy_sampled_interval": as_list(bounds.sampled),
        "ratio": x.ratio,
        "ratio_interval": as_list(bounds.ratio),
        "confusion_real": x.confusion_real_CC.tolist(),
        "confusion_sampled": x.confusion_sampled_CC.tolist(),
    }


def _of_angle(x: AngleDecoding, seed: int) -> dict[str, Any]:
    bounds = angle_intervals(x, seed=seed)
    return {
        "error_real": x.error_real,
        "error_real_interval": as_list(bounds.real),
        "error_sampled": x.error_sampled,
        "error_sampled_interval": as_list(bounds.sampled),
    }


def decode_samples(
    train: TrialSet,
    real: TrialSet,
    sampled: TrialSet,
    *,
    conditions: Sequence[str] = (),
    covariates: Sequence[str] = (),
    label: str = "",
    labels: SplitLabels = (None, None),
    from_s: float = 0.0,
) -> Conditional:
    """Decoders of the training trials on real held-out trials and on sampled ones.

    Args:
        train, real: with all conditions of the recording, and with rates if there are covariates.
        sampled: with the conditions and covariates it was asked for, and rates likewise.
        conditions: those that the samples were asked for. Classes are decoded where they tell the class of a
            trial, angles where they are the cosine and sine of one.
        covariates: the same, per bin; each is decoded from the rates of its bin.
        label: the condition whose values are the classes; empty: every condition that has few.
        labels: classes of `train` and of `real`, as `labels.split_labels` makes them of `label`.
        from_s: start of the spike counts that classes and angles are decoded from, seconds into the trial.
    """
    traces = {
        name: decode_traces(*(TracePairs(t.rates_list(), t.covariates_list(name)) for t in (train, real, sampled)))
        for name in covariates
    }  # fmt: skip
    train_labels, real_labels = labels
    asked_labels = None
    if train_labels is not None and len(np.unique(train_labels)) > 1:
        asked_labels = sampled_labels(train, train_labels, sampled, conditions, label)
    directions = [name for name in conditions if _is_direction(train.conditions[name])]
    if asked_labels is None and not directions:
        return Conditional(traces, None, [], {})
    first_bin = round(from_s / train.bin_width_s)
    counts = [mean_counts(t.spikes_list(), first_bin) for t in (train, real, sampled)]

    def pairs(*asked: np.ndarray) -> list[TrialPairs]:
        return [TrialPairs(x, y) for x, y in zip(counts, asked, strict=True)]

    classes, names = None, []
    if asked_labels is not None:
        assert train_labels is not None
        assert real_labels is not None
        classes = decode_classes(*pairs(train_labels, real_labels, asked_labels))
        names = _class_names(train, train_labels, label)
    angles = {
        name: decode_angles(*pairs(*(t.conditions[name] for t in (train, real, sampled))))
        for name in directions
    }
    return Conditional(traces, classes, names, angles)


def sampled_labels(
    train: TrialSet,
    labels_S: np.ndarray,
    sampled: TrialSet,
    conditions: Sequence[str],
    label: str = "",
) -> np.ndarray | None:
    """The class that each sampled trial was asked for: that of the training trial with the nearest conditions.

    Conditions count in units of their training standard deviations. None where the conditions do not tell the
    class: there are none, or training trials of the same conditions are of several classes. Raises ValueError
    for samples that carry the `label` itself with a value that no training trial has.
    """
    names = [label] if label in conditions else list(conditions)
    if not names:
        return None
    known_SC, asked_SC = (
        np.round(np.concatenate([t.conditions[name] for name in names], 1), 4).astype(np.float64)
        for t in (train, sampled)
    )
    spread_C = np.where(np.ptp(known_SC, 0) > 0, known_SC.std(0), 1.0)
    rows_UC, row_S = np.unique(known_SC, axis=0, return_inverse=True)
    if len(np.unique(np.stack([row_S.ravel(), labels_S]), axis=1).T) > len(rows_UC):
        return None
    label_U = np.empty(len(rows_UC), np.int64)
    label_U[row_S.ravel()] = labels_S
    distance_S, nearest_S = KDTree(rows_UC / spread_C).query(asked_SC / spread_C)
    if label in names and distance_S.max() > 0:
        stranger = asked_SC[int(np.argmax(distance_S))].tolist()
        raise ValueError(f"Samples were asked for {label} {stranger}, which no training trial has.")
    return np.asarray(label_U[nearest_S])


def with_rates(trials: TrialSet, rates: Callable[[TrialSet], Sequence[np.ndarray]]) -> TrialSet:
    """The trials with these rates, (T_i, N) each."""
    return replace(trials, rates=np.concatenate(list(rates(trials))))


def decoded_rates(model: Autoencoder) -> Callable[[TrialSet], Sequence[np.ndarray]]:
    """Rates of trials that carry the latents of this autoencoder."""
    return lambda trials: decode(model, trials.latents_list())


def smoothed_counts(trials: TrialSet) -> list[np.ndarray]:
    """Rates of any trials: counts under a Gaussian of `SMOOTHING_S`, the ends of a trial repeated beyond it."""
    sd = SMOOTHING_S / trials.bin_width_s
    return [
        gaussian_filter1d(x.astype(np.float32), sd, axis=0, mode="nearest")
        for x in trials.spikes_list()
    ]


def format_conditional(summary: Mapping[str, Any]) -> str:
    """What `Conditional.summary` says, in words for a terminal, on one line; intervals in brackets."""
    said = [
        f"{name} R² {told(x['real'], 'r2')} real, {told(x['sampled'], 'r2')} sampled{_of_real(x['ratio'])}"
        for name, x in summary["covariates"].items()
    ]
    c = summary["classes"]
    if c is not None:
        said.append(
            f"class of {len(c['names'])} {told(c, 'accuracy_real')} real, {told(c, 'accuracy_sampled')} sampled"
            f"{_of_real(c['ratio'])}, {c['chance']:.3f} by chance"
        )
    said += [
        f"{name} {told(x, 'error_real', '.1f', '°')} off real, {told(x, 'error_sampled', '.1f', '°')} sampled"
        for name, x in summary["angles"].items()
    ]
    return "Conditions decoded: " + "; ".join(said)


def conditional_rows(summary: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """What `Conditional.summary` says, as a table: a row for each covariate, the classes, and each angle."""
    rows: list[dict[str, str | None]] = []

    def add(
        what: str, real: str, sampled: str, ratio: float | None, chance: str | None = None
    ) -> None:
        share = None if ratio is None else f"{ratio:.2f}"
        rows.append(
            {"Decoded": what, "Real trials": real, "Sampled trials": sampled, "Sampled over real": share, "By chance": chance}
        )  # fmt: skip

    for name, x in summary["covariates"].items():
        add(f"{name}, R²", told(x["real"], "r2"), told(x["sampled"], "r2"), x["ratio"], "0")
    c = summary["classes"]
    if c is not None:
        real, sampled = (told(c, f"accuracy_{side}") for side in ("real", "sampled"))
        add(
            f"class of {len(c['names'])}, accuracy", real, sampled, c["ratio"], f"{c['chance']:.3f}"
        )
    for name, x in summary["angles"].items():
        real, sampled = (told(x, f"error_{side}", ".1f", "°") for side in ("real", "sampled"))
        add(f"{name}, median error", real, sampled, None, "90°")
    return rows


def conditional_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers of `Conditional.summary` that runs are compared by; R² is the mean over covariates."""
    numbers = {}
    covariates, classes = list(summary["covariates"].values()), summary["classes"]
    for side in ("real", "sampled"):
        if covariates:
            numbers[f"conditional/r2_{side}"] = float(np.mean([x[side]["r2"] for x in covariates]))
        if classes is not None:
            numbers[f"conditional/accuracy_{side}"] = classes[f"accuracy_{side}"]
    return numbers


def _of_real(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.2f} of it)"


def _is_direction(values_SC: np.ndarray) -> bool:
    """Whether every row is a cosine and a sine, and they are not all the same."""
    on_circle = values_SC.shape[1] == 2 and np.allclose(np.hypot(*values_SC.T), 1, atol=1e-3)
    return bool(on_circle and np.ptp(values_SC, 0).any())


def _class_names(train: TrialSet, labels_S: np.ndarray, label: str) -> list[str]:
    """The values of the one condition of one entry that tells the classes apart, else their numbers."""
    classes, first = np.unique(labels_S, return_index=True)
    for name in [label] if label else sorted(train.conditions):
        values = train.conditions[name]
        own_S = class_labels({name: values}) if values.shape[1] == 1 else None
        if own_S is not None and np.array_equal(own_S, labels_S):
            return [f"{x:g}" for x in values[first, 0]]
    return [str(c) for c in classes]
