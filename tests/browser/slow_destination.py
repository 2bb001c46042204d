"""The real server with a bad destination: slow to write, late to confirm, or full half-way.

As a program it serves until it is stopped: slow_destination.py ROOT PORT RATE DELAY ROOM LIMIT
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn

from sluiceway.errors import NoSpace
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.server import app as server_app
from sluiceway.server.destinations import open_destination
from sluiceway.server.http1.protocol import SluiceProtocol
from sluiceway.server.settings.checked import Settings
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    ObjectReader,
    Page,
    Replace,
    Store,
    Traits,
    UploadRequest,
)
from sluiceway.stores.unpublished import TellsReplaced

__all__ = ["SlowServer", "start_slow_server"]

START = 20.0  # seconds the server may take to print its address


class SlowDraft:
    """Takes `rate` bytes a second, publishes after `yes` seconds, and has room for `room` bytes."""

    def __init__(self, draft: Draft, rate: float, yes: float, room: float) -> None:
        self._draft, self._rate, self._yes, self._room = draft, rate, yes, room

    @property
    def written(self) -> int:
        return self._draft.written

    @property
    def kept(self) -> int:
        return self._draft.kept

    @property
    def replaced(self) -> bool:
        return cast("TellsReplaced", self._draft).replaced

    async def write(self, data: Buffer) -> None:
        if self.written + len(data) > self._room:
            raise NoSpace("The shelf has no room for more").for_everyone()
        await asyncio.sleep(len(data) / self._rate)
        await self._draft.write(data)

    async def sync(self) -> int:
        return await self._draft.sync()

    async def truncate(self, offset: int) -> None:
        await self._draft.truncate(offset)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        await asyncio.sleep(self._yes)
        return await self._draft.publish(key, metadata, replace)

    async def discard(self) -> None:
        await self._draft.discard()


class SlowStore:
    """A store whose drafts are slow; the rest is the wrapped store's."""

    def __init__(self, store: Store, rate: float, yes: float, room: float) -> None:
        self._store, self._limits = store, (rate, yes, room)

    @property
    def traits(self) -> Traits:
        return self._store.traits

    async def draft(
        self, upload: str, size: int | None, label: UploadRequest = UploadRequest()
    ) -> Draft:
        return SlowDraft(await self._store.draft(upload, size, label), *self._limits)

    async def stat(self, key: str) -> Entry:
        return await self._store.stat(key)

    async def open(self, key: str) -> ObjectReader:
        return await self._store.open(key)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return await self._store.list(prefix, after, limit)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        await self._store.delete(key, replace)

    async def aclose(self) -> None:
        await self._store.aclose()


@dataclass
class SlowServer:
    """One such server under test."""

    process: subprocess.Popen[str]
    url: str
    root: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stored(self) -> list[str]:
        """Names of finished objects, seen from outside the server."""
        files = (
            path
            for path in self.root.rglob("*")
            if path.is_file() and ".sluiceway" not in path.parts
        )
        return sorted(path.name for path in files)

    def kill(self) -> None:
        """Kill the process; the effect is that of a power cut."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


def start_slow_server(
    root: Path,
    *,
    rate: float = 1e12,
    yes: float = 0,
    room: float = 1e15,
    limit: float = 1e15,
    port: float = 0,
) -> SlowServer:
    """`rate`, `yes`, `room`: see SlowDraft. `limit`: --max-size in bytes.

    `port`: 0 takes a free one.
    """
    root.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        __file__,
        str(root),
        str(int(port)),
        str(rate),
        str(yes),
        str(room),
        str(int(limit)),
    ]
    with (root.parent / f"{root.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
        )
    timer = threading.Timer(START, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()
    found = re.search(r"http://\S+", line)
    if found is None:
        process.kill()
        process.wait(10)
        raise AssertionError(f"the slow server did not come up: {line!r}")
    return SlowServer(process, found[0], root)


def main(root: str, port: str, rate: str, yes: str, room: str, limit: str) -> None:
    def open_slow(settings: Settings, budget: Budget) -> Store:
        return SlowStore(open_destination(settings, budget), float(rate), float(yes), float(room))

    server_app.open_destination = open_slow  # type: ignore[attr-defined]  # not exported there
    app = server_app.Sluiceway(to=root, max_size=limit)
    config = uvicorn.Config(
        app, port=int(port), http=SluiceProtocol, log_level="warning", timeout_graceful_shutdown=1
    )
    listening = config.bind_socket()
    listening.listen()
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
