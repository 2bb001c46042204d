"""No file and no socket can be opened any more: recognised in whatever a library made of it, the same words for every store.

The operator reads in the log which limit it is; clients are told to come again.
"""

from __future__ import annotations

import errno
import os

from sluiceway.errors import Unavailable

__all__ = ["out_of_descriptors"]

_CODES = {
    errno.EMFILE: "this process has as many files and connections open as it may; raise its limit (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "this machine has as many files open as it may; raise fs.file-max",
}
MOST_CAUSES = 8  # errors wrapped in errors that are looked at


def out_of_descriptors(error: BaseException) -> Unavailable | None:
    """The error to answer with when that is the cause, at whatever depth; None for any other error."""
    cause: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if cause is None:
            break
        for code, why in _CODES.items():
            # Drivers written in C keep the text alone.
            if getattr(cause, "errno", None) == code or os.strerror(code) in str(cause):
                busy = Unavailable(f"No file or socket can be opened: {why}")
                return busy.for_operator("The server has too much open at once; try again later")
        cause = cause.__cause__ or cause.__context__
    return None
