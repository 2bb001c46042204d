"""An app of somebody else that takes files in its own way, with <sluice-drop> on its page.

It serves the element's files, a page, and a form's address; it reports no progress.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

__all__ = ["OtherApp", "other_app"]


@dataclass
class OtherApp:
    """The app under test, and what it was sent."""

    url: str = ""
    page: str = ""  # the HTML at /
    status: int = 200  # of the next answers to a form
    location: str = ""  # where those answers say that the file is
    gate: threading.Event = field(default_factory=threading.Event)  # closed: answers wait
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def other_app() -> Iterator[OtherApp]:
    """Run the app until the end of the block."""
    app = OtherApp()
    app.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] == "/":
                self.reply(200, "text/html; charset=utf-8", app.page.encode())
                return
            found = re.fullmatch(r"/page/([a-z/-]+\.js)", self.path)
            content = (
                files("sluiceway.server").joinpath("page", found[1]).read_bytes() if found else b""
            )
            self.reply(200 if found else 404, "text/javascript", content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            app.requests.append((self.path, dict(self.headers), body))
            app.gate.wait(20)
            self.reply(app.status, "application/json", json.dumps({"book": "updated"}).encode())

        def reply(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if app.location and self.command == "POST":
                self.send_header("Location", app.location)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    app.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield app
    finally:
        app.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
