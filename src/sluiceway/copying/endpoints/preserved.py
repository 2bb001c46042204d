"""What `--preserve` keeps beside bytes: time of change and permissions of files and folders, and folders that are empty.

In a store they are metadata of the user's own, `mtime` in seconds and `mode` in octal, as rclone and others write them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from itertools import islice

from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading
from sluiceway.copying.endpoints.folder_walk import walk
from sluiceway.copying.endpoints.sources import FolderSource
from sluiceway.copying.endpoints.targets import FolderTarget
from sluiceway.copying.report import Ended
from sluiceway.errors import SluiceError
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Pairs
from sluiceway.wire.numbers import clipped_uint

__all__ = ["attributes", "dressed", "preserve_folders"]

BATCH = 256  # folders a thread finds in one hop


def attributes(item: CopyItem) -> Pairs:
    """An item's time and permissions as metadata."""
    told = []
    if item.mode is not None:
        told.append(("mode", f"{item.mode:o}"))
    if item.modified is not None:
        told.append(("mtime", f"{item.modified:.9f}"))
    return tuple(told)


def dressed(reading: Reading) -> Reading:
    """The reading with what is known of its object on both sides: the item's in the metadata, the metadata's in the item."""
    item, user = reading.item, dict(reading.metadata.user)
    if item.mode is not None:  # a folder's file, or a tar's member
        metadata = dataclasses.replace(
            reading.metadata, user=tuple(sorted({**user, **dict(attributes(item))}.items()))
        )
        return dataclasses.replace(reading, metadata=metadata)
    seconds, _, fraction = user.get("mtime", "").partition(".")
    whole, mode = clipped_uint(seconds), user.get("mode", "")
    if (
        whole is not None
        and whole < 1 << 40
        and len(fraction) <= 9
        and (not fraction or fraction.isdecimal())
    ):
        item = dataclasses.replace(item, modified=whole + float(f"0.{fraction or 0}"))
    if mode.isascii() and mode.isdecimal() and len(mode) <= 7 and not set(mode) & set("89"):
        item = dataclasses.replace(item, mode=int(mode, 8) & 0o777)
    return dataclasses.replace(reading, item=item)


async def preserve_folders(origin: CopySource, goal: CopyTarget) -> AsyncIterator[Ended]:
    """Folders with their attributes, each behind what is in it; what failed is given. From a folder to a folder only."""
    if not isinstance(origin, FolderSource) or not isinstance(goal, FolderTarget):
        return
    walking = walk(origin.folder, folders=True)
    try:
        while batch := await in_thread(lambda: list(islice(walking, BATCH))):
            for item in batch:
                if item.folder and item.omitted is None:
                    try:
                        await goal.put_folder(item)
                    except SluiceError as error:
                        yield Ended(item.key, "failed", code=error.code, detail=error.detail)
    finally:
        await in_thread(walking.close)
