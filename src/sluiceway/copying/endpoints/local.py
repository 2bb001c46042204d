"""One file of this machine, standard input, a command's output or the files of a folder, to copy.

And a path as the target of one object. Many objects between folders: see `folder`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sluiceway.client.local.command import Command, command_source
from sluiceway.client.local.download_target import open_target
from sluiceway.client.local.files import files_below, identity_of, open_local, sized
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.copying.endpoints.verified_put import ProgressTap, notes_place, put_into_file
from sluiceway.errors import BadRequest
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import QUEUE, SOURCE, Stages
from sluiceway.pipe.worker_thread import in_thread, open_in_thread
from sluiceway.stores.contract import Metadata, Omitted, Pairs

__all__ = ["LocalFiles", "LocalObject", "PathTarget"]


class LocalObject:
    """A file, standard input (`-`) or the output of a command."""

    rereadable = False

    def __init__(
        self, path: str, name: str, type: str, command: Command | None, size: int | None
    ) -> None:
        """`name` is its key; `size`: bytes that a pipe has to give, exactly."""
        self._path, self._name, self._type = path, name, type
        self._command, self._size = command, size
        self.display_name: str = path if command is None else "The command's output"

    async def items(self) -> AsyncIterator[CopyItem]:
        yield CopyItem(self._name, self._size)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        stages = Stages()
        source: Source
        if self._command is not None:
            source = command_source(self._command)
        else:
            source = await asyncio.to_thread(open_local, self._path)
        if self._size is not None:
            stages.enter(SOURCE)
            shown = "Standard input" if self.display_name == "-" else self.display_name
            source = await sized(source, self._size, shown)
            stages.enter(QUEUE)
        metadata = Metadata(self._name, self._type)
        found = identity_of(source)
        yield Reading(item, source, metadata, self.display_name, stages=stages, identity=found)

    async def aclose(self) -> None:
        """Nothing stays open."""


class LocalFiles:
    """Every file below a folder, at every depth, in sorted order; links to files are followed."""

    rereadable = True

    def __init__(self, folder: str, type_of: Callable[[str], str]) -> None:
        self.display_name: str = folder
        self._type_of = type_of

    async def items(self) -> AsyncIterator[CopyItem]:
        folder = self.display_name
        for key, left_out in await asyncio.to_thread(lambda: list(files_below(folder))):
            omitted = None if left_out is None else Omitted(key, "link", left_out)
            yield CopyItem(key, None, omitted=omitted)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        path, stages = os.path.join(self.display_name, item.key), Stages()
        source = await asyncio.to_thread(open_local, path)
        metadata = Metadata(os.path.basename(path), self._type_of(item.key))
        yield Reading(item, source, metadata, path, stages=stages, identity=identity_of(source))

    async def aclose(self) -> None:
        """Nothing stays open."""


class PathTarget:
    """A path, a folder (the file's name is the key) or standard output (`-`), for one object."""

    repeats = False

    def __init__(self, path: str, resume: bool) -> None:
        """`resume`: whether a large object goes on where an earlier run was cut."""
        self.display_name: str = path
        self._resume = resume

    async def empty(self) -> bool:
        return False

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        return None

    async def digest(self, key: str, algorithm: str) -> str | None:
        return None

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        path = self.display_name
        place = notes_place(reading, self._resume)
        sink = await open_in_thread(
            lambda: open_target(path, key or None, replace, place),
            lambda opened: None if opened is None else opened.close(),
        )
        if sink is None:
            raise BadRequest(
                f"{reading.label} has no name; give one with --name, or name a file as the "
                "destination"
            )
        try:
            progress = ProgressTap(reading, "receiving", sink.target)
            return await put_into_file(sink, reading, replace, progress)
        finally:
            await in_thread(sink.close)

    async def aclose(self) -> None:
        """Nothing stays open."""
