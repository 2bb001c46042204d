"""The bench's own parts against a plain sink.

What it sends, what it refuses to believe, what it writes down.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.answer import Answer  # noqa: E402
from bench.contenders import Contender  # noqa: E402
from bench.process import Failed  # noqa: E402
from bench.relay import (  # noqa: E402
    NGINX_UNBUFFERED,
    RELAY_FORM,
    relay_rounds,
)
from bench.relay_rows import relay_groups  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.run import size_of  # noqa: E402
from bench.sending import sending_rows  # noqa: E402
from bench.stored import check_same, make_source, sha256_of  # noqa: E402
from bench.svg import Line, Panel, chart  # noqa: E402
from bench.table import RATE, Row, compare, markdown  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed


SIZE = 3 * 2**20 + 17


class Sink(http.server.BaseHTTPRequestHandler):
    """Keeps the last body in `kept`, serves it again; refuses /no early."""

    protocol_version = "HTTP/1.1"
    kept = b""
    head = ""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Sink.kept, Sink.head = body, self.headers["Content-Type"]
        status = 507 if self.path == "/no" else 201
        self.send_response(status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"said")

    def do_POST(self) -> None:
        self.do_PUT()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(Sink.kept)))
        self.end_headers()
        self.wfile.write(Sink.kept)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: pytest's output is for pytest."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


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


def test_raw_upload_brings_every_byte_of_every_piece(port: int, source: Path) -> None:
    """The sendfile client sends the file, as often as asked, as one body, and times it."""
    code, result = client(
        "bench.send",
        "raw",
        "--port",
        str(port),
        "--path",
        "/x",
        "--source",
        str(source),
        "--repeat",
        "2",
    )

    assert code == 0
    assert (result["status"], result["bytes"]) == (201, 2 * SIZE)
    assert isinstance(result["seconds"], float)
    assert result["seconds"] > 0
    assert source.read_bytes() * 2 == Sink.kept


def test_form_upload_is_one_form_with_the_file_in_it(port: int, source: Path) -> None:
    """The body has the file's bytes between a head that names it and the final boundary."""
    code, _ = client(
        "bench.send", "form", "--port", str(port), "--path", "/x", "--source", str(source)
    )
    boundary = Sink.head.partition("boundary=")[2].encode()
    pieces = Sink.kept.split(b"--" + boundary)

    assert code == 0
    assert [pieces[0], pieces[-1]] == [b"", b"--\r\n"]
    head, _, body = pieces[2].partition(b"\r\n\r\n")
    assert b'filename="upload.bin"' in head
    assert body == source.read_bytes() + b"\r\n"


def test_refusal_is_not_counted_as_a_transfer(port: int, source: Path) -> None:
    """A response that is no success ends the client with an error and the server's words."""
    code, result = client(
        "bench.send", "raw", "--port", str(port), "--path", "/no", "--source", str(source)
    )

    assert code == 1
    assert (result["status"], result["answer"]) == (507, "said")


def test_download_is_hashed_when_asked(port: int, source: Path) -> None:
    """The verification trip tells the sha-256 of what came; the timed trip tells none."""
    client("bench.send", "raw", "--port", str(port), "--path", "/x", "--source", str(source))
    words = ("bench.send", "get", "--port", str(port), "--path", "/x")

    assert client(*words)[1]["sha-256"] is None
    code, result = client(*words, "--hash")
    assert code == 0
    assert (result["bytes"], result["sha-256"]) == (
        SIZE,
        hashlib.sha256(source.read_bytes()).hexdigest(),
    )


def test_small_uploads_are_counted_by_their_answers(port: int, tmp_path: Path) -> None:
    """The keep-alive client counts whole responses over several connections."""
    body = make_source(tmp_path / "body", 1000)
    words = (
        "--port",
        str(port),
        "--path",
        "/{name}",
        "--body",
        str(body),
        "--connections",
        "3",
        "--seconds",
        "0.2",
    )
    code, result = client("bench.burst", *words)

    assert code == 0
    assert isinstance(result["answered"], int)
    assert result["answered"] >= 3
    assert Sink.kept == body.read_bytes()


@pytest.mark.parametrize("spoil", ["shorter", "changed", "sparse", "missing", "two"])
def test_a_stored_file_that_is_not_the_source_is_found_out(
    tmp_path: Path, source: Path, spoil: str
) -> None:
    """No figure counts if the stored file is short, changed, a hole, absent or not the only one."""
    to = tmp_path / "place" / "to"
    to.mkdir(parents=True)
    stored = to / "stored"
    stored.write_bytes(source.read_bytes())
    digest = sha256_of(source)
    check_same(to, SIZE, digest)
    if spoil == "shorter":
        stored.write_bytes(source.read_bytes()[:-1])
    elif spoil == "changed":
        stored.write_bytes(b"!" + source.read_bytes()[1:])
    elif spoil == "sparse":
        with stored.open("wb") as file:
            file.truncate(SIZE)
    elif spoil == "missing":
        stored.unlink()
    else:
        (to / "other").write_bytes(b"")

    with pytest.raises(Failed):
        check_same(to, SIZE, digest)


