"""What sluiceway.flask streams on which WSGI server; each result is a cell of docs/servers.md.

The tests run the real servers and compare each result with the page. `WRITE_TABLE=1` writes the
page instead.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fix_taking import TORTURE, eventually, missing, need
from fix_wsgi import SERVERS, Backend, Passed, WsgiApp, running
from raw_http import Answer, Wire, form_begun, form_head, head
from sluiceway.testing.memory_meter import MemoryMeter
from wsgi_uploads import BEGIN, BODIES, COLUMNS, END, MIB, PAGE, TO_WRITE, Table, Upload

SIZE = 24 * MIB
TWENTIETH = SIZE // 20
FIRST_BYTES = 2000  # bytes of a file after which a slow client pauses
HALF_A_GIGABYTE = 512 * MIB
BUFFERED = 12 * MIB  # at most, in the buffers of two connections
QUIET = 0.3  # seconds in which a server that streams would relay bytes

QUICK = ("raw", "chunked form")  # of BODIES; the long proofs send all
MEASURED = ["gunicorn gthread", "waitress"]
ALIKE = ["flask run", "gunicorn gevent"]  # stream as gunicorn's threads do
STORES_FIRST = ["waitress"]
HIDES_CHUNKS = ["uWSGI"]
HIDES_CUTS = ["granian"]  # of chunked bodies
SPEAKS_HTTP2 = ["granian"]  # without TLS
DRAINS = ["cheroot"]  # reads the whole rest of a body before it sends any answer


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table(PAGE)
    yield table
    if "WRITE_TABLE" in os.environ:
        table.write()


@dataclass
class Served:
    """A server, and the backend that its app relays to."""

    app: WsgiApp
    backend: Backend

    @property
    def name(self) -> str:
        return self.app.name

    def refuses(self, body: str) -> bool:
        """Whether the app answers such a body with 411 on this server."""
        return (self.name in HIDES_CHUNKS and "chunked" in body) or (
            self.name in HIDES_CUTS and body == "chunked raw"
        )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.torture) if name in ALIKE else name for name in SERVERS
    ],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    if not Path("/proc/self/fd").exists():
        missing("open files and memory of a server are read from /proc")
    backend = Backend()
    with running(request.param, tmp_path_factory.mktemp("wsgi"), backend, "wsgi_views:app") as app:
        yield Served(app, backend)


def passed(served: Served, before: int, size: int = 1) -> Passed:
    """Wait until the next request has `size` bytes at the backend. Returns the request."""
    eventually(lambda: len(served.backend.passed) > before, "the backend gets the request")
    found = served.backend.passed[before]
    eventually(lambda: found.size >= size, "the backend has its bytes")
    return found


@pytest.mark.parametrize(
    "body",
    [one if one in QUICK else pytest.param(one, marks=pytest.mark.torture) for one in BODIES],
)
def test_a_file_is_at_the_backend_while_it_is_sent(served: Served, table: Table, body: str) -> None:
    """The backend has its first byte before a twentieth was sent.

    Where this is impossible, the client gets a 411, or the app works later.
    """
    before = len(served.backend.passed)
    with Wire(served.app.port) as wire:
        upload = Upload(wire, body, SIZE)
        upload.begin()
        if served.refuses(body):
            cell = refusal(wire.answer())
            assert len(served.backend.passed) == before
        else:
            upload.send(MIB)
            assert upload.sent <= TWENTIETH
            cell = on_its_way(served, upload, before)
            assert upload.finish().status == 201
            assert served.backend.passed[before].whole
            assert served.backend.passed[before].size >= SIZE

    table.check(served.name, body, cell)


def on_its_way(served: Served, upload: Upload, before: int) -> str:
    """Whether the backend gets the first byte of an upload before its end."""
    if served.name not in STORES_FIRST:
        passed(served, before)
        return "streams"
    assert upload.wire.silent(QUIET)
    upload.send(SIZE - 2 * MIB)
    assert upload.wire.silent(QUIET)
    assert len(served.backend.passed) == before
    return "stores the whole body first"


def refusal(answer: Answer) -> str:
    """Check that the answer is a 411 that says what to do."""
    assert (answer.status, answer.code) == (411, "length-required")
    assert "Content-Length (curl -T FILE does, curl -T - does not)" in answer.json()["detail"]
    assert "run the app on gunicorn" in answer.json()["detail"]
    return "411, says what to do"


def test_nothing_is_spooled(served: Served, table: Table) -> None:
    """In the middle of each body TMPDIR is empty, and no process has an open nameless file."""
    found = set()
    for body in BODIES if TORTURE else QUICK:
        if served.refuses(body):
            continue
        before = len(served.backend.passed)
        with Wire(served.app.port) as wire:
            upload = Upload(wire, body, SIZE)
            upload.begin()
            upload.send(SIZE // 2)
            if served.name in STORES_FIRST:
                eventually(served.app.spools, "the body is in a file")
            else:
                passed(served, before, SIZE // 4)
            found |= served.app.spools()
            assert upload.finish().status == 201
            if served.name not in STORES_FIRST:
                found |= served.app.spools()

    assert bool(found) == (served.name in STORES_FIRST), found
    table.check(served.name, "temporary files", "one a body" if found else "none")


def test_memory_does_not_grow_with_a_file(served: Served, table: Table) -> None:
    """Each MiB costs less than 1 KiB, for 128 MiB of a body; the best of three runs.

    Of the most composed body that the server takes, on a server that streams and on one that
    stores; in the long proofs of all bodies, on all servers.
    """
    if not TORTURE and served.name not in MEASURED and "WRITE_TABLE" not in os.environ:
        pytest.skip("`make torture` measures all servers")
    bodies = [body for body in BODIES if not served.refuses(body)]
    for body in bodies if TORTURE else bodies[-1:]:
        slopes: list[int] = []
        while len(slopes) < 3 and (not slopes or min(slopes) >= 1 << 10):
            slopes.append(slope(served, body))
        assert min(slopes) < 1 << 10, f"{body}: {slopes} bytes for each MiB"

    table.check(served.name, "memory", "flat")


def slope(served: Served, body: str) -> int:
    """Bytes of memory that a MiB costs: from the peaks of the first 48 MiB and of the next 128.

    Measured within one upload, because an allocator makes the next one cost up to 3 MiB more or
    less, whatever its size.
    """
    before, meters = len(served.backend.passed), [MemoryMeter(pid) for pid in served.app.pids]
    peaks = []
    with Wire(served.app.port) as wire:
        upload = Upload(wire, body, 177 * MIB)
        upload.begin()
        for size in (48 * MIB, 128 * MIB):
            for meter in meters:
                meter.reset()
            upload.send(size)
            if served.name not in STORES_FIRST:
                passed(served, before, upload.sent - BUFFERED)
            peaks.append(sum(meter.peak() for meter in meters))
        assert upload.finish().status == 201
    return (peaks[1] - peaks[0]) // 128


@pytest.mark.parametrize("framing", ["cut, with length", "cut, chunked"])
def test_a_truncated_body_is_never_taken_as_complete(
    served: Served, table: Table, framing: str
) -> None:
    """The client hangs up in the middle: no file is saved, the backend gets no complete body.

    A client that still reads gets an answer, where the server allows it.
    """
    found = {}
    for kind, target in [("raw", ""), ("form", ""), ("form", "/save")]:
        body = kind if framing == "cut, with length" else f"chunked {kind}"
        before = len(served.backend.passed)
        with Wire(served.app.port) as wire:
            upload = Upload(wire, body, SIZE, target)
            upload.begin()
            if served.refuses(body):
                found[kind] = refusal(wire.answer())
                continue
            upload.send(4 * MIB)
            if served.name not in STORES_FIRST and not target:
                passed(served, before)
            elif served.name not in STORES_FIRST:
                eventually(lambda: list(served.app.folder.iterdir()), "a draft exists")
            wire.half_close()
            found[kind] = ending(wire)
        eventually(lambda: not list(served.app.folder.iterdir()), "the draft is removed")
        for one in served.backend.passed[before:]:
            assert one.exchange.was_cut()
            assert not one.whole

    same = len(set(found.values())) == 1
    table.check(
        served.name,
        framing,
        found["raw"] if same else "; ".join(f"{kind}: {cell}" for kind, cell in found.items()),
    )


def ending(wire: Wire) -> str:
    """The server's answer to a client that has closed its sending half."""
    try:
        answer = wire.answer()
    except ConnectionError:
        return "hangs up"
    assert (answer.status, answer.code) == (400, "body-cut")
    return "400 body-cut"


