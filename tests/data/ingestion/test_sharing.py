from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from ldns_ray.data.ingestion.sharing import automatic_strata, share_trials
from ldns_ray.data.splits import UNASSIGNED


def test_labels_stratify_and_measurements_do_not() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(40) % 4
    sessions = ["a", "b"] * 20
    labels = {"target": np.stack([np.cos(targets), np.sin(targets)], axis=1)}
    measured = {"reaction_time": rng.normal(size=(40, 1))}
    strata = automatic_strata(sessions, labels | measured)
    wanted = Counter(zip(sessions, targets.tolist(), strict=True))
    assert sorted(Counter(strata.tolist()).values()) == sorted(wanted.values())
    assert len(set(zip(strata.tolist(), sessions, targets.tolist(), strict=True))) == len(wanted)
    assert len(set(automatic_strata(sessions, measured).tolist())) == 2
    # 8 values for 5 trials each are labels, 9 values for fewer are not; nor are more than 50.
    assert len(set(automatic_strata(["a"] * 40, {"x": np.arange(40)[:, None] % 8}).tolist())) == 8
    assert len(set(automatic_strata(["a"] * 40, {"x": np.arange(40)[:, None] % 9}).tolist())) == 1
    assert (
        len(set(automatic_strata(["a"] * 510, {"x": np.arange(510)[:, None] % 51}).tolist())) == 1
    )


def share(choices: list[str], own: list[str | None] | None = None, **options) -> list[str]:
    n = len(choices)
    settings = {"fractions": (0.6, 0.2, 0.2), "seed": 0, "stratify": "auto", **options}
    return share_trials(choices, ["s"] * n, {}, own or [None] * n, **settings)


def test_strata_of_the_files_come_first() -> None:
    own = ["left", "right", "left", "right", None] * 20
    for stratify, even in (("auto", True), ("none", False)):
        splits = share([UNASSIGNED] * 100, own, stratify=stratify)
        train = Counter(o for o, split in zip(own, splits, strict=True) if split == "train")
        assert (train == {"left": 24, "right": 24, None: 12}) == even


def test_given_splits_stay_and_open_ones_are_shared_out() -> None:
    splits = share(["test"] * 5 + ["train+val"] * 8 + [UNASSIGNED] * 10)
    assert splits[:5] == ["test"] * 5
    assert Counter(splits[5:13]) == {"train": 6, "val": 2}
    assert Counter(splits[13:]) == {"train": 6, "val": 2, "test": 2}


def test_too_few_trials_for_a_split_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"split test: too few of the 2 trials .* \(2\) .* of 0\.2\."
    ):
        share([UNASSIGNED] * 2)
    with pytest.raises(ValueError, match=r"split test: too few of the 31 trials .* \(1\)"):
        share(["train"] * 30 + ["val+test"])
    assert Counter(share([UNASSIGNED] * 2, fractions=(0.5, 0.5, 0))) == {"train": 1, "val": 1}


def test_a_split_that_no_trial_may_go_to_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ldns_ray"):
        assert share(["train"] * 3 + ["val"]) == ["train"] * 3 + ["val"]
        assert caplog.messages == []
        assert share(["test"] * 3 + ["train"]) == ["test"] * 3 + ["train"]
    assert caplog.messages == ["No trial is in the split val."]
