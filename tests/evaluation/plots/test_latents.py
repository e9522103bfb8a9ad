"""Figures of latents hold the traces and trajectories they claim to show."""

import numpy as np
import pytest

from ldns_ray.evaluation.plots.latents import N_BEHIND, latents, principal_axes
from ldns_ray.evaluation.plots.style import png

pytestmark = pytest.mark.filterwarnings("error")

BIN = 0.02


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    scale = np.array([3.0, 0.1, 2.0, 0.1, 0.1, 1.0, 0.1])
    real = scale * rng.normal(size=(5, 30, 7)) + 4
    return real, [scale * rng.normal(size=(n, 7)) + 4 for n in (20, 25)]


def test_latents_show_the_given_traces(sides):
    real, sampled = sides
    figure = latents(real, sampled, BIN, n_trials=2, n_shown=3)
    assert len(figure.axes) == 2 + 6
    traces = np.reshape(figure.axes[2:], (3, 2))
    for d in range(3):
        left, right = traces[d]
        np.testing.assert_allclose(left.lines[1].get_ydata(), real[1, :, d])
        np.testing.assert_allclose(right.lines[0].get_ydata(), sampled[0][:, d])
        np.testing.assert_allclose(right.lines[0].get_xdata()[:2], [BIN / 2, 3 * BIN / 2])
        assert left.get_ylim() == right.get_ylim()
        assert left.get_xlim() == right.get_xlim() == pytest.approx((0, 30 * BIN))
    assert traces[2, 0].get_xlabel() == "time in trial (s)"


def test_trajectories_run_along_the_real_principal_axes(sides):
    real, sampled = sides
    left, right = latents(real, sampled, BIN, n_trials=2).axes[:2]
    mean = real.mean((0, 1))
    centred = real.reshape(-1, 7) - mean
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    for ax, first in ((left, real[0]), (right, sampled[0])):
        coloured = [
            line for line in ax.lines if line.get_linewidth() > 1 and len(line.get_data_3d()[0]) > 1
        ]
        assert len(coloured) == 2
        drawn = np.array(coloured[0].get_data_3d()).T
        wanted = (first - mean) @ directions[:3].T
        np.testing.assert_allclose(np.abs(drawn), np.abs(wanted), atol=1e-9)  # signs are free
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert left.get_zlim() == right.get_zlim()
    assert (left.azim, left.elev) == (right.azim, right.elev)
    share = (sizes[:3] ** 2).sum() / (sizes**2).sum()
    assert left.get_title().startswith(f"Real: {share:.0%}")
    n_lines = {"real": 2 * 2 + 3, "sampled": 2 * 2}  # a line and a dot each, and grey ones
    assert (len(left.lines), len(right.lines)) == (n_lines["real"], n_lines["sampled"])


def test_starts_are_marked_in_the_colour_of_the_trial(sides):
    real, sampled = sides
    left, _, traces, *_ = latents(real, sampled, BIN, n_trials=2).axes
    starts = [line for line in left.lines if line.get_marker() == "o"]
    lines = [line for line in left.lines if line.get_linewidth() == 1.4]
    for start, line, trace in zip(starts, lines, traces.lines, strict=True):
        np.testing.assert_allclose(
            np.ravel(start.get_data_3d()), np.array(line.get_data_3d())[:, 0]
        )
        assert start.get_color() == line.get_color() == trace.get_color()


def test_principal_axes_are_those_of_most_variance():
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    values = rng.normal(size=(5000, 4)) * [4.0, 3.0, 2.0, 1.0] @ turn.T + 7
    mean_D, axes_DD = principal_axes(values)
    np.testing.assert_allclose(mean_D, values.mean(0))
    np.testing.assert_allclose(np.abs(axes_DD.T @ turn), np.eye(4), atol=0.1)
    assert (np.take_along_axis(axes_DD, np.abs(axes_DD).argmax(0)[None], 0) > 0).all()


@pytest.mark.parametrize(("n_latents", "n_above"), [(1, 0), (2, 2), (3, 2)])
@pytest.mark.parametrize("n_bins", [1, 2])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_few_latents_and_bins_can_be_drawn(n_latents, n_above, n_bins, spread):
    z = spread * np.random.default_rng(0).normal(size=(1, n_bins, n_latents))
    figure = latents(z, z, BIN)
    assert len(figure.axes) == n_above + 2 * n_latents
    assert png(figure).startswith(b"\x89PNG")


def test_many_trials_are_a_few_in_colour_and_some_in_grey():
    z = np.random.default_rng(0).normal(size=(100, 4, 3))
    left = latents(z, z, BIN, n_trials=3).axes[0]
    assert len(left.lines) == 2 * 3 + N_BEHIND


def test_no_trial_is_an_error():
    with pytest.raises(ValueError, match="at least one trial"):
        latents([], np.zeros((1, 2, 3)), BIN)