def test_a_refusal_is_read_before_the_body_is_sent(served: Served, table: Table) -> None:
    """A view with @needs answers 422 after the first bytes of half a gigabyte."""
    if served.name in STORES_FIRST:
        with begun_refusal(served, 8 * MIB) as wire:
            assert wire.silent(QUIET)
            wire.send(bytes(8 * MIB))
            check_refusal(wire.answer())
        cell = "after the whole body"
    elif served.name in DRAINS:
        with begun_refusal(served) as wire:
            check_body_is_held_in_memory(served, wire)
        with begun_refusal(served, HALF_A_GIGABYTE, "Connection: close") as wire:
            check_refusal(wire.answer())
        cell = "after the whole body, which it takes into memory; at once after `Connection: close`"
    else:
        with begun_refusal(served) as wire:
            check_refusal(wire.answer())
        cell = "at once"

    table.check(served.name, "early refusal", cell)


def test_a_put_to_the_mounted_service_needs_a_length(served: Served) -> None:
    """Without one it is refused; with a length of 0 it is an empty file."""
    with Wire(served.app.port) as wire:
        wire.send(head("PUT", "/drop/files/unframed"))
        answer = wire.answer()
    assert (answer.status, answer.code) == (411, "length-required")
    with Wire(served.app.port) as wire:
        wire.send(head("PUT", "/drop/files/empty", "Content-Length: 0"))
        assert wire.answer().status == 201
    dropped = served.app.folder.parent / "dropped"
    assert {path.name for path in dropped.iterdir()} == {".sluiceway", "empty"}


