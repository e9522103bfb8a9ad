from __future__ import annotations

import pytest

from ldns_ray.data.formats.specs import AngleSpec, ArraySpec


def test_specs_are_parsed() -> None:
    assert ArraySpec.parse("vel=hand_vel:m/s") == ArraySpec("vel", "hand_vel", "m/s")
    assert ArraySpec.parse("vel:m/s") == ArraySpec("vel", "vel", "m/s")
    assert ArraySpec.parse("vel") == ArraySpec("vel", "vel", "")
    assert AngleSpec.parse("a=t*-22.5") == AngleSpec("a", "t", -22.5)
    assert AngleSpec.parse("a=degrees[t]") == AngleSpec("a", "t", 1.0, "degrees")


@pytest.mark.parametrize("text", ["=", "a=b=c", ""])
def test_other_texts_are_no_arrays(text: str) -> None:
    with pytest.raises(ValueError, match="expected NAME=ARRAY:UNIT"):
        ArraySpec.parse(text)


@pytest.mark.parametrize("text", ["target", "a=t*x", "a=t*1-2", "a=t*1e999"])
def test_other_texts_are_no_angles(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=ARRAY \(degrees\)"):
        AngleSpec.parse(text)
