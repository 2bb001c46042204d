"""A backend as a program, on a real HTTP server: counts the requests that began and that were
complete.

GET /count returns both numbers, and how many are under way, as JSON. Prints its port.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket

from aiohttp import web

count = {"begun": 0, "whole": 0, "under_way": 0}


async def take(request: web.Request) -> web.Response:
    count["begun"] += 1
    count["under_way"] += 1
    digest, size = hashlib.sha256(), 0
    try:
        async for data in request.content.iter_any():
            digest.update(data)
            size += len(data)
        if request.content.exception() is not None or request.transport is None:
            raise ConnectionError
        count["whole"] += 1
    finally:
        count["under_way"] -= 1
    return web.json_response({"size": size, "sha256": digest.hexdigest()}, status=201)


async def tell(_: web.Request) -> web.Response:
    return web.json_response(count)


async def main() -> None:
    app = web.Application()
    app.router.add_get("/count", tell)
    app.router.add_route("*", "/{key:.*}", take)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
