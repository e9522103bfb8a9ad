"""The figure of rates compares units value by value."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.rates import rates
from ldns_ray.evaluation.plots.style import png

pytestmark = pytest.mark.filterwarnings("error")

KEYS = ("mean", "sd", "fano")


def statistics(n):
    rng = np.random.default_rng(0)
    return {f"{key}_{side}_N": rng.gamma(3.0, size=n) for key in KEYS for side in ("real", "sampled")}  # fmt: skip


def test_panels_hold_the_units_of_their_statistic():
    given = statistics(9)
    axes = rates(**given).axes
    assert [ax.get_xlabel() for ax in axes] == ["real (Hz)", "real (Hz)", "real"]
    for ax, key in zip(axes, KEYS, strict=True):
        x, y = given[f"{key}_real_N"], given[f"{key}_sampled_N"]
        np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([x, y], 1))
        assert ax.get_xlim() == ax.get_ylim()
        np.testing.assert_allclose(ax.lines[0].get_xdata(), ax.lines[0].get_ydata())
        assert f"r = {np.corrcoef(x, y)[0, 1]:.3f}" in ax.get_title()
        assert f"RMSE = {np.sqrt(np.mean((x - y) ** 2)):.3g}" in ax.get_title()


def test_units_without_a_value_are_left_out_and_counted():
    given = statistics(5)
    given["fano_real_N"][1] = np.nan
    given["fano_sampled_N"][4] = np.nan
    mean, _, fano = rates(**given).axes
    np.testing.assert_allclose(
        fano.collections[0].get_offsets()[:, 0], given["fano_real_N"][[0, 2, 3]]
    )
    assert "3 of 5 units" in fano.get_title()
    assert "units" not in mean.get_title()


@pytest.mark.parametrize(("value", "said"), [(0.0, "RMSE = 0"), (np.nan, "nothing to compare")])
@pytest.mark.parametrize("n", [1, 3])
def test_units_that_are_silent_or_alone_can_be_drawn(n, value, said):
    figure = rates(**{key: np.full(n, value) for key in statistics(n)})
    assert all(said in ax.get_title() and "r =" not in ax.get_title() for ax in figure.axes)
    assert png(figure).startswith(b"\x89PNG")
