"""Small recordings in .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def aligned(folder: Path, **changes: Any) -> Path:
    """Six trials of three units and twenty samples; without the arrays that change to None."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "spikes": (rng.random((6, 3, 20)) < 0.2).astype(np.uint8),
        "target": np.array([0, 1, 2, 3, 4, 6]),
        "vel": rng.normal(size=(6, 20, 2)),
    }
    np.savez(folder / "a.npz", **(arrays | changes))
    return folder / "a.npz"


def continuous(folder: Path, **changes: Any) -> Path:
    """Fifty samples of four units, with three trials in them."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "counts": rng.poisson(1.0, (50, 4)).astype(np.uint8),
        "vel": rng.normal(size=(50, 2)),
        "start": np.array([0, 10, 30]),
        "len": np.array([8, 12, 20]),
    }
    np.savez(folder / "c.npz", **(arrays | changes))
    return folder / "c.npz"


LONG: dict[str, Any] = {"spikes": "counts", "axes": ("time", "unit"), "bin_ms": 50, "sample_ms": 50}
CUT: dict[str, Any] = LONG | {"trial_start": "start", "trial_len": "len"}