def test_ratio_is_the_median_of_paired_ratios_against_the_best_peer() -> None:
    """The best peer is the one with the highest median, and a missed goal is said."""
    peers = {"slow": [0.1e9, 9e9, 0.1e9], "fast": [1e9, 0.5e9, 2e9]}
    row = compare("raw", [2e9, 1e9, 2e9], peers, 2.5, RATE)

    assert row == Row(
        "raw",
        "2.00 GB/s (1.00-2.00)",
        "fast: 1.00 GB/s (0.50-2.00)",
        "2.00x (1.00-2.00)",
        ">= 2.5x",
        False,
    )
    assert "| >= 2.5x | **short by 20.0%** |" in markdown([row])


def test_what_was_not_measured_is_not_met() -> None:
    """A row without our number or without a peer has no ratio and no yes."""
    rows = [compare("a", None, {"p": [1.0]}, 1.0, RATE), compare("b", [1.0], {}, 1.0, RATE)]

    assert [(row.met, row.ratio) for row in rows] == [(None, "-"), (None, "-")]
    assert "| not measured |" in markdown(rows[:1])


def test_answer_is_whole_only_with_its_body() -> None:
    """Interim responses are skipped; head and body may come in any pieces."""
    text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc"
    response = Answer()
    states = [response.feed(text[index : index + 1]) for index in range(len(text))]

    assert (response.status, bytes(response.body)) == (201, b"abc")
    assert [False] * (len(text) - 1) + [True] == states


def test_chart_is_well_formed_and_holds_all_lines() -> None:
    """The SVG parses, and every line and label is in it."""
    lines = [Line("ours & more", 0, [(0, 1), (2, 3)]), Line("peer", 1, [(0, 0), (4, 9)])]
    root = ET.fromstring(chart("t", [Panel("RSS <MiB>", lines)], "seconds", ["made here"]))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert {"t", "ours & more", "peer", "RSS <MiB>", "seconds", "made here"} <= set(texts)


def test_sizes_are_read_as_people_write_them() -> None:
    """64MiB, 1G and plain bytes."""
    assert [size_of(text) for text in ("64MiB", "1G", "4096")] == [64 * 2**20, 2**30, 4096]


GROUPS = ("relay", "story", "overlap", "stalled")


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    """A folder like .venv-bench/bin.

    Our own command, and what the peers need where the bench was made already.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, origin in (
        ("sluiceway", Path(sys.executable).parent),
        ("gunicorn", ROOT / ".venv-bench" / "bin"),
    ):
        if (origin / name).exists():
            (folder / name).symlink_to(origin / name)
    return folder


@pytest.mark.torture
def test_the_row_of_forms_sent_runs_with_little(tmp_path: Path, binaries: Path) -> None:
    """Both encoders send a form that the sink understands, byte for byte."""
    (binaries / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (binaries / "python").chmod(0o755)
    said: list[str] = []
    bench = Bench(tmp_path / "work", binaries, 2 << 20, 1, said.append, quick=True)
    bench.work.mkdir()

    result = sending_rows(bench)

    assert not result.failed, said
    assert all(row.ours != "not measured" for row in result.rows)
    assert result.rows[0].best_peer.startswith("requests_toolbelt")


def test_a_form_and_a_raw_body_are_passed_on_in_turn(tmp_path: Path, binaries: Path) -> None:
    """Ours and nginx, where it is installed; every byte arrives, and everyone's time is counted."""
    said: list[str] = []
    bench = Bench(tmp_path / "work", binaries, 2 << 20, 1, said.append, quick=True)
    bench.work.mkdir()
    nginx = [NGINX_UNBUFFERED] if shutil.which("nginx") else []
    series = relay_rounds(bench, [(one, bench.size) for one in (RELAY_FORM, *nginx)])

    assert [one.failed for one in series] == [None] * len(series), said
    for one in series:
        [sent] = one.sent
        assert min(sent.server_cpu, sent.sender_cpu or 0, sent.sink_cpu or 0) > 0


@pytest.mark.torture
@pytest.mark.parametrize("group", GROUPS)
def test_each_row_of_passing_on_runs_with_little(
    tmp_path: Path, binaries: Path, group: str
) -> None:
    """Every command of the relay rows starts, every byte arrives, and ours has each value."""
    said: list[str] = []
    bench = Bench(tmp_path / "work", binaries, 2 << 20, 1, said.append, quick=True)
    bench.work.mkdir()

    def here(peers: tuple[Contender, ...]) -> tuple[Contender, ...]:
        """Those that can be started on this machine."""
        paths = [(peer, Path(peer.command[0].format(bin=binaries))) for peer in peers]
        return tuple(peer for peer, path in paths if path.exists() or shutil.which(str(path)))

    result = relay_groups(0.5)[group](bench, here)

    assert not result.failed, said
    assert result.rows
    assert all(row.ours != "not measured" for row in result.rows)
    if group == "stalled":
        for measured in result.data.values():
            assert isinstance(measured, dict)
            assert (measured["finished"], measured["right"]) == (100, 100)
