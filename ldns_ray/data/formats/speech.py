"""Trials from the speech recordings of Willett et al. 2023, "A high-performance speech neuroprosthesis".

Dryad, doi:10.5061/dryad.x69p8czpq: competitionData/{train,test,competitionHoldOut}/t12.YYYY.MM.DD.mat,
one file per day. Shapes: T bins, N channels.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldns_ray.checks import Rule, at_least, check
from ldns_ray.data.formats.matlab import load_matlab
from ldns_ray.data.recordings import Recording, numbered
from ldns_ray.data.schema import Trial, as_counts
from ldns_ray.data.splits import UNASSIGNED

FOLDER_SPLITS = {"train": "train", "test": "val+test"}
"""What the trials of a file may become, by the folder it lies in. In the recording, `test` is the last block
of a day, `train` those before it, and `competitionHoldOut` the first two."""

BLOCKS = "blockIdx"


@dataclass(frozen=True)
class SpeechReader:
    """Threshold crossings of one day: a cell array of one matrix (T, 256) per sentence, in 20 ms bins.

    The split is that of the file's folder (`FOLDER_SPLITS`). The block of a trial (blockIdx) is its stratum.
    """

    bin_ms: float = 20.0
    """Width of a bin, ms."""
    array: str = "tx1"
    """The cell array: tx1 … tx4, thresholds of -3.5 … -6.5 RMS."""
    n_channels: int = 128
    """Channels to keep, from the first: 128 are the two arrays in area 6v, all 256 also those in area 44."""
    max_bins: int | None = 512
    """Longer trials are dropped; None keeps all."""
    session: str = ""
    """Name of the session; empty takes the file's, such as t12.2022.04.28."""

    def __post_init__(self) -> None:
        check(
            self,
            "",
            bin_ms=Rule("positive and finite", lambda x: 0 < x < math.inf),
            array=Rule("a name", bool),
            n_channels=at_least(1),
            max_bins=Rule("at least 1, or None", lambda x: x is None or x >= 1),
        )

    @property
    def bin_width_s(self) -> float:
        return self.bin_ms / 1000

    def read(self, path: str) -> Recording:
        """The trials 000000 … of a file, which is read and closed. The path's folder says their split."""
        variables, others = load_matlab(path, (self.array, BLOCKS))
        if self.array not in variables:
            there = sorted([*variables, *others])
            raise ValueError(f"{path}: has no array {self.array!r}; there are: {', '.join(there)}.")
        cells = variables[self.array]
        if cells.dtype != object or cells.ndim != 2 or 1 not in cells.shape:
            raise ValueError(
                f"{path}: {self.array} must be a cell array of one row or column, a cell per trial, "
                f"got {cells.dtype} of shape {cells.shape}."
            )
        trials = [np.asarray(cell) for cell in cells.reshape(-1)]
        self._check(path, trials)
        session = self.session or Path(path).stem
        strata = _strata(path, variables.get(BLOCKS), len(trials), session)
        longest = math.inf if self.max_bins is None else self.max_bins
        dropped = {
            "no bins": sum(x.size == 0 for x in trials),
            f"longer than {longest} bins": sum(len(x) > longest for x in trials if x.size),
        }
        kept = [i for i, x in enumerate(trials) if x.size and len(x) <= longest]
        return Recording(
            trials=self._trials(path, session, {i: trials[i] for i in kept}),
            strata=[strata[i] for i in kept] if strata else [],
            dropped=+Counter(dropped),  # what was counted more than 0 times
        )

    def _check(self, path: str, trials: list[np.ndarray]) -> None:
        """Trials without bins may have any shape: MATLAB's empty cell is 0 × 0."""
        filled = [i for i, x in enumerate(trials) if x.size]
        for i in filled:
            where, got = f"{path}: trial {numbered(i)!r}", trials[i].shape
            if len(got) != 2:
                raise ValueError(
                    f"{where}: {self.array} must be (bins, channels), got shape {got}."
                )
            if got[1] < self.n_channels:
                raise ValueError(
                    f"{where}: {self.array} must have at least {self.n_channels} channels, got {got[1]}. "
                    f"Set n_channels to {got[1]} or fewer."
                )
            if got[1] != trials[filled[0]].shape[1]:
                raise ValueError(
                    f"{where}: {self.array} must have {trials[filled[0]].shape[1]} channels as trial "
                    f"{numbered(filled[0])!r} has, got {got[1]}."
                )

    def _trials(self, path: str, session: str, trials: dict[int, np.ndarray]) -> Iterator[Trial]:
        split = FOLDER_SPLITS.get(Path(path).absolute().parent.name, UNASSIGNED)
        for i, crossings_TN in trials.items():
            trial_id = numbered(i)
            where = f"{path}: trial {trial_id!r}"
            counts = as_counts(crossings_TN[:, : self.n_channels], where)
            yield Trial(spikes=counts, trial_id=trial_id, session=session, split=split)


def _strata(path: str, blocks: np.ndarray | None, n_trials: int, session: str) -> list[str]:
    """session/block per trial; none where the file has no blocks."""
    if blocks is None:
        return []
    if blocks.size != n_trials or blocks.dtype.kind not in "iufb":
        raise ValueError(
            f"{path}: {BLOCKS} must be a number per trial ({n_trials}), got {blocks.dtype} "
            f"of shape {blocks.shape}."
        )
    return [f"{session}/{block:.15g}" for block in blocks.reshape(-1).astype(float)]
