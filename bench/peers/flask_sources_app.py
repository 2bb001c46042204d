"""Peer: the views of the sources' table, for any WSGI server.

LIVE=1 adds our one line, Sluiceway(app), and nothing else.

/stream and /files are what a Flask developer writes today. /lines is the view that was timed in
2019: `writelines` over `request.stream`, which takes line by line, to the null device. PROFILE (a
path without its end) writes a profile a request.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask, request

__all__ = ["app"]

TO = Path(os.environ["BENCH_TO"])
PROFILE = os.environ.get("PROFILE", "")
CLOCK = os.environ.get(
    "CLOCK", ""
)  # the profiler's: "" its own, "syscall", or seconds that one look at it takes
LINES = 40  # of a profile's table

app: Any = Flask(__name__)
if os.environ.get("LIVE") == "1":
    from sluiceway.flask import Sluiceway

    Sluiceway(app)


class LinesOf2019:
    """What `request.stream` was in Werkzeug 0.15, as far as lines go.

    A limit around the server's own readline.
    """

    def __init__(self, source: Any, limit: int) -> None:
        self._readline, self._limit, self.taken = source.readline, limit, 0

    def readline(self) -> bytes:
        if self.taken >= self._limit:
            return b""
        line: bytes = self._readline(self._limit - self.taken)
        self.taken += len(line)
        return line

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line


def stream(name: str) -> str:
    with (TO / name).open("wb") as file:
        shutil.copyfileobj(request.stream, file)
        return f"{file.tell()}\n"


def files() -> str:
    upload = request.files["file"]
    upload.save(TO / Path(upload.filename or "unnamed").name)
    return "kept\n"


def lines(name: str) -> str:
    with open(os.devnull, "wb") as file:
        file.writelines(request.stream)
    return f"{request.stream.tell()}\n"


def lines_2019(name: str) -> str:
    source = LinesOf2019(request.environ["wsgi.input"], request.content_length or 0)
    with open(os.devnull, "wb") as file:
        file.writelines(source)
    return f"{source.taken}\n"


def slow_clock() -> float:
    until = time.perf_counter() + float(CLOCK)
    while (now := time.perf_counter()) < until:
        pass
    return now


def profiler() -> cProfile.Profile:
    # On Linux the processor-time clock is always a system call; the wall's is none where the
    # machine's clock is a good one.
    if CLOCK:
        return cProfile.Profile(time.process_time if CLOCK == "syscall" else slow_clock)
    return cProfile.Profile()


def profiled(view: Callable[..., str]) -> Callable[..., str]:
    """The view under cProfile; each profile is named by content type and bytes of the body."""

    def profiled(**words: str) -> str:
        profile = profiler()
        answer: str = profile.runcall(view, **words)
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(LINES)
        kind = (request.mimetype or "none").replace("/", "-")
        Path(f"{PROFILE}_{kind}_{request.content_length}-bytes.txt").write_text(text.getvalue())
        return answer

    return profiled if PROFILE else view


for path, method, view in (
    ("/stream/<name>", "PUT", stream),
    ("/files", "POST", files),
    ("/lines/<name>", "PUT", lines),
    ("/lines-2019/<name>", "PUT", lines_2019),
):
    app.add_url_rule(path, view.__name__, profiled(view), methods=[method])
