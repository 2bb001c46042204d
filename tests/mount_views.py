"""A Flask app with the whole service under /drop, guarded by the app, and with streaming views.

FOLDER and BACKEND come from the environment.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask

from sluiceway.flask import Sluiceway, mount, stream

__all__ = ["app"]

FOLDER = Path(os.environ["FOLDER"])
request: Any = flask.request

app = flask.Flask(__name__)
Sluiceway(app)
mount(app, "/drop", to=str(FOLDER), max_size="40MiB")
mount(app, "/on", to=os.environ["BACKEND"])


@app.before_request
def guard() -> Any:
    return ("not you", 403) if request.headers.get("X-Stranger") else None


@app.get("/path/<name>")
def path(name: str) -> flask.Response:
    return stream(FOLDER / name)


@app.get("/bytes")
def some_bytes() -> flask.Response:
    return stream(b"0123456789" * 10, filename="ten.txt", inline=True)


@app.get("/memory")
def memory() -> flask.Response:
    return stream(
        io.BytesIO(b"0123456789"),
        filename="m.bin",
        type="application/x-m",
        etag="one",
        modified=1e9,
    )


@app.get("/made")
def made() -> flask.Response:
    """An iterator of 1,000 pieces, which may announce a wrong size."""

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            yield b"%05d" % number

    return stream(pieces(), filename="made.bin", size=request.args.get("size", type=int))


@app.get("/url")
def url() -> flask.Response:
    host = f"127.0.0.1:{request.host.partition(':')[2]}"
    return stream(request.args["url"], allow=[host], internal=["127.0.0.0/8"])


@app.get("/any-url")
def any_url() -> flask.Response:
    return stream(request.args["url"])


@app.post("/echo")
def echo() -> flask.Response:
    """Answer with a part of the form while it arrives."""
    return stream(request.files["file"])
