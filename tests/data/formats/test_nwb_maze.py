"""The MC_Maze preset on a file of that layout, against counts of whole milliseconds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nwb import NwbReader, mc_maze
from ldns_ray.data.recordings import Reader
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES, share_out
from tests.data.formats.nwb_files import Maze, write_mc_maze


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Maze:
    return write_mc_maze(tmp_path_factory.mktemp("maze") / "train.nwb")


def first_ms(maze: Maze, trial: int) -> int:
    """250 ms before movement onset, or the next multiple of 5 ms."""
    return -(-(int(maze.onset_ms[trial]) - 250) // 5) * 5


def counts_by_hand(maze: Maze, first: int) -> np.ndarray:
    """140 bins of 5 ms, held-in units 0, 2, 4 before held-out units 1, 3."""
    counts = np.zeros((140, 5), dtype=int)
    for column, unit in enumerate((0, 2, 4, 1, 3)):
        for tick in maze.spikes_ms[unit]:
            if 0 <= tick - first < 700:
                counts[(tick - first) // 5, column] += 1
    return counts


def velocity_by_hand(maze: Maze, first: int) -> np.ndarray:
    """m/s, the mean of the 5 samples of each bin, 80 ms later."""
    bins = [maze.velocity_mm_s[first + 80 + 5 * t : first + 85 + 5 * t] for t in range(140)]
    return np.array([samples.mean(axis=0) / 1000 for samples in bins])


def check_against_hand(maze: Maze, trials: list[Trial]) -> None:
    assert len(trials) == len(maze.splits)
    for i, trial in enumerate(trials):
        np.testing.assert_array_equal(trial.spikes, counts_by_hand(maze, first_ms(maze, i)))
        assert trial.spikes.dtype == np.uint8
        velocity = velocity_by_hand(maze, first_ms(maze, i))
        np.testing.assert_allclose(trial.covariates["velocity"], velocity, rtol=1e-6)
        radians = np.arctan2(velocity[50, 1], velocity[50, 0])
        expected = [np.cos(radians), np.sin(radians)]
        np.testing.assert_allclose(trial.conditions["angle"], expected, rtol=1e-6)


def test_the_preset_reads_counts_velocity_and_angle(maze: Maze) -> None:
    reader: Reader = mc_maze()
    recording = reader.read(maze.path)
    trials = list(recording.trials)
    check_against_hand(maze, trials)
    assert sum(int(trial.spikes.sum()) for trial in trials) > 1000
    # The file has trials off the grid of 5 ms, so that starting on it matters.
    assert len({int(onset) % 5 for onset in maze.onset_ms}) > 2
    assert [trial.trial_id for trial in trials] == [f"{i:06d}" for i in range(8)]
    assert {trial.session for trial in trials} == {"full"}
    assert [trial.split for trial in trials] == maze.splits
    assert recording.unit_names == ["0", "2", "4", "1", "3"]
    assert recording.covariate_units == {"velocity": "m/s"}
    assert recording.condition_units == {}
    assert recording.dropped == Counter()
    assert recording.strata == []
    assert reader.bin_width_s == 0.005


def test_both_ways_to_store_velocity_are_converted_once(tmp_path: Path, maze: Maze) -> None:
    plain = write_mc_maze(tmp_path / "plain.nwb", conversion=1.0, unit="mm/s")
    trials = list(mc_maze().read(plain.path).trials)
    check_against_hand(plain, trials)
    kept = replace(mc_maze().covariates[0], unit="")
    recording = replace(mc_maze(), covariates=(kept,)).read(plain.path)
    first = next(recording.trials)
    assert recording.covariate_units == {"velocity": "mm/s"}
    np.testing.assert_allclose(
        first.covariates["velocity"], 1000 * trials[0].covariates["velocity"], rtol=1e-6
    )
    centi = replace(mc_maze().covariates[0], unit="cm/s")
    recording = replace(mc_maze(), covariates=(centi,)).read(maze.path)
    assert recording.covariate_units == {"velocity": "cm/s"}
    np.testing.assert_allclose(
        next(recording.trials).covariates["velocity"], 100 * trials[0].covariates["velocity"], rtol=1e-6
    )  # fmt: skip


def test_without_snapping_trials_start_at_the_event(maze: Maze) -> None:
    trials = list(replace(mc_maze(), snap=False).read(maze.path).trials)
    for i, trial in enumerate(trials):
        first = int(maze.onset_ms[i]) - 250
        np.testing.assert_array_equal(trial.spikes, counts_by_hand(maze, first))
        velocity = velocity_by_hand(maze, first)
        np.testing.assert_allclose(trial.covariates["velocity"], velocity, rtol=1e-6)


def test_other_bins_hold_the_same_spikes(maze: Maze) -> None:
    fine = list(replace(mc_maze(), snap=False).read(maze.path).trials)
    coarse = list(replace(mc_maze(20.0), snap=False).read(maze.path).trials)
    assert mc_maze(20.0).angles[0].bin == 12
    for a, b in zip(fine, coarse, strict=True):
        np.testing.assert_array_equal(a.spikes.reshape(35, 4, 5).sum(axis=1), b.spikes)


def test_the_rule_of_the_paper_moves_the_first_half_of_the_validation_trials(maze: Maze) -> None:
    trials = list(mc_maze(split_rule="ldns").read(maze.path).trials)
    # Five validation trials: 1, 3, 4, 6, 7. Two join train.
    both = "val+test"
    expected = ["train", "train", "train", "train", both, "train", both, both]
    assert [trial.split for trial in trials] == expected
    assert set(share_out(expected, (0.8, 0.05, 0.15))) <= {"train", "val", "test"}


def test_the_trials_are_fit_to_be_ingested(maze: Maze) -> None:
    checker = TrialChecker(splits=CHOICES)
    for trial in mc_maze(split_rule="ldns").read(maze.path).trials:
        checker.check(trial, maze.path)
    assert checker.covariate_sizes == {"velocity": 2}
    assert checker.condition_sizes == {"angle": 2}
    assert (checker.n_units, checker.min_bins, checker.max_bins) == (5, 140, 140)


def test_the_file_is_closed_before_the_trials_come(maze: Maze) -> None:
    recording = mc_maze().read(maze.path)
    next(recording.trials)
    # HDF5 locks what is open for reading.
    with h5py.File(maze.path, "r+") as file:
        assert "units" in file


def test_trials_in_no_split_are_left_out(tmp_path: Path) -> None:
    maze = write_mc_maze(tmp_path / "none.nwb", splits=("train", "none", "val", "none"))
    recording = mc_maze().read(maze.path)
    assert [trial.trial_id for trial in recording.trials] == ["000000", "000002"]
    assert recording.dropped == {"split none": 2}


def test_readers_are_plain_values() -> None:
    text = json.dumps(asdict(mc_maze()))
    assert json.loads(text)["covariates"][0]["lag_ms"] == 80.0
    assert mc_maze() == mc_maze()
    assert hash(mc_maze()) == hash(mc_maze())
    assert isinstance(mc_maze(), NwbReader)
    with pytest.raises(ValueError, match=r"bin_ms must be at least 0.1, got 0"):
        mc_maze(0)
    with pytest.raises(ValueError, match="window_ms must hold a whole number of bins of 3 ms, got 700 ms"):  # fmt: skip
        mc_maze(3.0)
