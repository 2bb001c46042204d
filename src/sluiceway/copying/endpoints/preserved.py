"""What `--preserve` keeps beside bytes: times and permissions of files and folders, empty folders.

In a store they are the user's own metadata, `mtime` in seconds and `mode` in octal, as rclone and
others write them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from itertools import islice

from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading
from sluiceway.copying.endpoints.folder import FolderSource, FolderTarget
from sluiceway.copying.endpoints.folder_walk import walk
from sluiceway.copying.report import ObjectResult
from sluiceway.errors import SluiceError
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Pairs
from sluiceway.wire.numbers import clipped_uint

__all__ = ["attributes", "copy_folders", "with_attributes"]

BATCH = 256  # folders that one call in a thread lists


def attributes(item: CopyItem) -> Pairs:
    """The time and permissions of an item, as metadata."""
    pairs = []
    if item.mode is not None:
        pairs.append(("mode", f"{item.mode:o}"))
    if item.modified is not None:
        pairs.append(("mtime", f"{item.modified:.9f}"))
    return tuple(pairs)


def with_attributes(reading: Reading) -> Reading:
    """The attributes on both sides: those of the item in the metadata, and the other way round."""
    item, user = reading.item, dict(reading.metadata.user)
    if item.mode is not None:  # of a folder's file, or a tar's member
        merged = tuple(sorted({**user, **dict(attributes(item))}.items()))
        metadata = dataclasses.replace(reading.metadata, user=merged)
        return dataclasses.replace(reading, metadata=metadata)
    if (modified := _mtime(user.get("mtime", ""))) is not None:
        item = dataclasses.replace(item, modified=modified)
    mode = user.get("mode", "")
    if mode.isascii() and mode.isdecimal() and len(mode) <= 7 and not set(mode) & set("89"):
        item = dataclasses.replace(item, mode=int(mode, 8) & 0o777)
    return dataclasses.replace(reading, item=item)


def _mtime(text: str) -> float | None:
    seconds, _, fraction = text.partition(".")
    whole = clipped_uint(seconds)
    if whole is None or whole >= 1 << 40 or len(fraction) > 9:
        return None
    if fraction and not fraction.isdecimal():
        return None
    return whole + float(f"0.{fraction or 0}")


async def copy_folders(source: CopySource, target: CopyTarget) -> AsyncIterator[ObjectResult]:
    """Folders with their attributes, each after everything in it; yields failures.

    From a folder to a folder only.
    """
    if not isinstance(source, FolderSource) or not isinstance(target, FolderTarget):
        return
    walking = walk(source.folder, folders=True)
    try:
        while batch := await in_thread(lambda: list(islice(walking, BATCH))):
            for item in batch:
                if item.folder and item.omitted is None:
                    try:
                        await target.put_folder(item)
                    except SluiceError as error:
                        yield ObjectResult(item.key, "failed", code=error.code, detail=error.detail)
    finally:
        await in_thread(walking.close)
