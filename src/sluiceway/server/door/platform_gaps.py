"""What this system or this Python lacks, and what that costs: the first lines of the log say it.

Looks for abilities, never at the name of a system.
"""

from __future__ import annotations

import importlib.util
import os

from sluiceway.pipe.file_lock import HAS_LOCKS

__all__ = ["platform_gaps"]


def platform_gaps() -> tuple[str, ...]:
    """One clause for each ability that is missing.

    Returns:
        () on a usual Linux.

    Example:
        platform_gaps()  # ("no sendfile: downloads are copied by this process",)
    """
    gaps = (
        (
            HAS_LOCKS,
            "no file locks: one process serves a folder, and what a killed one left stays there",
        ),
        (hasattr(os, "sendfile"), "no sendfile: downloads are copied by this process"),
        (hasattr(os, "O_DIRECT"), "no O_DIRECT: large uploads go through the page cache"),
        (hasattr(os, "fdatasync"), "no fdatasync: each sync writes the times of files, too"),
        (
            hasattr(os, "setxattr"),
            "no extended attributes: metadata is in files of its own",
        ),
        (_has("uvloop"), "no uvloop: the event loop is Python's own, which is slower"),
    )
    return tuple(text for has, text in gaps if not has)


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # taken away from sys.modules
        return False
