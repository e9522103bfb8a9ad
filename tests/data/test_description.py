"""What is said of a dataset, against sums over all of it and by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldns_ray.data import description
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.description import describe, values_in_order
from ldns_ray.data.passes import iter_trialsets
from ldns_ray.data.schema import Trial
from ldns_ray.data.shards import load_trials, load_trialset
from tests.data.datasets import assert_same, ragged, write


def trial(spikes: Any, name: str, session: str = "a", **conditions: Any) -> Trial:
    values = {k: np.atleast_1d(np.asarray(v, np.float32)) for k, v in conditions.items()}
    counts = np.asarray(spikes, np.uint8)
    position = np.arange(len(counts) * 2, dtype=np.float32).reshape(-1, 2)
    return Trial(counts, name, session, "train", {"position": position}, values)


def parts(*trials: Trial, bin_width_s: float = 0.5) -> list[tuple[str, TrialSet]]:
    return [(t.split, TrialSet.from_trials([t], bin_width_s)) for t in trials]


def test_sums_by_hand() -> None:
    d = describe(
        parts(
            trial([[0, 2, 0], [1, 0, 0]], "t2", "b"),
            trial([[3, 0, 0]], "t1", "a"),
            trial([[0, 0, 0], [0, 1, 0], [1, 1, 0]], "t3", "a"),
        )
    )
    assert list(d.sessions) == ["a", "b"]
    a, b = d.sessions.values()
    assert (a.n_trials, a.n_bins, a.min_bins, a.max_bins) == ({"train": 2}, 4, 1, 3)
    assert (b.n_trials, b.n_bins, b.min_bins, b.max_bins) == ({"train": 1}, 2, 2, 2)
    assert a.spikes_N.tolist() == [4, 2, 0]
    assert a.rate_by_trial == {"t1": 1.0, "t3": pytest.approx(1 / 3)}
    assert (d.n_trials, d.n_bins) == (3, 6)
    assert d.entries_K.tolist() == [12, 4, 1, 1]
    assert d.population_K.tolist() == [1, 2, 2, 1]
    assert d.rates_N.tolist() == pytest.approx([5 / 3, 4 / 3, 0])
    assert (d.mean_count, d.max_count, d.zero_share) == (0.5, 3, 12 / 18)
    assert d.covariates["position"].least_d.tolist() == [0, 1]
    assert d.covariates["position"].most_d.tolist() == [4, 5]
    assert d.example.trial_id == "t1"


def test_one_pass_says_what_the_whole_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "CHUNK_ENTRIES", 37)
    card = write(ragged(50)[::-1], tmp_path, shard_bytes=3000)
    assert len(card.shards) > 5
    d = describe(iter_trialsets(tmp_path), "t031")
    trials, by_id = load_trialset(tmp_path), {t.trial_id: t for t in load_trials(tmp_path)}
    np.testing.assert_array_equal(d.entries_K, np.bincount(trials.spikes.ravel()))
    np.testing.assert_array_equal(d.population_K, np.bincount(trials.spikes.sum(axis=1)))
    np.testing.assert_allclose(d.rates_N, trials.spikes.mean(axis=0) / 0.01)
    np.testing.assert_array_equal(d.covariates["vel"].most_d, trials.covariates["vel"].max(axis=0))
    np.testing.assert_array_equal(d.conditions["angle"].least_d, trials.conditions["angle"].min(0))
    assert (d.n_trials, d.n_bins) == (50, len(trials.spikes))
    for name, session in d.sessions.items():
        own = [t for t in by_id.values() if t.session == name]
        assert session.n_trials == Counter(t.split for t in own)
        assert session.min_bins == min(t.n_bins for t in own)
        np.testing.assert_array_equal(session.spikes_N, sum(t.spikes.sum(axis=0, dtype=int) for t in own))  # fmt: skip
        assert session.rate_by_trial == pytest.approx({t.trial_id: t.spikes.mean() for t in own})
    assert_same([d.example], [by_id["t031"]])


def test_a_split_alone(tmp_path: Path) -> None:
    write(ragged(), tmp_path)
    d = describe(iter_trialsets(tmp_path, "val"))
    assert list(d.sessions) == ["day2"]
    assert d.sessions["day2"].n_trials == {"val": 10}
    assert (d.example.trial_id, d.example.split) == ("t002", "val")


def test_values_of_conditions() -> None:
    """Few are counted, directions told as angles in order, -0 and rounding set aside."""
    root = float(np.sqrt(0.5))
    d = describe(
        parts(
            trial([[1]], "1", kind=2, angle=[-0.0, -1.0], pair=[1, 2], free=0.5),
            trial([[1]], "2", kind=10, angle=[1.0, -0.0], pair=[1, 2], free=-3),
            trial([[1]], "3", kind=2, angle=[root, root], pair=[0, 2], free=9),
            trial([[1]], "4", kind=-0.0, angle=[1.0, 1e-7], pair=[1, 2], free=0),
        )
    )
    assert values_in_order(d.conditions["kind"]) == {"0": 1, "2": 2, "10": 1}
    assert list(values_in_order(d.conditions["kind"])) == ["0", "2", "10"]
    assert list(values_in_order(d.conditions["angle"]).items()) == [("0°", 2), ("45°", 1), ("270°", 1)]  # fmt: skip
    assert values_in_order(d.conditions["pair"]) == {"(0, 2)": 1, "(1, 2)": 3}
    assert not d.conditions["pair"].is_direction
    assert (d.conditions["free"].least_d, d.conditions["free"].most_d) == (-3, 9)


def test_conditions_of_many_values_are_told_by_their_range() -> None:
    n = description.MAX_VALUES
    few = describe(parts(*(trial([[1]], f"{i:03d}", x=i % n) for i in range(2 * n))))
    assert values_in_order(few.conditions["x"]) == {f"{i}": 2 for i in range(n)}
    many = describe(parts(*(trial([[1]], f"{i:03d}", x=i) for i in range(n + 1))))
    assert many.conditions["x"].counts is None
    assert values_in_order(many.conditions["x"]) == {}
    assert (many.conditions["x"].least_d, many.conditions["x"].most_d) == (0, n)
    # Once there were too many, they are not counted again.
    late = describe(parts(*(trial([[1]], f"{i:03d}", x=min(i, n)) for i in range(2 * n))))
    assert late.conditions["x"].counts is None


def test_what_cannot_be_described_is_refused() -> None:
    with pytest.raises(ValueError, match="no trials to describe"):
        describe([])
    trials = parts(*(trial([[1]], f"t{i}") for i in range(9, 0, -1)))
    with pytest.raises(ValueError, match="no trial 'x' among 9; the first are: t1, t2, t3, t4, t5"):
        describe(trials, "x")


def test_a_recording_of_a_premotor_cortex(shared_data: Path) -> None:
    """Its figures: 97 units at 9.8 Hz, 95 % zeros and at most 3 spikes in bins of 5 ms, 91 reaches to each target."""
    z = np.load(shared_data / "pmd_reach_plan_train.npz")
    counts = z["spikes_1ms"].reshape(728, 97, 140, 5).sum(-1).transpose(0, 2, 1)
    trials = [trial(x, f"{i:03d}", target=t) for i, (x, t) in enumerate(zip(counts, z["target"], strict=True))]  # fmt: skip
    d = describe([("train", TrialSet.from_trials(trials, 0.005))])
    assert (d.n_trials, len(d.rates_N), d.max_count) == (728, 97, 3)
    assert d.rates_N.mean() == pytest.approx(9.8, abs=0.05)
    assert d.zero_share == pytest.approx(0.952, abs=5e-4)
    assert values_in_order(d.conditions["target"]) == {str(k): 91 for k in range(8)}
