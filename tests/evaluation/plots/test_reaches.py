"""Paths are the velocities added up, in the colour of where they were asked to go."""

import numpy as np
import pytest

from ldns_ray.evaluation.decoding.decoders import RSquared, TraceDecoding
from ldns_ray.evaluation.plots.reaches import DIRECTIONS, is_planar_velocity, paths, reaches
from ldns_ray.evaluation.plots.style import png

pytestmark = pytest.mark.filterwarnings("error")


def decoding(asked, decoded):
    score = RSquared(0.5, (0.5, 0.5))
    return TraceDecoding(score, score, asked, decoded, asked_real=asked, decoded_real=asked)


def straight(degrees, speed=100.0, n_bins=5):
    angle = np.radians(degrees)
    return np.tile(speed * np.array([np.cos(angle), np.sin(angle)]), (n_bins, 1))


def test_positions_are_sums_of_velocities_from_0():
    (path,) = paths([np.array([[1.0, 0.0], [2.0, -4.0]])], 0.5)
    np.testing.assert_allclose(path, [[0, 0], [0.5, 0], [1.5, -2]])


def test_both_sides_are_drawn_over_the_same_square():
    asked = [straight(0), straight(90), straight(225, n_bins=3)]
    decoded = [straight(10), straight(100, speed=120.0), straight(215, n_bins=3)]
    left, right = reaches(decoding(asked, decoded), "hand", 0.1, "mm/s").axes
    for ax, given in ((left, asked), (right, decoded)):
        segments = ax.collections[0].get_segments()
        for segment, velocity in zip(segments, given, strict=True):
            np.testing.assert_allclose(segment, paths([velocity], 0.1)[0])
        ends = [velocity.sum(0) * 0.1 for velocity in given]
        np.testing.assert_allclose(ax.collections[1].get_offsets(), ends)
        wanted = DIRECTIONS(np.array([0, 90, 225]) / 360)
        np.testing.assert_allclose(ax.collections[1].get_facecolors(), wanted)
        np.testing.assert_allclose(ax.collections[0].get_colors()[:, :3], wanted[:, :3])
        assert ax.get_aspect() == 1
        assert "mm" in ax.get_xlabel()
        assert "mm/s" not in ax.get_xlabel()
    assert left.get_xlim() == left.get_ylim() == right.get_xlim() == right.get_ylim()
    assert left.get_xlim()[1] > 60


def test_titles_tell_how_far_off_the_ends_are():
    asked = [straight(a) for a in (0, 90, 350)]
    left, right = reaches(
        decoding(asked, [straight(a + 20) for a in (0, 90, 350)]), "hand", 0.1, "cm/s"
    ).axes
    assert "3 paths" in left.get_title()
    assert "length 50 cm" in left.get_title()
    # Between the ends of two arms of 50 cm that are 20 degrees apart.
    assert f"ends {2 * 50 * np.sin(np.radians(10)):.3g} cm off" in right.get_title()
    assert "directions 20°" in right.get_title()


@pytest.mark.parametrize(
    ("n_channels", "name", "unit", "wanted"),
    [(2, "hand", "mm/s", True), (2, "hand_velocity", "", True), (2, "Vel", "a.u.", True),
     (2, "position", "mm", False), (1, "velocity", "mm/s", False), (3, "velocity", "mm/s", False)],
)  # fmt: skip
def test_what_looks_like_a_velocity_in_a_plane(n_channels, name, unit, wanted):
    asked = [np.zeros((4, n_channels))]
    assert is_planar_velocity(decoding(asked, asked), name, unit) is wanted


@pytest.mark.parametrize("n_bins", [1, 2])
def test_standing_still_can_be_drawn(n_bins):
    still = [np.zeros((n_bins, 2))]
    figure = reaches(decoding(still, still), "velocity", 0.1)
    assert figure.axes[0].get_xlim() == (-1.0, 1.0)
    assert png(figure).startswith(b"\x89PNG")


def test_opposite_directions_differ_in_lightness_or_from_blue_to_yellow():
    """What is left for readers who do not tell red from green."""
    r, g, b = DIRECTIONS(np.arange(16) / 16)[:, :3].T
    lightness = 0.2126 * r + 0.7152 * g + 0.0722 * b
    blueness = b - (r + g) / 2
    plane = np.stack([lightness, blueness], axis=1)
    distance = np.linalg.norm(plane - np.roll(plane, 8, axis=0), axis=1)
    assert distance.min() > 0.3
