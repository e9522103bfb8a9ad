from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ldns_ray.data.splits import UNASSIGNED, assign_splits, share_out


def test_splits_have_the_fractions_in_all_and_in_each_stratum() -> None:
    strata = np.random.default_rng(0).integers(0, 8, 728)
    splits = np.array(assign_splits(728, (0.6, 0.2, 0.2), 1, strata))
    counts = Counter(splits.tolist())
    assert abs(counts["train"] - 436.8) <= 1
    assert abs(counts["test"] - 145.6) <= 1
    for stratum in range(8):
        mine = splits[strata == stratum]
        assert abs((mine == "train").sum() - 0.6 * len(mine)) <= 2
        assert abs((mine == "val").sum() - 0.2 * len(mine)) <= 2


def test_splits_are_seeded_and_random() -> None:
    assert assign_splits(50, seed=3) == assign_splits(50, seed=3)
    assert assign_splits(50, seed=3) != assign_splits(50, seed=4)
    # Every trial its own stratum: the split must not follow the label.
    first = assign_splits(50, seed=3, strata=np.arange(50))
    assert first != assign_splits(50, seed=4, strata=np.arange(50))
    assert set(assign_splits(50, (1.0, 0.0, 0.0))) == {"train"}


def test_splits_refuse_bad_fractions_and_strata() -> None:
    with pytest.raises(ValueError, match="3 shares .* got"):
        assign_splits(5, (0.5, 0.2, 0.2))
    with pytest.raises(ValueError, match=r"one label per trial \(5\), got 4"):
        assign_splits(5, strata=np.arange(4))


def test_trials_go_to_the_splits_they_may_go_to() -> None:
    strata = np.arange(120) % 3
    choices = ["train"] * 40 + ["val+test"] * 80
    splits = share_out(choices, (0.8, 0.05, 0.15), 1, strata)
    assert splits[:40] == ["train"] * 40
    assert Counter(splits[40:]) == {"val": 20, "test": 60}
    for stratum in range(3):
        mine = [s for s, label in zip(splits[40:], strata[40:], strict=True) if label == stratum]
        assert abs(mine.count("val") - len(mine) / 4) <= 2
    assert share_out([UNASSIGNED] * 120, (0.8, 0.1, 0.1), 1, strata) == assign_splits(
        120, (0.8, 0.1, 0.1), 1, strata
    )


def test_unknown_choices_and_empty_shares_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of train, val, test, train\+val, .*, got 'valid'"):
        share_out(["valid"])
    with pytest.raises(ValueError, match=r"leave a share for val\+test, got \(1.0, 0.0, 0.0\)"):
        share_out(["val+test"], (1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"one label per trial \(1\), got 2"):
        share_out(["train"], strata=np.arange(2))
