"""Peer: a Flask view that forwards a form's file with requests, in the two usual ways.

Two steps: request.files first (the whole file, in a temp file), then requests.post. A pipe:
Werkzeug's parser writes into a multiprocessing.Pipe; a second process sends its output. The parser
of 2018 wrote tiny pieces, today's does not: they are cut here, unless CUT=0. THRESHOLD first
collects at least so many bytes.
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
    """The file object for the parser: writes go into the pipe.

    The parser calls seek(0) at the end.
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


def forward(writing_end: Connection, reading_end: Connection, results: Connection) -> None:
    """Run in the second process.

    A fork inherits the pipe's writing end, which would hide the end.
    """
    writing_end.close()
    answer = requests.post(SINK, data=pieces(reading_end), headers=TYPE, timeout=600)
    results.send((answer.text, answer.status_code))


def two_step() -> tuple[str, int]:
    upload = request.files["file"]
    answer = requests.post(SINK, data=upload.stream, headers=TYPE, timeout=600)
    return answer.text, answer.status_code


def pipe() -> tuple[str, int]:
    writing_end, reading_end = multiprocessing.Pipe()
    answer, results = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=forward, args=(writing_end, reading_end, results))
    process.start()
    reading_end.close()
    results.close()
    writes: Any = lambda *_, **__: PipeWriter(writing_end)  # noqa: E731 - by type it would have to be a whole file
    parse_form_data(request.environ, stream_factory=writes, silent=False)
    text, status = answer.recv()
    process.join()
    return text, status


app.add_url_rule("/two-step", view_func=two_step, methods=["POST"])
app.add_url_rule("/pipe", view_func=pipe, methods=["POST"])
