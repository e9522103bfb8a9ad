"""Time and memory of a function: on a CPU or a GPU, in turns with what it is compared to."""

import ctypes
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

GEMM_SIZE = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices whose product sets the pace."""


def timed(function: Callable[[], Any], device: torch.device | None = None) -> tuple[float, Any]:
    """Seconds that a call takes, until the device is done with it, and what it returns."""
    synchronise(device)
    start = time.perf_counter()
    result = function()
    synchronise(device)
    return time.perf_counter() - start, result


def synchronise(device: torch.device | None) -> None:
    """Wait for a GPU; nothing elsewhere."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    functions: Sequence[Callable[[], Any]], repeats: int, device: torch.device | None = None
) -> list[float]:
    """The least seconds of each function over `repeats` rounds in which each is called once.

    Whatever else slows the machine for a while then slows all of them. A first round warms up.
    """
    least = [np.inf] * len(functions)
    for round_ in range(repeats + 1):
        for i, function in enumerate(functions):
            seconds, _ = timed(function, device)
            if round_:
                least[i] = min(least[i], seconds)
    return least


def gemm(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Any], float]:
    """A product of two square matrices, and its floating-point operations."""
    size = GEMM_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def growth(sizes: ArrayLike, seconds: ArrayLike) -> float:
    """The slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def peak_bytes(function: Callable[[], object], device: torch.device | None = None) -> float:
    """The most memory that the function adds to this process, or on a GPU, while it runs.

    NaN on a CPU without /proc.
    """
    gc.collect()
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        function()
        return float(torch.cuda.max_memory_allocated(device) - held)
    if not Path("/proc/self/clear_refs").exists():
        return np.nan
    # Memory that was freed is given back, lest it be used unseen, and the peak starts anew: man 5 proc.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    function()
    return _status_bytes("VmHWM") - before


def _status_bytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{key}:"))) * 1024
