"""Files as nlb_tools' save_to_h5 writes them: float32, gzip, index lists of variable length."""

import pickle
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ldns_ray.data.formats.nlb import NlbReader
from ldns_ray.data.schema import Trial, TrialChecker
from ldns_ray.data.splits import CHOICES, share_out

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


def changed(values: Any, at: Any, to: float = np.nan) -> np.ndarray:
    array = np.array(values, dtype=float)
    array[at] = to
    return array


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


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"train_spikes_heldin": None, "eval_spikes_heldin": None},
            {},
            "has no train_spikes_heldin or eval_spikes_heldin; there are: eval_spikes_heldout, "
            "train_spikes_heldout. Save what make_train_input_tensors and make_eval_input_tensors of "
            "nlb_tools return.",
        ),
        (
            {"train_spikes_heldin": None},
            {"evaluation": "skip"},
            "has no train_spikes_heldin; there are: eval_spikes_heldin, eval_spikes_heldout, "
            "train_spikes_heldout. Save what make_train_input_tensors and make_eval_input_tensors of "
            "nlb_tools return.",
        ),
        (
            {"train_spikes_heldout": None},
            {},
            "has eval_spikes_heldout, but no train_spikes_heldout. Add it, as make_train_input_tensors of "
            "nlb_tools returns it, or leave eval_ trials out.",
        ),
        (
            {},
            {"behavior": "v"},
            "has no train_behavior; there are: eval_spikes_heldin, eval_spikes_heldout, train_spikes_heldin, "
            "train_spikes_heldout. Make the tensors with it (include_behavior=True, "
            "include_forward_pred=True), or read them without.",
        ),
        (
            {"train_behavior": [[1.0, 2], [3, 4]]},  # one row per trial, as dmfc_rsg has
            {"behavior": "v"},
            "train_behavior must be numbers of shape (trials, bins, channels), all above 0, got float32 of "
            "shape (2, 2).",
        ),
        (
            {"eval_spikes_heldin": np.zeros((1, 0, 2))},
            {},
            "eval_spikes_heldin must be numbers of shape (trials, bins, channels), all above 0, got float32 of "
            "shape (1, 0, 2).",
        ),
        (
            {"train_spikes_heldout": np.zeros((2, 4, 1))},
            {},
            "train_spikes_heldout must have 2 trials of 3 bins, as train_spikes_heldin has, got shape "
            "(2, 4, 1).",
        ),
        (
            {"eval_spikes_heldout": np.zeros((2, 3, 1))},
            {},
            "eval_spikes_heldout must have 1 trials of 3 bins, as eval_spikes_heldin has, got shape "
            "(2, 3, 1).",
        ),
        (
            FORWARD | {"eval_spikes_heldout_forward": np.zeros((1, 2, 1))},
            {"forward": True},
            "eval_spikes_heldout_forward must have 1 trials of 1 bins, as eval_spikes_heldin_forward has, "
            "got shape (1, 2, 1).",
        ),
        (
            {"eval_spikes_heldout": np.zeros((1, 3, 4))},
            {},
            "eval_spikes_heldout must have 1 channels as train_spikes_heldout has, got 4.",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    assert refused(save(tmp_path / "a.h5", TENSORS | change), **options) == message


def test_a_file_holds_one_dataset(tmp_path: Path) -> None:
    for group in ("mc_maze", "mc_rtt"):
        save(tmp_path / "a.h5", TENSORS, group=group)
    assert refused(str(tmp_path / "a.h5")) == (
        "must hold one dataset, got mc_maze and mc_rtt. Save each to its own file."
    )


def test_options_are_checked() -> None:
    for width in (0, -5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^bin_ms must be positive and finite, got "):
            NlbReader(bin_ms=width)
    with pytest.raises(ValueError, match=r"^evaluation must be test, val, val\+test or skip, got"):
        NlbReader(bin_ms=5, evaluation="train")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no behaviour for forward bins\. Leave one of them out"):
        NlbReader(bin_ms=5, forward=True, behavior="hand_vel")
    reader = NlbReader(bin_ms=5, behavior="hand_vel")
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_the_file_is_closed_before_trials_come(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS)
    trials = NlbReader(bin_ms=5).read(path).trials
    with h5py.File(path, "w"):
        pass  # HDF5 writes no file that is open to read
    assert [t.spikes.tolist() for t in trials] == [FIRST, SECOND, SECOND]


def test_h5py_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.h5", TENSORS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refused(path) == (
        'HDF5 files are read with h5py. Install it with: pip install "ldns_ray[nwb]"'
    )


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NlbReader(bin_ms=5).read(str(tmp_path / "none.h5"))
    with pytest.raises(IsADirectoryError):
        NlbReader(bin_ms=5).read(str(tmp_path))
    (tmp_path / "a.h5").write_text("not HDF5")
    message = refused(str(tmp_path / "a.h5"))
    assert message.startswith("cannot be read as HDF5 (")
    assert message.endswith("). Write it again with save_to_h5 of nlb_tools.")


def test_a_shape_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", TENSORS | {"train_spikes_heldin": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("train_spikes_heldin", (10**6, 10**4, 100), "f4", chunks=(1, 100, 100))
    assert "train_spikes_heldin of shape (1000000, 10000, 100) does not fit in" in refused(path)


@pytest.mark.parametrize("seed", range(32))
def test_damage_is_a_value_error(tmp_path: Path, seed: int) -> None:
    """Cut off, or with bytes changed. Lists of variable length are left out: at damage there, HDF5 may hang."""
    rng = np.random.default_rng(seed)
    path = save(tmp_path / "a.h5", TENSORS | BEHAVIOR)
    content = np.fromfile(path, np.uint8)
    if seed % 2:
        content = content[: rng.integers(len(content))]
    else:
        # Early bytes hold the structure, most of the others nothing.
        at = rng.integers(min(3000, len(content)), size=4)
        content[at] = rng.integers(256, size=4)
    content.tofile(path)
    try:
        trials = read(path, behavior="v")
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert {t.spikes.shape[1] for t in trials} <= {2, 3}
        assert trials
