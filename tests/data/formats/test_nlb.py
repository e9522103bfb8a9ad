"""Trials of NLB files: units, splits, padding, behaviour, conditions."""

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.splits import share_out
from tests.data.formats.nlb_files import (
    BEHAVIOR,
    FIRST,
    FORWARD,
    HELDIN,
    HELDOUT,
    SECOND,
    TENSORS,
    changed,
    read,
    refused,
    save,
    save_conditions,
)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8"])
def test_heldin_units_come_before_heldout_units(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "a.h5", TENSORS, dtype=dtype)
    recording = NlbReader(bin_ms=20).read(path)
    assert list(recording.unit_names) == ["heldin000", "heldin001", "heldout000"]
    trials = list(recording.trials)
    assert [t.trial_id for t in trials] == ["train/000000", "train/000001", "eval/000000"]
    for trial, wanted in zip(trials, [FIRST, SECOND, SECOND], strict=True):
        np.testing.assert_array_equal(trial.spikes, wanted)
        assert trial.spikes.dtype == np.uint8
        assert (trial.session, trial.covariates) == ("", {})
    assert (recording.strata, recording.dropped, recording.covariate_units) == ([], Counter(), {})
    assert NlbReader(bin_ms=20).bin_width_s == 0.02


@pytest.mark.parametrize(
    ("evaluation", "splits"),
    [
        ("test", ["train+val", "train+val", "test"]),
        ("val", ["train+test", "train+test", "val"]),
        ("val+test", ["train", "train", "val+test"]),
        ("skip", ["train+val+test", "train+val+test"]),
    ],
)
def test_train_trials_go_where_eval_trials_do_not(
    tmp_path: Path, evaluation: str, splits: list[str]
) -> None:
    trials = read(save(tmp_path / "a.h5", TENSORS), evaluation=evaluation)
    assert [t.split for t in trials] == splits
    assert len(share_out(splits)) == len(splits)  # all are known choices


def test_arrays_may_lie_in_one_group_and_the_root_goes_first(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.h5", TENSORS, group="mc_maze_20")
    train = {name: x for name, x in TENSORS.items() if name.startswith("train")}
    parted = save(tmp_path / "parted.h5", train)
    # The targets, as make_eval_target_tensors gives them, beside the inputs.
    save(
        Path(parted), {"eval_spikes_heldout": np.full((1, 3, 1), 9), **BEHAVIOR}, group="mc_maze_20"
    )
    save(Path(parted), {"eval_spikes_heldin": HELDIN[1:], "eval_spikes_heldout": HELDOUT[1:]})
    for path in (whole, parted):
        assert [t.spikes.tolist() for t in read(path)] == [FIRST, SECOND, SECOND]
    np.testing.assert_array_equal(
        read(parted, behavior="hand_vel")[2].covariates["hand_vel"], BEHAVIOR["eval_behavior"][0]
    )


def test_other_groups_do_not_disturb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS, group="mc_rtt")
    save(tmp_path / "a.h5", {"x": [1]}, group="notes")
    with h5py.File(path, "a") as file:
        file["nothing"] = h5py.SoftLink("/nowhere")
    assert len(read(path)) == 3


def test_forward_bins_follow_each_trial(tmp_path: Path) -> None:
    trials = read(save(tmp_path / "a.h5", TENSORS | FORWARD), forward=True)
    wanted = [[*FIRST, [1, 1, 2]], [*SECOND, [0, 4, 3]], [*SECOND, [9, 0, 8]]]
    assert [t.spikes.tolist() for t in trials] == wanted
    assert [t.n_bins for t in read(str(tmp_path / "a.h5"))] == [3, 3, 3]


def test_behavior_is_a_covariate(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS | BEHAVIOR)
    recording = NlbReader(bin_ms=5, behavior="hand_vel", behavior_unit="mm/s").read(path)
    assert recording.covariate_units == {"hand_vel": "mm/s"}
    got = [t.covariates["hand_vel"] for t in recording.trials]
    assert [x.dtype for x in got] == [np.float32] * 3
    np.testing.assert_array_equal(got, [*BEHAVIOR["train_behavior"], *BEHAVIOR["eval_behavior"]])
    assert read(path)[0].covariates == {}


@pytest.mark.parametrize(
    ("lacking", "options"),
    [
        ("eval_spikes_heldout", {}),
        ("eval_spikes_heldin", {}),
        ("eval_behavior", {"behavior": "v"}),
        ("eval_spikes_heldin_forward", {"forward": True}),
    ],
)
def test_eval_trials_that_lack_something_are_dropped(
    tmp_path: Path, lacking: str, options: dict[str, Any]
) -> None:
    path = save(tmp_path / "a.h5", TENSORS | FORWARD | BEHAVIOR | {lacking: None})
    recording = NlbReader(bin_ms=5, **options).read(path)
    trials = list(recording.trials)
    assert [t.trial_id for t in trials] == ["train/000000", "train/000001"]
    assert {t.split for t in trials} == {"train+val+test"}
    assert recording.dropped == {f"no {lacking}": 1}


