"""Finds a delimiter in a block of memory, by the C library where that is quicker than Python.

glibc searches a GB of a file in 0.03 s of processor time, Python in 0.10: a quarter of what it cost
to pass a form on. A file and a delimiter made for it take 4 s; others do not wait. Knows no forms.
"""

from __future__ import annotations

import ctypes
import sys

from sluiceway.pipe.budget import Block

__all__ = ["find"]

_libc = None if sys.platform == "win32" else ctypes.CDLL(None)
# Other libraries search as Python does, or byte by byte.
_memmem = _libc.memmem if _libc and hasattr(_libc, "gnu_get_libc_version") else None
if _memmem is not None:
    _memmem.restype = ctypes.c_void_p
    _memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def find(buffer: Block | bytearray, sought: bytes, start: int, end: int) -> int:
    """As `buffer.find`, within it. Other threads run meanwhile; they may not change `buffer`."""
    if _memmem is None or end - start < len(sought):
        return buffer.find(sought, start, end)
    first = ctypes.c_char.from_buffer(buffer, start)
    found: int | None = _memmem(ctypes.byref(first), end - start, sought, len(sought))
    return -1 if found is None else start + found - ctypes.addressof(first)
