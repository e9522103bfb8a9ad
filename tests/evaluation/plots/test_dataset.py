"""The figure of a dataset holds the data it claims to show."""

import numpy as np
import pytest

from ldns_ray.data.batches import TrialSet
from ldns_ray.data.description import describe
from ldns_ray.data.schema import Trial
from ldns_ray.evaluation.plots import dataset, style

BIN = 0.02


def trials(n=30, n_units=6, n_sessions=2, n_channels=2):
    rng = np.random.default_rng(0)
    return [
        Trial(
            spikes=rng.poisson(np.linspace(0.9, 0.1, n_units), (20, n_units)).astype(np.uint8),
            trial_id=f"t{i:02d}",
            session=f"day{i * n_sessions // n}",
            split="train",
            covariates={"speed": rng.normal(size=(20, n_channels)).astype(np.float32)},
        )
        for i in range(n)
    ]


def described(made):
    # The last trials first: they come in the order of a dataset's shards.
    half = len(made) // 2
    parts = [TrialSet.from_trials(part, BIN) for part in (made[half:], made[:half]) if part]
    return describe([("train", part) for part in parts], made[0].trial_id)


@pytest.fixture(scope="module")
def shown():
    made = trials()
    return made, dataset.dataset(described(made), name="test", units={"speed": "m/s"})


def test_the_raster_has_a_tick_for_every_spike(shown):
    made, figure = shown
    segments = np.array(figure.axes[0].collections[0].get_segments())
    counts = made[0].spikes
    assert len(segments) == counts.sum()
    assert counts.max() > 1
    ticks = sorted((s[0, 0] / BIN, s[:, 1].mean()) for s in segments)
    # Rates fall from the first unit to the last: those that fire most are on top.
    wanted = [
        (t + (i + 1) / (counts[t, n] + 1), 5.0 - n)
        for t in range(20) for n in range(6) for i in range(counts[t, n])
    ]  # fmt: skip
    np.testing.assert_allclose(ticks, sorted(wanted), atol=1e-9)


def test_covariates_lie_below_the_raster_in_their_unit(shown):
    made, figure = shown
    raster, below = figure.axes[:2]
    for channel, line in enumerate(below.lines):
        np.testing.assert_array_equal(line.get_ydata(), made[0].covariates["speed"][:, channel])
        np.testing.assert_allclose(line.get_xdata()[:2], [BIN / 2, 3 * BIN / 2])
    assert len(below.lines) == 2
    assert [text.get_text() for text in below.texts] == ["speed (m/s)"]
    assert raster.get_xlim() == below.get_xlim() == (0, pytest.approx(20 * BIN))


def test_histograms_are_of_units_and_of_bins(shown):
    made, figure = shown
    rates, population = figure.axes[2:4]
    assert sum(bar.get_height() for bar in rates.patches) == 6
    spikes = np.concatenate([t.spikes for t in made])
    values = population.patches[0].get_data().values
    np.testing.assert_allclose(values, np.bincount(spikes.sum(axis=1)) / len(spikes))


def test_many_population_counts_share_bars():
    figure, ((ax,),) = style.new_figure(1, 1, (3, 3))
    population_K = np.arange(1, 3 * dataset.MAX_BARS)
    dataset.population_counts(ax, population_K)
    data = ax.patches[0].get_data()
    assert len(data.values) == dataset.MAX_BARS
    assert data.values[0] == pytest.approx(6 / population_K.sum())
    assert data.values[-1] == pytest.approx(population_K[-2:].sum() / population_K.sum())
    assert "3 counts a bar" in ax.get_title()


def test_trials_are_in_order_within_their_session(shown):
    made, figure = shown
    ax = figure.axes[4]
    rates = np.array([t.spikes.mean() for t in made]) / BIN
    points = np.concatenate([c.get_offsets() for c in ax.collections])
    np.testing.assert_allclose(points, np.stack([np.arange(30), rates], axis=1))
    assert [line.get_xdata()[0] for line in ax.lines] == [0, 15]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), dataset.moving_mean(rates[15:], width=3))
    assert [text.get_text() for text in ax.texts] == ["day0", "day1"]


def test_a_moving_mean_is_of_fewer_values_at_the_ends():
    values = np.array([1.0, 5.0, 3.0, 7.0])
    np.testing.assert_allclose(dataset.moving_mean(values, 3), [3, 3, 5, 5])
    np.testing.assert_allclose(dataset.moving_mean(values, 1), values)
    np.testing.assert_allclose(dataset.moving_mean(values, 9), [4, 4, 4, 4])


@pytest.mark.parametrize(("n", "n_units", "n_sessions", "n_channels"), [(1, 1, 1, 1), (40, 300, 20, 9)])  # fmt: skip
def test_small_and_large_datasets_can_be_drawn(n, n_units, n_sessions, n_channels):
    made = trials(n, n_units, n_sessions, n_channels)
    figure = dataset.dataset(described(made))
    assert len(figure.axes[1].lines) == min(n_channels, dataset.MAX_CHANNELS)
    assert style.png(figure).startswith(b"\x89PNG")


def test_silence_can_be_drawn():
    silent = [Trial(np.zeros((3, 2), np.uint8), "t", "a", "test")]
    figure = dataset.dataset(described(silent))
    assert len(figure.axes) == 4
    assert "2 silent" in figure.axes[1].get_title()
    assert style.png(figure).startswith(b"\x89PNG")
