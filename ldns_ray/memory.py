"""Memory that a process has freed stays with it."""

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20
"""What glibc accepts on 64-bit machines; larger blocks are mapped and unmapped one by one."""


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of returning them to the kernel; elsewhere do nothing.

    A training step frees its activations and needs as many again in the next one. By default glibc gives
    them back, and the kernel hands out and clears new pages, which on a CPU takes about as long as the
    arithmetic of a narrow network. The process keeps its largest size until it ends.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
