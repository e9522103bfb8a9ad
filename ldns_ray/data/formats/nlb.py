"""Trials from the Neural Latents Benchmark's tensors, as `make_tensors` of nlb_tools writes them (HDF5).

Pei et al. 2021, "Neural Latents Benchmark '21". Shapes: S trials, T bins, F forward bins, N units of
one kind, K channels of behaviour.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ldns_ray.checks import Rule, check
from ldns_ray.data.formats.files import hdf5_array, open_hdf5
from ldns_ray.data.recordings import Recording, numbered
from ldns_ray.data.schema import SPLITS, Trial, as_counts

UNITS = ("heldin", "heldout")
NO_CONDITION = "none"


@dataclass(frozen=True)
class NlbReader:
    """One dataset of the benchmark: each trial's held-in units, then its held-out units.

    Arrays are found by the names that nlb_tools gives them, such as train_spikes_heldin, at the file's root
    or in its one group; the root's are taken where both have a name. All in one file:

        save_to_h5({**target["mc_maze"], **evaluation, **train}, "mc_maze.h5")

    Trials of unequal length are padded with NaN: bins at either end of a trial in which its held-in units,
    its held-out units or its behaviour are all NaN are cut off. NaN elsewhere is an error. A file's
    conditions (cond_idx) are its strata.
    """

    bin_ms: float
    """Width of a bin, ms: 5, unless the recording was resampled to another. The file does not say."""
    forward: bool = False
    """Append the bins that follow each trial (forward prediction, 200 ms in the benchmark)."""
    behavior: str = ""
    """Covariate to keep the behaviour as, such as hand_vel; empty leaves it out."""
    behavior_unit: str = ""
    """Physical unit of the behaviour, such as mm/s."""
    evaluation: Literal["test", "val", "val+test", "skip"] = "test"
    """Splits of the eval_ trials; the train_ trials go to the others. "skip" leaves eval_ trials out."""

    def __post_init__(self) -> None:
        check(self, "", bin_ms=Rule("positive and finite", lambda x: 0 < x < math.inf))
        if self.forward and self.behavior:
            raise ValueError(
                "forward and behavior cannot go together: there is no behaviour for forward bins. "
                "Leave one of them out."
            )

    @property
    def bin_width_s(self) -> float:
        return self.bin_ms / 1000

    def read(self, path: str) -> Recording:
        """The trials train/000000 … and eval/000000 … of a file, which is read whole and closed.

        Where eval_ trials lack what train_ trials have, such as the held-out units of the benchmark's
        test split, they are dropped.
        """
        sources = ("train",) if self.evaluation == "skip" else ("train", "eval")
        kinds = [f"spikes_{units}" for units in UNITS]
        if self.forward:
            kinds += [f"spikes_{units}_forward" for units in UNITS]
        if self.behavior:
            kinds.append("behavior")
        wanted = {f"{source}_{kind}" for source in sources for kind in (*kinds, "cond_idx")}
        arrays = _read(path, wanted)
        kinds = _needed(path, kinds, arrays)
        dropped: Counter[str] = Counter()
        parts = []
        for source in sources:
            missing = [name for kind in kinds if (name := f"{source}_{kind}") not in arrays]
            if not missing:
                parts.append(_part(path, source, kinds, arrays))
                dropped["all bins are NaN"] += parts[-1].n_trials - len(parts[-1].kept)
            elif spikes := [x for name, x in arrays.items() if name.startswith(f"{source}_spikes")]:
                dropped[f"no {missing[0]}"] += len(spikes[0])
        for kind in kinds if len(parts) == 2 else ():
            train, evaluation = arrays[f"train_{kind}"], arrays[f"eval_{kind}"]
            if train.shape[2] != evaluation.shape[2]:
                raise ValueError(
                    f"{path}: eval_{kind} must have {train.shape[2]} channels as train_{kind} has, "
                    f"got {evaluation.shape[2]}."
                )
        strata = [part.conditions[i] for part in parts for i in part.kept]
        return Recording(
            trials=self._trials(path, parts),
            unit_names=[
                f"{units}{i:03d}"
                for units, spikes_STN in zip(UNITS, parts[0].spikes, strict=False)
                for i in range(spikes_STN.shape[2])
            ],
            covariate_units={self.behavior: self.behavior_unit} if self.behavior else {},
            strata=strata if set(strata) - {NO_CONDITION} else [],
            dropped=+dropped,  # what was counted more than 0 times
        )

    def _trials(self, path: str, parts: Sequence["_Part"]) -> Iterator[Trial]:
        given = self.evaluation if any(p.source == "eval" and p.kept for p in parts) else ""
        others = "+".join(s for s in SPLITS if s not in given.split("+"))
        for part in parts:
            for i in part.kept:
                trial_id = f"{part.source}/{numbered(i)}"
                where = f"{path}: trial {trial_id!r}"
                covariates = {}
                if part.behavior is not None:
                    covariates[self.behavior] = part.behavior_of(i, where)
                yield Trial(
                    spikes=part.counts_of(i, where),
                    trial_id=trial_id,
                    session="",
                    split=others if part.source == "train" else given,
                    covariates=covariates,
                )


@dataclass(frozen=True)
class _Part:
    """The train_ or the eval_ trials of a file.

    spikes: of the held-in units and, where there are any, the held-out ones, (S, T, N) each.
    forward: likewise (S, F, N), or none. behavior: (S, T, K), or None.
    conditions: a label per trial. inside: the bins of each trial that are no padding.
    """

    source: str
    spikes: list[np.ndarray]
    forward: list[np.ndarray]
    behavior: np.ndarray | None
    conditions: list[str]
    inside: list[slice]

    @property
    def n_trials(self) -> int:
        return len(self.inside)

    @property
    def kept(self) -> list[int]:
        """The trials that are not all padding."""
        return [i for i, bins in enumerate(self.inside) if bins.stop > bins.start]

    def counts_of(self, i: int, where: str) -> np.ndarray:
        """Counts (bins, units) of a trial."""
        together = [
            np.concatenate([x[i] for x in arrays], axis=1)
            for arrays in (self.spikes, self.forward)
            if arrays
        ]
        spikes_TN = np.concatenate(together)
        # Padding is zeroed before it is cut off, so that errors number bins as the file does.
        bins = self.inside[i]
        spikes_TN[: bins.start] = spikes_TN[bins.stop :] = 0
        return as_counts(spikes_TN, where)[bins]

    def behavior_of(self, i: int, where: str) -> np.ndarray:
        """Behaviour (bins, channels) of a trial."""
        assert self.behavior is not None
        bins = self.inside[i]
        values_TK = self.behavior[i, bins]
        bad = np.argwhere(~np.isfinite(values_TK))
        if len(bad):
            t, k = bad[0]
            raise ValueError(
                f"{where}, bin {bins.start + t}, channel {k}: {self.source}_behavior must be finite "
                f"between a trial's ends, got {values_TK[t, k]} ({len(bad)} such entries). "
                "Read the file without behaviour, or without that trial."
            )
        return values_TK.astype(np.float32)


def _read(path: str, wanted: set[str]) -> dict[str, np.ndarray]:
    """The wanted arrays of a file, by name; the held-in spikes of either source are among them."""
    remedy = "Write it again with save_to_h5 of nlb_tools."
    arrays: dict[str, np.ndarray] = {}
    with open_hdf5(path, "HDF5", remedy) as file:
        items = {name: file.get(name) for name in file}  # None for a link to nothing
        there = {name: list(item) for name, item in items.items() if hasattr(item, "keys")}
        groups = [name for name, names in there.items() if wanted & set(names)]
        for holder in (*(file[name] for name in groups), file):
            arrays |= {name: hdf5_array(holder[name]) for name in sorted(wanted & set(holder))}
        names = [*file, *(f"{name}/{key}" for name in groups for key in there[name])]
    if len(groups) > 1:
        raise ValueError(
            f"{path}: must hold one dataset, got {' and '.join(groups)}. Save each to its own file."
        )
    heldin = sorted((name for name in wanted if name.endswith("_spikes_heldin")), reverse=True)
    if not set(heldin) & set(arrays):
        raise ValueError(
            f"{path}: has no {' or '.join(heldin)}; there are: {', '.join(names)}. Save what "
            "make_train_input_tensors and make_eval_input_tensors of nlb_tools return."
        )
    return arrays


def _needed(path: str, kinds: Sequence[str], arrays: dict[str, np.ndarray]) -> list[str]:
    """The kinds that each trial must have: without held-out units where the train_ trials have none."""
    source = "train" if "train_spikes_heldin" in arrays else "eval"
    needed = list(kinds)
    if f"{source}_spikes_heldout" not in arrays:
        if "eval_spikes_heldout" in arrays:
            raise ValueError(
                f"{path}: has eval_spikes_heldout, but no train_spikes_heldout. Add it, as "
                "make_train_input_tensors of nlb_tools returns it, or leave eval_ trials out."
            )
        needed = [kind for kind in needed if "heldout" not in kind]
    for kind in needed:
        if f"{source}_{kind}" not in arrays:
            raise ValueError(
                f"{path}: has no {source}_{kind}; there are: {', '.join(sorted(arrays))}. "
                "Make the tensors with it (include_behavior=True, include_forward_pred=True), "
                "or read them without."
            )
    return needed


def _part(path: str, source: str, kinds: Sequence[str], arrays: dict[str, np.ndarray]) -> _Part:
    """The trials of one source, once the arrays of the given kinds fit together."""
    heldin = arrays[f"{source}_spikes_heldin"]
    for kind in kinds:
        array = arrays[f"{source}_{kind}"]
        if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "iufb":
            raise ValueError(
                f"{path}: {source}_{kind} must be numbers of shape (trials, bins, channels), all above 0, "
                f"got {array.dtype} of shape {array.shape}."
            )
        like = "spikes_heldin_forward" if kind.endswith("_forward") else "spikes_heldin"
        n_bins = arrays[f"{source}_{like}"].shape[1]
        if array.shape[:2] != (len(heldin), n_bins):
            raise ValueError(
                f"{path}: {source}_{kind} must have {len(heldin)} trials of {n_bins} bins, as "
                f"{source}_{like} has, got shape {array.shape}."
            )
    forward = [arrays[f"{source}_{kind}"] for kind in kinds if kind.endswith("_forward")]
    spikes = [arrays[f"{source}_{kind}"] for kind in kinds if kind.endswith(UNITS)]
    behavior = arrays[f"{source}_behavior"] if "behavior" in kinds else None
    padding_ST = _all_nan(spikes if behavior is None else [*spikes, behavior])
    if forward:
        padding_ST = np.concatenate([padding_ST, _all_nan(forward)], axis=1)
    conditions = _conditions(path, f"{source}_cond_idx", arrays, len(heldin))
    inside = [_between_ends(padding_T) for padding_T in padding_ST]
    return _Part(source, spikes, forward, behavior, conditions, inside)


def _all_nan(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(S, T): the bins in which all channels of one of the arrays (S, T, channels) are NaN."""
    return np.any([np.isnan(x).all(axis=2) for x in arrays], axis=0)


def _between_ends(padding_T: np.ndarray) -> slice:
    """From the first to the last bin that is no padding; none where all are."""
    bins = np.flatnonzero(~padding_T)
    return slice(int(bins[0]), int(bins[-1]) + 1) if len(bins) else slice(0, 0)


def _conditions(path: str, name: str, arrays: dict[str, np.ndarray], n_trials: int) -> list[str]:
    """A label per trial from a list of the trials of each condition."""
    labels = [NO_CONDITION] * n_trials
    for condition, trials in enumerate(np.atleast_1d(arrays.get(name, ()))):
        index = np.asarray(trials)
        fits = index.ndim == 1 and index.dtype.kind in "iu"
        if not fits or not np.isin(index, np.arange(n_trials)).all():
            raise ValueError(
                f"{path}: {name} must hold, for each condition, a list of trials below {n_trials}, "
                f"got {trials} for condition {condition}. Save the tensors again, or remove it."
            )
        for trial in index.tolist():
            labels[trial] = f"condition {condition:04d}"
    return labels
