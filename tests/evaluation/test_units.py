"""Statistics of single units, and their table."""

import numpy as np
import pytest

from ldns_ray.evaluation.units import unit_statistics, unit_table


def test_by_hand():
    """Unit 0 fires in bins 0 and 2 of the first trial, unit 1 never."""
    trials = [np.array([[1, 0], [0, 0], [1, 0], [0, 0]]), np.zeros((4, 2), int)]
    found = unit_statistics(trials, 0.1)
    assert found["spikes"].tolist() == [2, 0]
    assert found["mean_rate_hz"] == pytest.approx([2.5, 0])
    assert found["sd_rate_hz"] == pytest.approx([2.5, 0])
    # A window is one bin of 100 ms: two of eight hold a spike.
    assert found["fano"] == pytest.approx([0.75, np.nan], nan_ok=True)
    assert found["mean_isi_s"] == pytest.approx([0.2, np.nan], nan_ok=True)
    assert found["sd_isi_s"] == pytest.approx([0.0, np.nan], nan_ok=True)


def test_regular_counts_have_a_fano_factor_of_0_and_trials_shorter_than_a_window_have_none():
    assert unit_statistics(np.ones((2, 4, 1), int), 0.05)["fano"] == [0.0]
    assert np.isnan(unit_statistics(np.ones((2, 1, 1), int), 0.05)["fano"]).all()


def test_table_has_a_row_per_set_and_unit():
    rng = np.random.default_rng(0)
    sets = {name: unit_statistics(rng.poisson(0.3, (5, 30, 3)), 0.01) for name in ("real", "LDNS")}
    sets["LDNS"]["mean_isi_s"][1] = np.nan
    table = unit_table(sets, ["a", "b", "c"])
    assert table["trials"] == ["real"] * 3 + ["LDNS"] * 3
    assert table["unit"] == ["a", "b", "c"] * 2
    assert table["fano"][3:] == sets["LDNS"]["fano"].tolist()
    assert table["mean_isi_s"][4] is None
    assert {len(column) for column in table.values()} == {6}
