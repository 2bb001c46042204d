"""The bench's sink counts, hashes and paces what arrives, and never calls half a body whole."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.pace import Pace  # noqa: E402
from bench.process import Failed  # noqa: E402
from bench.relay import (  # noqa: E402
    TWO_STEP,
    SinkProcess,
    check_taken,
    sinking,
)
from bench.stored import make_source, sha256_of  # noqa: E402
from bench.transfer import run_client  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SIZE = 3 * 2**20 + 17


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_source(tmp_path / "source", SIZE)


def client(*words: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    result: dict[str, object] = json.loads(done.stdout)
    return done.returncode, result


@pytest.fixture
def sink() -> Iterator[SinkProcess]:
    with sinking() as running:
        running.tell("hash")
        yield running


def in_chunks(data: bytes, *sizes: int) -> bytes:
    """`data` as a chunked body, its pieces of these sizes in turn."""
    body, at, turn = b"", 0, 0
    while at < len(data):
        piece = data[at : at + sizes[turn % len(sizes)]]
        body += b"%x;ext=1\r\n%s\r\n" % (len(piece), piece)
        at, turn = at + len(piece), turn + 1
    return body + b"0\r\nTrailer: x\r\n\r\n"


def test_sink_counts_and_hashes_a_raw_body_and_the_file_in_a_form(
    sink: SinkProcess, source: Path
) -> None:
    """Both are reported with the source's own size and digest, whatever stands around the file."""
    digest = sha256_of(source)
    client("bench.send", "raw", "--port", str(sink.port), "--path", "/x", "--source", str(source))
    raw = sink.report()
    client("bench.send", "form", "--port", str(sink.port), "--path", "/x", "--source", str(source))
    form = sink.report()

    assert [(report["file"], report["sha-256"]) for report in (raw, form)] == [(SIZE, digest)] * 2
    assert (raw["body"], form["body"] > SIZE) == (SIZE, True)


def test_sink_reads_chunks_of_any_size_on_one_connection(sink: SinkProcess, source: Path) -> None:
    """Chunk heads, extensions and trailers are no body.

    The next request on the connection is read, too.
    """
    data = source.read_bytes()[: 1 << 18]
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sink.port), timeout=30) as connection:
        for sizes in ((1, 60, 7), (4000,), (1 << 18,)):
            connection.sendall(head + in_chunks(data, *sizes))
            report = sink.report()

            assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
            assert (report["chunked"], report["body"], report["sha-256"]) == (
                True,
                len(data),
                hashlib.sha256(data).hexdigest(),
            )


def test_sink_says_no_yes_to_half_a_body(sink: SinkProcess) -> None:
    """A body that breaks off is reported as cut, and the bench fails over it."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=30) as connection:
        connection.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_WR)

        assert connection.recv(1000) == b""
    with pytest.raises(Failed, match="cut"):
        sink.report()


def test_other_bytes_than_the_sources_fail_a_relay(sink: SinkProcess, source: Path) -> None:
    """The hashed trip is compared with size and digest of what was sent."""
    run_client(sink.port, TWO_STEP, source, "x")
    report = sink.report()
    check_taken(report, SIZE, sha256_of(source))

    for wrong in ({**report, "file": SIZE - 1}, {**report, "sha-256": "00"}):
        with pytest.raises(Failed):
            check_taken(wrong, SIZE, sha256_of(source))


def test_a_held_sink_reads_heads_only_until_told_to_go(sink: SinkProcess, source: Path) -> None:
    """The body of a held request is neither counted nor answered before `go`."""
    sink.tell("hold")
    words = ["bench.send", "raw", "--port", str(sink.port), "--path", "/x", "--source", str(source)]
    with subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE
    ) as sender:
        sink.held()

        assert sender.poll() is None
        sink.tell("go")
        assert sink.report()["body"] == SIZE
        assert sender.wait(30) == 0


def test_pace_takes_the_time_its_rate_says() -> None:
    """Never faster than asked, and lost time is not made up for."""
    pace, began = Pace(1e6), time.perf_counter()
    for _ in range(10):
        pace.wait(10_000)
    first = time.perf_counter() - began
    time.sleep(0.1)
    began = time.perf_counter()
    for _ in range(10):
        pace.wait(10_000)

    assert first >= 0.085  # 10 ms may be made up for
    assert time.perf_counter() - began >= 0.085
