"""What a result was computed on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from ldns_ray.config import Hardware

CPUINFO = Path("/proc/cpuinfo")


def machine(hardware: Hardware) -> str:
    """Processor, cores and GPU of this machine, and the workers that trained: `2 cores of an AMD EPYC, in one process`."""
    told = f"{cores()} cores of {processor()}"
    if torch.cuda.is_available():
        told += f", {torch.cuda.get_device_name(0)}"
    if not hardware.workers:
        return f"{told}, in one process"
    gpus = f" with {hardware.gpus_per_worker:g} GPU each" if hardware.gpus_per_worker else ""
    return f"{told}, {hardware.workers} Ray worker{'s' * (hardware.workers > 1)}{gpus}"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Its name, or its architecture where it has none."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
