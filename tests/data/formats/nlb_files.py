"""Files as nlb_tools' save_to_h5 writes them: float32, gzip, index lists of variable length."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES

# Two training trials and one evaluation trial of 3 bins, two held-in units and one held-out unit.
HELDIN = [[[1, 0], [0, 2], [0, 0]], [[0, 0], [3, 0], [0, 1]]]
HELDOUT = [[[5], [0], [6]], [[0], [7], [0]]]
TENSORS: dict[str, Any] = {
    "train_spikes_heldin": HELDIN,
    "train_spikes_heldout": HELDOUT,
    "eval_spikes_heldin": HELDIN[1:],
    "eval_spikes_heldout": HELDOUT[1:],
}
FORWARD: dict[str, Any] = {
    "train_spikes_heldin_forward": [[[1, 1]], [[0, 4]]],
    "train_spikes_heldout_forward": [[[2]], [[3]]],
    "eval_spikes_heldin_forward": [[[9, 0]]],
    "eval_spikes_heldout_forward": [[[8]]],
}
BEHAVIOR: dict[str, Any] = {
    "train_behavior": [[[0.5, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]],
    "eval_behavior": [[[12, 13], [14, 15], [16, 17]]],
}
FIRST = [[1, 0, 5], [0, 2, 0], [0, 0, 6]]
SECOND = [[0, 0, 0], [3, 0, 7], [0, 1, 0]]


def save(path: Path, tensors: dict[str, Any], *, group: str = "", dtype: str = "f4") -> str:
    """Adds to the file; None leaves an array out."""
    with h5py.File(path, "a") as file:
        holder = file.require_group(group) if group else file
        for name, values in tensors.items():
            if values is not None:
                holder.create_dataset(name, data=np.array(values, dtype), compression="gzip")
    return str(path)


def save_conditions(path: str, **lists: list[list[int]]) -> str:
    with h5py.File(path, "a") as file:
        for name, trials in lists.items():
            index = np.empty(len(trials), dtype=object)
            for i, of_condition in enumerate(trials):
                index[i] = np.array(of_condition, "i4")
            file.create_dataset(name, data=index, dtype=h5py.vlen_dtype("i4"), compression="gzip")
    return path


def read(path: str, **options: Any) -> list[Trial]:
    """All trials, each checked as an ingestion would."""
    recording = NlbReader(**{"bin_ms": 5, **options}).read(path)
    trials = list(recording.trials)
    checker = TrialChecker(CHOICES)
    for trial in trials:
        checker.check(
            Trial(trial.spikes, trial.trial_id, "a", trial.split, covariates=trial.covariates)
        )
    assert len(recording.strata) in (0, len(trials))
    return trials


def refused(path: str, **options: Any) -> str:
    with pytest.raises(ValueError, match=f"^{re.escape(path)}: ") as error:
        read(path, **options)
    return str(error.value).removeprefix(f"{path}: ")


def changed(values: Any, at: Any, to: float = np.nan) -> np.ndarray:
    array = np.array(values, dtype=float)
    array[at] = to
    return array
