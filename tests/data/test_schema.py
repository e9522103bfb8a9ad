from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.data.schema import (
    Trial,
    TrialChecker,
    as_counts,
    check_bin_width,
    validate_trial,
)


def trial(trial_id: str = "a", n_bins: int = 4, **changes: object) -> Trial:
    base = Trial(
        spikes=np.arange(n_bins * 3, dtype=np.uint8).reshape(n_bins, 3),
        trial_id=trial_id,
        session="day1",
        split="train",
        covariates={"vel": np.ones((n_bins, 2), np.float32)},
        conditions={"target": np.ones(1, np.float32)},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_counts_keep_their_values_and_take_the_smaller_type() -> None:
    assert as_counts(np.array([[0.0, 255.0]]), "x").dtype == np.uint8
    wide = as_counts(np.array([[0, 256]], dtype=np.int64), "x")
    assert wide.dtype == np.uint16
    assert wide.tolist() == [[0, 256]]
    assert as_counts(np.array([True, False]), "x").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"trial 'a', bin 1, unit 2: .*not be negative, got -1.0 .1 such.*Leave out what is"),
        (0.5, r"trial 'a', bin 1, unit 2: .*whole numbers .*, got 0.5 .*Give the counts"),
        (np.nan, r"trial 'a', bin 1, unit 2: .*finite, got nan .*Cut the trial where"),
        (np.inf, r"bin 1, unit 2: .*finite, got inf"),
        (65536.0, r"bin 1, unit 2: .*at most 65535, got 65536.0 .*Narrower bins"),
    ],
)
def test_counts_that_are_none_are_refused_by_place(value: float, message: str) -> None:
    counts = np.zeros((3, 4))
    counts[1, 2] = value
    with pytest.raises(ValueError, match=message):
        as_counts(counts, "trial 'a'")


def test_counts_must_be_numbers() -> None:
    with pytest.raises(ValueError, match="must be numbers, got an array of <U1"):
        as_counts(np.array(["1"]), "trial 'a'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "valid"}, "trial 'a': split must be one of train, val, test, got 'valid'"),
        ({"spikes": np.zeros((0, 3), np.uint8)}, "trial 'a': needs at least 1 bin .* Leave it out"),
        ({"spikes": np.zeros(4, np.uint8)}, "spikes must be .bins, units., got shape"),
        (
            {"covariates": {"vel": np.zeros((3, 2))}},
            "covariate 'vel' .* shape .4, any., got .3, 2.. Sample it once per bin",
        ),
        ({"covariates": {"vel": np.full((4, 2), 1e60)}}, "'vel' .* must be finite, got inf"),
        ({"latents": np.zeros((4, 0))}, "latents must have at least 1 channel, got none"),
        ({"trial_id": "\ud800"}, "trial_id must be Unicode text"),
        ({"session": 3}, "trial 'a': session must be a non-empty string, got 3"),
        (
            {"covariates": {3: np.ones((4, 1)), "b": np.ones((4, 1))}},
            "covariate name must be .*got 3",
        ),
        ({"covariates": {"vel": np.full((4, 2), np.nan)}}, "'vel' .* must be finite, got nan"),
        ({"conditions": {"target": np.zeros((1, 1))}}, "condition 'target' .* got .1, 1."),
        ({"conditions": {"vel": np.zeros(1)}}, "'vel' is both a covariate and a condition"),
        ({"rates": np.full((4, 3), -1.0)}, "rates must not be negative, got -1.0"),
        ({"rates": np.zeros((4, 2))}, "rates .* must have shape .4, 3., got .4, 2."),
        ({"latents": np.zeros((5, 2))}, "latents .* must have shape .4, any., got .5, 2."),
        ({"session": ""}, "session must be a non-empty string"),
        ({"trial_id": ""}, "trial_id must be a non-empty string"),
    ],
)
def test_invalid_trials_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_trial(trial(**changes))


def test_validated_arrays_are_float32() -> None:
    valid = validate_trial(trial(rates=np.ones((4, 3)), latents=np.ones((4, 2), np.int64)))
    assert valid.rates is not None
    assert valid.rates.dtype == np.float32
    assert valid.latents is not None
    assert valid.latents.dtype == np.float32


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            trial("a"),
            "trial 'a' occurs twice, now in session 'day1'.*Put the session's name before",
        ),
        (
            trial("b", spikes=np.zeros((4, 2), np.uint8)),
            "trial 'b': unit count must be 3 as in earlier trials of session 'day1', got 2. Keep",
        ),
        (
            trial("b", spikes=np.zeros((4, 2), np.uint8), session="day2"),
            "trial 'b': unit count must be 3 as in earlier sessions, got 2.*a dataset per session",
        ),
        (trial("b", covariates={}), "trial 'b': covariates .* must be {'vel': 2} .* got {}"),
        (trial("b", conditions={"target": np.ones(2)}), "conditions .* got {'target': 2}"),
        (trial("b", latents=np.ones((4, 2))), "number of latents must be 0 .* got 2"),
        (trial("b", rates=np.ones((4, 3))), "presence of rates must be False .* got True"),
    ],
)
def test_trials_that_do_not_fit_their_predecessors_are_refused(second: Trial, message: str) -> None:
    checker = TrialChecker()
    checker.check(trial("a"))
    with pytest.raises(ValueError, match=message):
        checker.check(second)


def test_the_file_is_named_where_it_is_known() -> None:
    checker = TrialChecker()
    checker.check(trial("a"), "day1.npz: ")
    for bad in (trial("a"), trial("b", covariates={}), trial("c", split="no"), trial("")):
        with pytest.raises(ValueError, match="^day1.npz: trial"):
            checker.check(bad, "day1.npz: ")


@pytest.mark.parametrize("width", [0, -0.01, np.nan, np.inf, "5", None])
def test_bin_widths_are_positive_and_finite(width: object) -> None:
    with pytest.raises(ValueError, match="bin_width_s must be positive, got .*0.005 for bins of 5"):
        check_bin_width(width)  # type: ignore[arg-type]


def test_fingerprint_outlives_layouts_on_disk() -> None:
    """Stages are found by the fingerprint of their dataset: it changes with the data alone."""
    assert fingerprint([trial("a"), trial("b", n_bins=7)]) == "3a831805b6cedd47"


def fingerprint(trials: list[Trial], bin_width_s: float = 0.01, unit: str = "m/s") -> str:
    checker = TrialChecker()
    for one in trials:
        checker.check(one)
    return checker.fingerprint(bin_width_s, ["u1", "u2", "u3"], {"covariate:vel": unit})


def test_fingerprint_is_of_the_content_and_of_nothing_else() -> None:
    trials = [trial("a"), trial("b", n_bins=7), trial("c")]
    base = fingerprint(trials)
    assert fingerprint(trials[::-1]) == base
    wide = [replace(one, spikes=one.spikes.astype(np.uint16)) for one in trials]
    assert fingerprint(wide) == base
    assert len(base) == 16
    spikes = trials[0].spikes.copy()
    spikes[0, 0] += 1
    others = [
        fingerprint([trial("a", spikes=spikes), *trials[1:]]),
        fingerprint([trial("a", split="val"), *trials[1:]]),
        fingerprint([trial("z"), *trials[1:]]),
        fingerprint([trial("a", conditions={"target": np.zeros(1)}), *trials[1:]]),
        fingerprint(trials[:2]),
        fingerprint(trials, bin_width_s=0.02),
        fingerprint(trials, unit="mm/s"),
    ]
    assert len({base, *others}) == 8
