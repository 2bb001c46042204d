"""A virus scan as a second destination: passes each file on to clamd, and stores nothing.

pip install aiohttp; python clamd_gate.py 9001 /run/clamav/clamd.ctl
sluiceway serve --to /srv/files --to http://127.0.0.1:9001/ --relay-body raw --relay-method PUT
curl -T letter.pdf http://127.0.0.1:8000/files/letter.pdf    # 422 for a virus, 503 for no scan
"""

import asyncio
import sys

from aiohttp import web


async def scanned(request: web.Request) -> str:
    reader, writer = await asyncio.open_unix_connection(sys.argv[2])
    try:
        writer.write(b"zINSTREAM\0")
        async for data in request.content.iter_any():
            writer.write(len(data).to_bytes(4, "big") + data)
            await writer.drain()  # a slow scan slows the client down
        writer.write(bytes(4))
        async with asyncio.timeout(120):
            return (await reader.readuntil(b"\0"))[:-1].decode().removeprefix("stream: ")
    finally:
        writer.close()


async def scan(request: web.Request) -> web.Response:
    try:
        found = await scanned(request)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        found = "no answer"
    if found == "OK":
        return web.Response(status=204)
    has_virus = found.endswith(" FOUND")
    words = f"This file has a virus: {found[:-6]}" if has_virus else "The scan fails; try later"
    body, kind = {"title": "The virus scan", "detail": words}, "application/problem+json"
    return web.json_response(body, status=422 if has_virus else 503, content_type=kind)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_route("*", "/{key:.*}", scan)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
