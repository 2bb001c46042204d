"""Peer: aiohttp's own server on uvloop.

Raw body to a file, multipart() to a file; FSYNC=1 adds fsync.

Run as a script with the port as its argument; writes happen on the event loop, as in Starlette's
peer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvloop
from aiohttp import BodyPartReader, web

__all__ = ["main"]

TO = Path(os.environ["BENCH_TO"])
FSYNC = os.environ.get("FSYNC") == "1"
PART_BLOCK = 1 << 18  # multipart's own 8 KiB is several times slower; bigger ones gain nothing


async def raw(request: web.Request) -> web.Response:
    with (TO / request.match_info["name"]).open("wb") as file:
        async for chunk in request.content.iter_any():
            file.write(chunk)
        if FSYNC:
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
    return web.Response(status=201, text="kept\n")


async def form(request: web.Request) -> web.Response:
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is None:
            continue
        with (TO / Path(part.filename).name).open("wb") as file:
            while chunk := await part.read_chunk(PART_BLOCK):
                file.write(chunk)
            if FSYNC:
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
    return web.Response(status=201, text="kept\n")


def main() -> None:
    app = web.Application()
    app.add_routes([web.put("/raw/{name}", raw), web.post("/form", form)])
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
