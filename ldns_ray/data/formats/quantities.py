"""Physical units by their text, such as "mm/s" and "meters per second", and the factor between two."""

from __future__ import annotations

import math
import re
from collections import Counter

SYMBOLS = ("m", "s", "g", "V", "A", "N", "Pa", "Hz", "rad", "deg")

_NAMES = {
    "meter": "m", "metre": "m", "second": "s", "sec": "s", "gram": "g", "volt": "V", "ampere": "A",
    "newton": "N", "pascal": "Pa", "hertz": "Hz", "radian": "rad", "degree": "deg", "°": "deg",
}  # fmt: skip
_PREFIXES = {"n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "c": -2, "d": -1, "k": 3, "M": 6}
_LONG_PREFIXES = {"nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1, "kilo": 3, "mega": 6}  # fmt: skip


def conversion_factor(have: str, want: str) -> float:
    """The number that values in unit `have` are multiplied by to be in unit `want`.

    Units are made of SI prefixes, `SYMBOLS` or their English names, powers (m/s^2, m/s2), and "/" or "per".
    Raises ValueError where they measure different things, or, unless they are the same text, for an
    unknown one.
    """
    if have == want:
        return 1.0
    (ten, scale, powers), (want_ten, want_scale, want_powers) = _parse(have), _parse(want)
    if powers != want_powers:
        raise ValueError(f"{have!r} cannot be converted to {want!r}: they measure different things")
    return float(10.0 ** (ten - want_ten) * (scale / want_scale))


def _parse(unit: str) -> tuple[int, float, dict[str, int]]:
    """Power of ten, other factor, and the powers of the symbols.

    Powers of ten are counted, not multiplied, so that factors such as 0.001 are exact.
    """
    text = re.sub(r"\s+per\s+", "/", unit.strip()).replace("**", "^")
    text = text.replace("²", "^2").replace("³", "^3")
    ten, scale, powers = 0, 1.0, Counter[str]()
    for i, part in enumerate(text.split("/")):
        for factor in re.split(r"[\s*·]+", part.strip()):
            if factor == "1":
                continue
            match = re.fullmatch(r"([^\W\d_]+|°)\^?(-?\d+)?", factor)
            found = _symbol(match[1]) if match else None
            if match is None or found is None:
                raise ValueError(
                    f"{unit!r} is not a known unit; known are {', '.join(SYMBOLS)} with SI prefixes, powers and /"
                )
            power = int(match[2] or 1) * (1 if i == 0 else -1)
            prefix, symbol = found
            ten += prefix * power
            if symbol == "deg":
                scale, symbol = scale * math.radians(1) ** power, "rad"
            if symbol == "Hz":
                power, symbol = -power, "s"
            powers[symbol] += power
    return ten, scale, {symbol: power for symbol, power in powers.items() if power}


def _symbol(word: str) -> tuple[int, str] | None:
    """Power of ten and symbol of a word such as "mm", "millimeters" or "m"."""
    if word in SYMBOLS:
        return 0, word
    if word[0] in _PREFIXES and word[1:] in SYMBOLS:
        return _PREFIXES[word[0]], word[1:]
    name = word.lower()
    for prefix, ten in {"": 0, **_LONG_PREFIXES}.items():
        rest = name.removeprefix(prefix) if name.startswith(prefix) else ""
        for singular in (rest, rest.removesuffix("s")):
            if singular in _NAMES:
                return ten, _NAMES[singular]
    return None
