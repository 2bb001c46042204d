"""Descriptors, and errors which say that none is left, whatever a library made of them.

The log names the limit for the operator; clients learn to try again later. Knows no library.
"""

from __future__ import annotations

import errno
import os
import socket

from sluiceway.errors import Unavailable

__all__ = ["descriptor_of_its_own", "out_of_descriptors"]

_CODES = {
    errno.EMFILE: "this process has as many files and connections open as it may;"
    " raise its limit (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "this machine has as many files open as it may; raise fs.file-max",
}
MOST_CAUSES = 8  # errors wrapped in errors that are looked at


def descriptor_of_its_own(sock: socket.socket) -> socket.socket | None:
    """One more descriptor of a connection, for threads; the event loop may close the other.

    It does not block. None where no descriptor is left: then the bytes go the ordinary way.
    """
    try:
        own = sock.dup()
    except OSError:
        return None
    own.setblocking(False)
    return own


def out_of_descriptors(error: BaseException) -> Unavailable | None:
    """Return the error to answer with when that is the cause, however deep; else None."""
    cause: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if cause is None:
            break
        for code, why in _CODES.items():
            # Drivers written in C keep only the text.
            if getattr(cause, "errno", None) == code or os.strerror(code) in str(cause):
                busy = Unavailable(f"No file or socket can be opened: {why}")
                return busy.for_operator("The server has too much open at once; try again later")
        cause = cause.__cause__ or cause.__context__
    return None
