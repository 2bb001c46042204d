"""The relays that are compared, the sink behind them, and one checked transfer through a relay."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.contenders import GUNICORN, NGINX, Contender, start
from bench.peers.nginx import NGINX_BUFFERED_CONF, NGINX_SMALL_CONF, NGINX_UNBUFFERED_CONF
from bench.process import Failed, free_port
from bench.rounds import Bench, Sent, Series, paired_rounds
from bench.stored import empty, sha256_of
from bench.transfer import ROOT, UPLOAD_NAME, WARM_UP, run_client, send
from bench.usage import cpu_of

__all__ = [
    "NGINX_BUFFERED",
    "NGINX_SMALL",
    "NGINX_UNBUFFERED",
    "PIPE",
    "PIPE_4000",
    "PIPE_NOW",
    "RELAY_FORM",
    "RELAY_NONE",
    "RELAY_SHA",
    "RELAY_STALL",
    "RELAY_STORY",
    "TWO_STEP",
    "SinkProcess",
    "direct_once",
    "relay_once",
    "relay_rounds",
    "sinking",
]

SAYS = 600.0  # seconds without a line from the sink until a run fails


def _ours(name: str, how: str, digest: str, *more: str) -> Contender:
    return Contender(
        name=name,
        command=(
            "{bin}/sluiceway", "serve", "--to", "http://127.0.0.1:{sink}/take", "--host",
            "127.0.0.1", "--port", "{port}",
            "--digest", digest, *more,
        ),
        how=how,
        path="/files" if how == "form" else "/files/{name}",
        method="POST" if how == "form" else "PUT",
        writes="passes on as it comes",
        fsync=False,
        digest=digest,
        ours=True,
    )  # fmt: skip


def _nginx(name: str, conf: str, writes: str) -> Contender:
    return Contender(
        name,
        NGINX,
        "raw",
        "/take/{name}",
        writes,
        fsync=False,
        can_fsync=False,
        files={"nginx.conf": conf},
    )


RELAY_NONE = _ours("Sluiceway raw, digest none", "raw", "none")
RELAY_SHA = _ours("Sluiceway raw, digest sha-256", "raw", "sha-256")
RELAY_FORM = _ours("Sluiceway form to form, digest none", "form", "none")
RELAY_STORY = _ours(
    "Sluiceway form to raw, digest sha-256", "form", "sha-256", "--relay-body", "raw"
)
# The destination stalls for a given time: the relay's own timeout must be longer.
RELAY_STALL = _ours(
    "Sluiceway raw, digest sha-256", "raw", "sha-256", "--relay-idle-timeout", "600"
)
NGINX_UNBUFFERED = _nginx(
    "nginx unbuffered, client_body_buffer_size 1m",
    NGINX_UNBUFFERED_CONF,
    "proxy_request_buffering off: as it comes",
)
NGINX_SMALL = _nginx(
    "nginx unbuffered, its own 16 KiB buffer",
    NGINX_SMALL_CONF,
    "proxy_request_buffering off: as it comes",
)
NGINX_BUFFERED = _nginx(
    "nginx buffered", NGINX_BUFFERED_CONF, "the whole body first, in a temp file"
)

_FLASK = tuple("flask_relay_app:app" if word == "flask_app:app" else word for word in GUNICORN)
TWO_STEP = Contender(
    "two steps (gunicorn + Flask request.files, then requests.post)", _FLASK, "form", "/two-step",
    "the whole file first, in a temp file", fsync=False, method="POST",
)  # fmt: skip
PIPE = Contender(
    "a pipe between two processes, pieces of at most 60 bytes", _FLASK, "form", "/pipe",
    "each piece a write", fsync=False,
    method="POST",
)  # fmt: skip
PIPE_4000 = replace(
    PIPE,
    name="the same pipe, pieces gathered to 4,000 bytes",
    writes="at least 4,000 bytes a write",
    env={"THRESHOLD": "4000"},
)
PIPE_NOW = replace(
    PIPE,
    name="the same pipe, pieces as Werkzeug writes them today",
    writes="each piece a write",
    env={"CUT": "0"},
)


class SinkProcess:
    """A running sink: tell() sends a command, report() returns a body.

    Lines come in order of events.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def tell(self, command: str) -> None:
        if self.process.stdin is None:
            raise Failed("the sink takes no commands")
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self._said("now")

    def report(self) -> dict[str, Any]:
        """The next body: bytes, seconds and, after `hash`, the file's size and sha-256."""
        return self._said("body")

    def held(self) -> None:
        """Wait until one more request stands at its head."""
        self._said("held")

    def cpu(self) -> float:
        """Its processor seconds so far."""
        return cpu_of([self.process.pid])

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self._listening.join()
        self.process.communicate()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def _said(self, word: str) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=SAYS)
        except queue.Empty:
            raise Failed(f"the sink sent nothing for {SAYS:.0f} s") from None
        if not line:
            raise Failed("the sink ended")
        report: dict[str, Any] = json.loads(line)
        if word not in report:
            raise Failed(f"the sink tells {report} where it should tell of {word!r}")
        return report


