"""Peer.

A Flask view that passes a form's file on with requests, in the two ways people have built it.

Two steps: request.files first (the whole file, in a temp file), then requests.post. A pipe:
Werkzeug's parser writes what it finds into a multiprocessing.Pipe, a second process sends what
comes out of it. The parser of 2018 wrote tiny pieces, today's does not: they are cut here, unless
CUT=0. THRESHOLD gathers them to at least so many bytes first.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import requests
from flask import Flask, request
from werkzeug.formparser import parse_form_data

__all__ = ["app"]

SINK = f"http://127.0.0.1:{os.environ['BENCH_SINK']}/take"
THRESHOLD = int(os.environ.get("THRESHOLD", "0"))
CUT = os.environ.get("CUT", "1") == "1"
TYPE = {"Content-Type": "application/octet-stream"}
PIECES = (
    4,
    8,
    2,
    60,
    9,
    6,
    3,
    7,
    1,
    5,
)  # as reported of Werkzeug in 2018: mostly under ten bytes, at most about sixty

app: Any = Flask(__name__)


class PipeWriter:
    """What the parser takes for a file: everything goes into the pipe.

    seek(0) is the parser's word that it was all.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._held, self._sizes = pipe, b"", itertools.cycle(PIECES)

    def write(self, data: bytes) -> None:
        start, sizes = 0, self._sizes
        while start < len(data):
            stop = start + next(sizes) if CUT else len(data)
            self._held += data[start:stop]
            if len(self._held) >= THRESHOLD:
                self._pipe.send_bytes(self._held)
                self._held = b""
            start = stop

    def seek(self, offset: int, whence: int = 0) -> None:
        if self._held:
            self._pipe.send_bytes(self._held)
            self._held = b""
        self._pipe.close()


def pieces(pipe: Connection) -> Iterator[bytes]:
    while True:
        try:
            yield pipe.recv_bytes()
        except EOFError:
            return


def forward(inlet: Connection, outlet: Connection, results: Connection) -> None:
    """The second process.

    The pipe's inlet is open here, too, after a fork: it would hide the end.
    """
    inlet.close()
    answer = requests.post(SINK, data=pieces(outlet), headers=TYPE, timeout=600)
    results.send((answer.text, answer.status_code))


def two_step() -> tuple[str, int]:
    upload = request.files["file"]
    answer = requests.post(SINK, data=upload.stream, headers=TYPE, timeout=600)
    return answer.text, answer.status_code


def pipe() -> tuple[str, int]:
    inlet, outlet = multiprocessing.Pipe()
    answer, results = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=forward, args=(inlet, outlet, results))
    process.start()
    outlet.close()
    results.close()
    writes: Any = lambda *_, **__: PipeWriter(inlet)  # noqa: E731 - by type it would have to be a whole file
    parse_form_data(request.environ, stream_factory=writes, silent=False)
    text, status = answer.recv()
    process.join()
    return text, status


app.add_url_rule("/two-step", view_func=two_step, methods=["POST"])
app.add_url_rule("/pipe", view_func=pipe, methods=["POST"])