def test_files_of_one_kind_of_trials(tmp_path: Path) -> None:
    without = dict.fromkeys(TENSORS)
    heldin = save(tmp_path / "a.h5", without | {"eval_spikes_heldin": HELDIN})
    recording = NlbReader(bin_ms=5).read(heldin)  # the benchmark's test split, as it is given out
    assert list(recording.unit_names) == ["heldin000", "heldin001"]
    assert [(t.trial_id, t.split) for t in recording.trials] == [
        ("eval/000000", "test"),
        ("eval/000001", "test"),
    ]
    train = save(tmp_path / "b.h5", without | {"train_spikes_heldin": HELDIN})
    assert {t.split for t in read(train)} == {"train+val+test"}


def test_padding_is_cut_off(tmp_path: Path) -> None:
    """At the end, as for trials of unequal length; at the start of the held-out units alone, as in dmfc_rsg."""
    path = save(
        tmp_path / "a.h5",
        TENSORS
        | {
            "train_spikes_heldin": changed(HELDIN, (0, slice(2, 3))),
            "train_spikes_heldout": changed(HELDOUT, (0, slice(2, 3))),
            "eval_spikes_heldout": changed(HELDOUT[1:], (0, slice(0, 1))),
        },
    )
    assert [t.spikes.tolist() for t in read(path)] == [FIRST[:2], SECOND, SECOND[1:]]


def test_behavior_and_spikes_are_cut_alike(tmp_path: Path) -> None:
    behavior = changed(changed(BEHAVIOR["train_behavior"], (0, 2)), (1, 0))
    path = save(tmp_path / "a.h5", TENSORS | BEHAVIOR | {"train_behavior": behavior})
    first, second, _ = read(path, behavior="v")
    assert (first.spikes.tolist(), second.spikes.tolist()) == (FIRST[:2], SECOND[1:])
    np.testing.assert_array_equal(first.covariates["v"], BEHAVIOR["train_behavior"][0][:2])
    np.testing.assert_array_equal(second.covariates["v"], BEHAVIOR["train_behavior"][1][1:])


def test_forward_bins_that_were_not_recorded_are_cut_off(tmp_path: Path) -> None:
    forward = {"train_spikes_heldin_forward": changed([[[1, 1]], [[0, 4]]], 1)}
    path = save(tmp_path / "a.h5", TENSORS | FORWARD | forward)
    assert [t.n_bins for t in read(path, forward=True)] == [4, 3, 4]


def test_trials_without_a_number_are_dropped(tmp_path: Path) -> None:
    tensors = TENSORS | {"train_spikes_heldin": changed(HELDIN, 0), "eval_spikes_heldin": np.full((1, 3, 2), np.nan)}  # fmt: skip
    path = save_conditions(save(tmp_path / "a.h5", tensors), train_cond_idx=[[0], [1]])
    recording = NlbReader(bin_ms=5).read(path)
    trials = list(recording.trials)
    assert [(t.trial_id, t.split) for t in trials] == [("train/000001", "train+val+test")]
    assert recording.dropped == {"all bins are NaN": 2}
    assert recording.strata == ["condition 0001"]


def test_nan_inside_a_trial_is_named(tmp_path: Path) -> None:
    heldout = changed(changed(HELDOUT, (1, 0)), (1, 1))
    heldin = changed(changed(HELDIN, (1, 0)), (1, 2, 1))
    tensors = TENSORS | {"train_spikes_heldin": heldin, "train_spikes_heldout": heldout}
    assert refused(save(tmp_path / "a.h5", tensors)) == (
        "trial 'train/000001', bin 2, unit 1: spike counts must be finite, got nan (1 such entries). "
        "Cut the trial where the recording has gaps, or leave it out."
    )
    behavior = changed(changed(BEHAVIOR["train_behavior"], (1, 0)), (1, 1, 1))
    path = save(tmp_path / "b.h5", TENSORS | BEHAVIOR | {"train_behavior": behavior})
    assert refused(path, behavior="v") == (
        "trial 'train/000001', bin 1, channel 1: train_behavior must be finite between a trial's ends, got nan "
        "(1 such entries). Read the file without behaviour, or without that trial."
    )


def test_counts_must_be_counts(tmp_path: Path) -> None:
    half = changed(HELDOUT[1:], (0, 1, 0), 0.5)
    message = refused(save(tmp_path / "a.h5", TENSORS | {"eval_spikes_heldout": half}))
    assert message.startswith("trial 'eval/000000', bin 1, unit 2: spike counts must be whole")


def test_conditions_are_strata(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS)
    save_conditions(path, train_cond_idx=[[], [1], []], eval_cond_idx=[[0], [], []])
    recording = NlbReader(bin_ms=5).read(path)
    assert len(list(recording.trials)) == 3
    assert recording.strata == ["none", "condition 0001", "condition 0000"]
    as_matrix = save(tmp_path / "b.h5", TENSORS)
    save(tmp_path / "b.h5", {"train_cond_idx": [[1], [0]]}, dtype="i4")
    assert NlbReader(bin_ms=5).read(as_matrix).strata == [
        "condition 0001",
        "condition 0000",
        "none",
    ]


@pytest.mark.parametrize("trials", [[[2]], [[-1]]])
def test_conditions_list_trials(tmp_path: Path, trials: list[list[int]]) -> None:
    path = save_conditions(save(tmp_path / "a.h5", TENSORS), train_cond_idx=trials)
    assert refused(path) == (
        "train_cond_idx must hold, for each condition, a list of trials below 2, got "
        f"[{trials[0][0]}] for condition 0. Save the tensors again, or remove it."
    )