@contextmanager
def sinking() -> Iterator[SinkProcess]:
    """A fresh sink process until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "bench.sink", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    sink = SinkProcess(process, port)
    try:
        sink.tell("count")  # its response shows that it listens
        yield sink
    finally:
        sink.close()


def check_taken(report: dict[str, Any], size: int, digest: str) -> None:
    """Checks that the hashed transfer had exactly the source's bytes."""
    if report["file"] != size or report["sha-256"] != digest:
        raise Failed(
            f"the sink got {report['file']} bytes with sha-256 {report['sha-256']}, sent were "
            f"{size} with {digest}"
        )


def relay_once(
    bench: Bench, contender: Contender, source: Path, digest: str, rate: float = 0
) -> Sent:
    """One timed transfer through a fresh, warm relay; then the same transfer, untimed and hashed.

    `rate` limits both connections of the timed one, in bytes a second.
    """
    size = source.stat().st_size
    place = bench.place()
    with sinking() as sink, start(contender, bench.binaries, place, sink.port) as (server, _):
        send(server, contender, bench.source(min(WARM_UP, size)), "warm.bin")
        sink.report()
        sink.tell(f"rate {rate}")
        limit = ("--rate", str(rate))
        sent = send(server, contender, source, UPLOAD_NAME, *limit, look=bench.look, sink=sink.cpu)
        if sink.report()["body"] < size:
            raise Failed("the sink got less than was sent")
        sink.tell("rate 0")
        sink.tell("hash")
        send(server, contender, source, UPLOAD_NAME)
        check_taken(sink.report(), size, digest)
    empty(place)
    return sent


def direct_once(source: Path, sends: float, takes: float) -> float:
    """Returns the seconds of one transfer without a relay.

    The same form straight to the sink, sent and taken at these rates (bytes a second).
    """
    with sinking() as sink:
        sink.tell(f"rate {takes}")
        report = run_client(sink.port, TWO_STEP, source, UPLOAD_NAME, "--rate", str(sends))
        if sink.report()["body"] < source.stat().st_size:
            raise Failed("the sink got less than was sent")
    return float(report["seconds"])


def relay_rounds(
    bench: Bench, contenders: Sequence[tuple[Contender, int]], rate: float = 0
) -> list[Series]:
    """Bytes a second of each contender with its size, in turn within every round."""
    digests = {size: sha256_of(bench.source(size)) for size in {size for _, size in contenders}}
    sizes = {contender.label: size for contender, size in contenders}

    def once(contender: Contender) -> Sent:
        size = sizes[contender.label]
        return relay_once(bench, contender, bench.source(size), digests[size], rate)

    return paired_rounds(bench, [contender for contender, _ in contenders], once)
