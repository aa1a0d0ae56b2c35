"""Pages of mapped files, which a process drops when it has more memory than it may.

Large weights are mapped, so that the system reads their pages when they are used and has each page
once for all processes.  Pages that were used stay with the process while there is room for them.  A
page that is dropped is not lost: when it is used again it comes from the system's cache of files,
or from the file.  So a network may have more weights than the process has memory.

Elsewhere than on Linux nothing is dropped.
"""

import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any
from weakref import WeakSet

EVERY = 0.005
"""Seconds between two looks at the memory of this process while files are mapped."""
EVERY_ELSE = 0.05
"""Seconds between two looks while none is."""
EVERY_TRIM = 1.0
"""Seconds, at least, between two times that freed memory is given back."""
MARGIN = 256 << 20
"""Bytes below the bound from which pages are dropped: so many may come between two looks."""
STEP = 64 << 20
"""Bytes that must have come since memory was dropped or given back last, for that to be done."""
_STATM = Path("/proc/self/statm")
_mappings: WeakSet[mmap.mmap] = WeakSet()
_lock = Lock()


def watch(mapping: mmap.mmap | None) -> None:
    """Let the pages of a mapping be dropped; it must be one that is only read."""
    if mapping is not None:
        with _lock:
            _mappings.add(mapping)


def mapping_of(array: Any) -> mmap.mmap | None:
    """Return the mapping that an array lies in, None if it lies in none.

    Example:
        >>> import numpy as np
        >>> mapping = mmap.mmap(-1, 16)
        >>> mapping_of(np.frombuffer(mapping, np.float32).reshape(2, 2)[1:]) is mapping
        True
        >>> mapping_of(np.zeros(4)) is None
        True
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def place_of(array: Any) -> tuple[Path, int] | None:
    """Return the file of a ``numpy.memmap`` and where in it the array begins, None for others.

    Its rows must lie in order.
    """
    mapping = getattr(array, "_mmap", None)
    if mapping is None or not array.flags.c_contiguous or array.filename is None:
        return None
    import numpy as np

    begins = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    whole = np.frombuffer(mapping, np.uint8)  # NumPy only tells where the whole of a slice is
    return Path(array.filename).absolute(), begins + array.ctypes.data - whole.ctypes.data


def drop_pages() -> None:
    """Drop the pages of all mappings that are watched."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    with _lock:
        mappings = list(_mappings)
    for mapping in mappings:
        if advice is not None and not mapping.closed:
            mapping.madvise(advice)


def give_back() -> None:
    """Give memory that was freed back to the system, where C's allocator keeps it (glibc)."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class PageBound:
    """The memory of this process beyond which pages of mapped files are dropped.

    Attributes:
        bytes: The bound; None for none.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._thread: Thread | None = None
        self._left_in_files = self._left = 0  # what could not be dropped or given back last time
        self._trimmed = 0.0

    def set(self, size: int) -> None:
        """Set the bound, and look at the memory of this process from now on."""
        self.bytes = size
        if sys.platform == "linux" and self._thread is None:
            self._thread = Thread(target=self._work, name="frivkit pages", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Drop pages, or give back what is freed, if this process has more memory than it may."""
        if self.bytes is None:
            return
        resident, in_files = _memory()
        self._left_in_files = min(self._left_in_files, in_files)
        self._left = min(self._left, resident)
        if resident <= self.bytes - min(MARGIN, self.bytes // 4):
            return
        if _mappings and in_files > self._left_in_files + STEP:
            drop_pages()
            self._left_in_files = _memory()[1]
        elif resident > self._left + STEP and monotonic() - self._trimmed > EVERY_TRIM:
            give_back()
            self._left, self._trimmed = _memory()[0], monotonic()

    def _work(self) -> None:
        while True:
            sleep(EVERY if _mappings else EVERY_ELSE)
            self.look()


def _memory() -> tuple[int, int]:
    """Return the bytes that this process has, and those among them that are pages of files."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident, in_files = (page * int(n) for n in _STATM.read_text().split()[1:3])
    return resident, in_files


page_bound = PageBound()
"""That of this process."""
