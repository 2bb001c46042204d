"""Runs Debian's Firefox for Playwright, which drives it by WebDriver BiDi.

Playwright starts this program as if it were Firefox. It stands between the two, because Playwright
sends commands that an ESR of Firefox has not yet: those get an empty success. All else passes.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from contextlib import suppress

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

FIREFOX = "firefox-esr"
NOT_YET = {"emulation.setMediaFeaturesOverride"}
LISTENING = re.compile(rb"ws://[\w.]+:(\d+)")
LARGEST = 256 << 20  # bytes of one message: a screenshot, or files for a chooser


async def main() -> int:
    firefox = await asyncio.create_subprocess_exec(
        FIREFOX, *sys.argv[1:], stderr=asyncio.subprocess.PIPE, limit=1 << 20
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, firefox.terminate)
    assert firefox.stderr is not None
    runner: web.AppRunner | None = None
    async for line in firefox.stderr:
        if runner is None and (found := LISTENING.search(line)):
            runner = await _listen(f"ws://127.0.0.1:{int(found[1])}")
            port = runner.addresses[0][1]
            line = LISTENING.sub(f"ws://127.0.0.1:{port}".encode(), line)
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    status = await firefox.wait()
    if runner is not None:
        await runner.cleanup()
    return status


async def _listen(firefox: str) -> web.AppRunner:
    async def connect(request: web.Request) -> web.WebSocketResponse:
        playwright = web.WebSocketResponse(max_msg_size=LARGEST)
        await playwright.prepare(request)
        async with (
            ClientSession() as session,
            session.ws_connect(firefox + request.path, max_msg_size=LARGEST) as browser,
        ):
            answers = asyncio.create_task(_answers(browser, playwright))
            async for message in playwright:
                if message.type is not WSMsgType.TEXT:
                    continue
                command = json.loads(message.data)
                if command["method"] in NOT_YET:
                    done = {"type": "success", "id": command["id"], "result": {}}
                    await playwright.send_json(done)
                else:
                    await browser.send_str(message.data)
            answers.cancel()
        return playwright

    app = web.Application()
    app.router.add_get("/{path:.*}", connect)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def _answers(browser: ClientWebSocketResponse, playwright: web.WebSocketResponse) -> None:
    async for message in browser:
        if message.type is WSMsgType.TEXT:
            with suppress(ConnectionError):
                await playwright.send_str(message.data)
    await playwright.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
