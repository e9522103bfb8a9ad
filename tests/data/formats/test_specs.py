from __future__ import annotations

import pytest

from ldns_ray.data.formats.specs import ArrayAngle, ValueSpec


def test_specs_are_parsed() -> None:
    assert ValueSpec.parse("vel=hand_vel:m/s") == ValueSpec("vel", "hand_vel", "m/s")
    assert ValueSpec.parse("vel:m/s") == ValueSpec("vel", "vel", "m/s")
    assert ValueSpec.parse("vel") == ValueSpec("vel", "vel", "")
    assert ArrayAngle.parse("a=t*-22.5") == ArrayAngle("a", "t", -22.5)
    assert ArrayAngle.parse("a=degrees[t]") == ArrayAngle("a", "t", 1.0, "degrees")


@pytest.mark.parametrize("text", ["=", "a=b=c", ""])
def test_other_texts_are_no_arrays(text: str) -> None:
    with pytest.raises(
        ValueError, match="expected NAME, NAME:UNIT, NAME=SOURCE or NAME=SOURCE:UNIT, such as"
    ):
        ValueSpec.parse(text)


@pytest.mark.parametrize("text", ["target", "a=t*x", "a=t*1-2", "a=t*1e999"])
def test_other_texts_are_no_angles(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=ARRAY \(degrees\)"):
        ArrayAngle.parse(text)
