"""Pages of memory that the C library keeps or gives back; needs no torch."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_ABOVE, MAP_ABOVE = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD


@contextmanager
def freed_pages_kept() -> Iterator[None]:
    """Let the C library keep within the body what is freed there, for the next one to take.

    Left alone, glibc hands every large array back to the system, which gives it out again page by
    page, zeroed. Other C libraries have no such settings, and nothing changes there.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        yield
        return
    libc.mallopt(MAP_ABOVE, 2**30)
    libc.mallopt(TRIM_ABOVE, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(MAP_ABOVE, 2**25)
        libc.mallopt(TRIM_ABOVE, 2**26)
        libc.malloc_trim(0)
