from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ldns_ray.data import facts
from ldns_ray.data.facts import N_BLOCKS, Facts
from ldns_ray.data.schema import Trial, summarise

BIN_S = 0.01
NAMES = [f"u{i}" for i in range(20)]


def trial(i: int, spikes: np.ndarray, session: str = "day1") -> Trial:
    return Trial(spikes.astype(np.uint8), f"t{i:04d}", session, "train")


def warnings(trials: Iterable[Trial], names: list[str] = NAMES) -> list[str]:
    gathered = Facts()
    for one in trials:
        gathered.add(summarise(one))
    return gathered.warnings(BIN_S, names)


def poisson(rates_hz: np.ndarray, n_bins: int = 100, seed: int = 0) -> list[Trial]:
    """Trials of units that fire at rates (S, N)."""
    rng = np.random.default_rng(seed)
    return [
        trial(i, rng.poisson(rate_N * BIN_S, (n_bins, len(rate_N))))
        for i, rate_N in enumerate(rates_hz)
    ]


def test_an_unremarkable_recording_has_no_warnings() -> None:
    """Its rates change from trial to trial, as by condition, but do not drift."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        assert warnings(poisson(rng.gamma(3.0, 5.0, (90, 20)), seed=seed)) == []


def test_rates_out_of_bounds_are_told_with_their_units() -> None:
    counts = np.zeros((1000, 4))
    counts[:, 0] = 3  # 300 Hz
    counts[0, 1] = 1  # 0.1 Hz in 10 s
    quiet = [trial(i, counts * [1, i == 0, 0, 1] + [0, 0, 0, 1]) for i in range(4)]
    assert warnings(quiet, ["a", "b", "c", "d"]) == [
        "Silent units: 1 of 4 (c).",
        "Units with a mean rate below 0.05 Hz: 1 of 4 (b at 0.025 Hz).",
        "Units with a mean rate above 200 Hz: 1 of 4 (a at 300 Hz).",
    ]


def test_at_most_five_units_are_examples_but_all_silent_ones_are_named() -> None:
    counts = np.zeros((50, 20))
    counts[:, 10:] = 4
    told = warnings([trial(0, counts)])
    assert told[0] == f"Silent units: 10 of 20 ({', '.join(NAMES[:10])})."
    some = ", ".join(f"u{i} at 400 Hz" for i in range(10, 15))
    assert told[1] == f"Units with a mean rate above 200 Hz: 10 of 20 ({some} and 5 more)."


def test_trials_without_spikes_and_very_short_ones_are_told() -> None:
    trials = [trial(i, np.full((9 if i < 7 else 10, 1), i > 1)) for i in range(20)]
    assert warnings(trials, ["a"]) == [
        "Trials without a spike: 2 of 20 ('t0000', 't0001').",
        "Trials shorter than 10 bins: 7 of 20 ('t0000', 't0001', 't0002', 't0003', 't0004' and 2 more); "
        "the shortest has 9.",
    ]


def test_drift_of_the_population_is_told() -> None:
    course_S = np.linspace(20.0, 12.0, 120)
    (told,) = warnings(poisson(course_S[:, None] * np.ones(20)))
    early, late = course_S[:40].mean(), course_S[-40:].mean()
    assert told.startswith("Session 'day1': the mean rate per unit changes from 1")
    got = [float(word) for word in told.split() if word.replace(".", "").isdecimal()]
    np.testing.assert_allclose(got, [early, late], rtol=0.05)
    assert "Hz in the first third of its trials to" in told
    assert warnings(poisson(np.linspace(20.0, 19.0, 120)[:, None] * np.ones(20))) == []


def test_drift_of_many_units_is_told_where_the_population_has_none() -> None:
    rates = np.full((60, 20), 20.0)
    rates[:, 0:4] = np.linspace(5.0, 35.0, 60)[:, None]
    rates[:, 4:8] = np.linspace(35.0, 5.0, 60)[:, None]
    (told,) = warnings(poisson(rates))
    assert told.startswith(
        "Session 'day1': 8 of 20 active units change by more than a factor of 2 between the first and last "
        "third (u0 from "
    )  # fmt: skip
    assert told.endswith(" and 3 more).")
    rates[:, 2:8] = 20.0
    assert warnings(poisson(rates)) == []  # 2 of 20 are not many


def test_few_trials_and_noise_are_no_drift() -> None:
    step = np.repeat([20.0, 5.0], 11)
    assert warnings(poisson(step[:, None] * np.ones(20))) == []
    assert warnings(poisson(np.repeat([20.0, 5.0], 12)[:, None] * np.ones(20))) != []
    # The same change amid trials that differ as much by themselves.
    rng = np.random.default_rng(1)
    wild = rng.permutation(np.repeat([1.0, 60.0], 12))
    assert warnings(poisson(wild[:, None] * np.ones(20))) == []


def test_drift_is_of_a_session_and_of_few_told() -> None:
    rng = np.random.default_rng(0)
    trials = [
        trial(i, rng.poisson((0.3 if i < 240 else 0.1) + 0.0 * i, (50, 20)), f"day{i % 8}")
        for i in range(480)
    ]
    told = warnings(trials)
    assert len(told) == 6
    assert [text.split(":")[0] for text in told[:5]] == [f"Session 'day{i}'" for i in range(5)]
    assert told[5] == "Rates change likewise in 3 more sessions."
    # Sessions that differ, each the same throughout.
    steady = [trial(i, rng.poisson(0.3 if i < 240 else 0.1, (50, 20)), f"day{i // 240}") for i in range(480)]  # fmt: skip
    assert warnings(steady) == []


def test_blocks_hold_what_their_trials_hold_however_many_come() -> None:
    session = facts._Session(2)
    n_trials = 10 * N_BLOCKS + 7
    for i in range(n_trials):
        session.add(np.array([1, i]), i % 5 + 1)
    # 487 trials in blocks of 16.
    assert session._spikes_KN.shape == (N_BLOCKS, 2)
    np.testing.assert_array_equal(session._spikes_KN[:31, 0], [16] * 30 + [7])
    np.testing.assert_array_equal(session._spikes_KN[1], [16, sum(range(16, 32))])
    assert session._n_bins_K[:31].sum() == sum(i % 5 + 1 for i in range(n_trials))
    assert not session._spikes_KN[31:].any()


def test_memory_is_bounded() -> None:
    gathered = Facts()
    for i in range(300):
        gathered.add(summarise(trial(i, np.ones((10, 1)), f"session{i}")))
    assert len(gathered._sessions) == facts.MAX_SESSIONS