def begun_refusal(served: Served, size: int = HALF_A_GIGABYTE, *fields: str) -> Wire:
    """Send the beginning of a form of more than `size` bytes, with the file before the field."""
    wire = Wire(served.app.port)
    begun = form_begun(("file", "a.bin", b""))
    wire.send(
        form_head(len(begun) + FIRST_BYTES + size, *fields, target="/needs")
        + begun
        + bytes(FIRST_BYTES)
    )
    return wire


def check_body_is_held_in_memory(served: Served, wire: Wire) -> None:
    """Check that the server sends no answer, and that its memory grows with the body."""
    assert wire.silent(QUIET)
    meter = MemoryMeter(served.app.process.pid)
    before = meter.now()
    wire.send(bytes(64 * MIB))
    eventually(lambda: meter.now() - before > 48 * MIB, "the body is in memory")


def check_refusal(answer: Answer) -> None:
    assert (answer.status, answer.code) == (422, "missing-field")
    assert "'title'" in answer.json()["detail"]


@pytest.mark.parametrize("served", SPEAKS_HTTP2, indirect=True)
def test_a_body_without_length_over_http2_is_refused(served: Served) -> None:
    """HTTP/2 has no header for such a body. It is refused readably, not taken as empty."""
    need("curl")
    url = f"{served.app.url}/raw"
    command = [
        "curl",
        "-sS",
        "--max-time",
        "20",
        "--http2-prior-knowledge",
        "-X",
        "PUT",
        "-T",
        "-",
        url,
    ]
    for _ in range(5):  # a client that sends during the answer may get a reset
        run = subprocess.run(command, input=b"abc", capture_output=True, timeout=30, check=False)
        if run.returncode == 0:
            break

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["code"] == "length-required"


@pytest.mark.parametrize("name", ["flask run", "gunicorn gthread"])
@pytest.mark.parametrize("target", ["/raw", "/save"])
def test_a_silent_client_does_not_hold_a_thread(name: str, target: str, tmp_path: Path) -> None:
    """Where the server itself would wait for ever: a readable 408, and nothing is saved."""
    with running(name, tmp_path, Backend(), SILENCE="1") as app, Wire(app.port) as wire:
        begun = form_begun(("f", "a.bin", b"")) if target == "/save" else b""
        wire.send(
            (
                form_head(1 << 20, target=target)
                if begun
                else head("PUT", target, "Content-Length: 1000000")
            )
            + begun
            + b"x"
        )
        answer = wire.answer()

        assert (answer.status, answer.code) == (408, "too-slow")
        assert not list(app.folder.iterdir())


def test_a_warning_names_a_server_that_stores_first_once(served: Served) -> None:
    """It is printed at the first body, with the remedy; other servers print none."""
    for _ in range(2):
        with Wire(served.app.port) as wire:
            wire.send(head("POST", "/raw", "Content-Length: 3") + b"abc")
            assert wire.answer().status == 200
    printed = served.app.printed.read_text("utf-8", "replace")

    assert printed.count("stores a whole body before it runs the app") == (
        served.name in STORES_FIRST
    )
    assert ("gunicorn with -k gthread" in printed) == (served.name in STORES_FIRST)


@pytest.mark.skipif("WRITE_TABLE" in os.environ, reason="the page is being written")
def test_the_page_has_each_server_and_no_empty_cell(table: Table) -> None:
    """And no cell that no test checks."""
    assert set(table.cells) == {(server, column) for server in SERVERS for column in COLUMNS}, (
        TO_WRITE
    )
    assert all(table.cells.values()), TO_WRITE
    assert f"{BEGIN}{table.text()}{END}" in PAGE.read_text("utf-8"), TO_WRITE
