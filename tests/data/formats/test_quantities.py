from __future__ import annotations

import math

import pytest

from ldns_ray.data.formats.quantities import conversion_factor


@pytest.mark.parametrize(
    ("have", "want", "factor"),
    [
        ("mm/s", "m/s", 1e-3),
        ("m/s", "mm/s", 1e3),
        ("cm", "m", 1e-2),
        ("um", "mm", 1e-3),
        ("µm", "um", 1.0),
        ("meters", "m", 1.0),
        ("Millimeters per second", "cm/s", 0.1),
        ("m/s^2", "mm/s2", 1e3),
        ("m/s**2", "m/s²", 1.0),
        ("cm^2", "m^2", 1e-4),
        ("m*s^-1", "m/s", 1.0),
        ("1/s", "Hz", 1.0),
        ("kHz", "Hz", 1e3),
        ("ms", "s", 1e-3),
        ("volts", "uV", 1e6),
        ("deg/s", "rad/s", math.pi / 180),
        ("radians", "degrees", 180 / math.pi),
        ("pixels", "pixels", 1.0),
        ("", "", 1.0),
    ],
)
def test_factors(have: str, want: str, factor: float) -> None:
    assert conversion_factor(have, want) == pytest.approx(factor, rel=1e-15)


def test_factors_of_ten_are_exact() -> None:
    assert conversion_factor("mm/s", "m/s") == 0.001
    assert conversion_factor("um", "mm") == 0.001


@pytest.mark.parametrize(
    ("have", "want", "message"),
    [
        ("m", "m/s", "'m' cannot be converted to 'm/s': they measure different things"),
        ("m", "s", "'m' cannot be converted to 's'"),
        ("pixels", "m", "'pixels' is not a known unit; known are m, s, g, .* with SI prefixes"),
        ("m", "furlong", "'furlong' is not a known unit"),
        ("", "m/s", "'' is not a known unit"),
        ("n/a", "m/s", "'n/a' is not a known unit"),
    ],
)
def test_what_cannot_be_converted(have: str, want: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversion_factor(have, want)
