"""PUT in pieces, found again by the key: curl -C, Content-Range, Upload-Offset, a cut plain PUT."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from put_pieces import cut, kept, piece, put
from raw_http import LAST_CHUNK, Wire, chunk, head, talk
from sluiceway.uploads.resumable.plain_puts import ANNOUNCE_AFTER

CURL = shutil.which("curl")
QUIET = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(Path(tmp_path_factory.mktemp("partial")) / "root")
    yield running
    running.stop()


def curl(server: RunningServer, file: Path, *options: str, key: str) -> str:
    """The status that curl saw."""
    if CURL is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [CURL, *QUIET, "-T", str(file), *options, f"{server.url}/files/{key}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_pieces_become_one_file(server: RunningServer) -> None:
    """Each but the last is answered 308 with what is kept, the last as a PUT of the whole."""
    whole = noise(10_000)
    assert kept(server, "pieces") == 0
    first = piece(server, "pieces", whole, 0, 4000)
    assert (first.status, first.headers["range"]) == (308, "bytes=0-3999")
    assert first.headers["upload-complete"] == "?0"
    assert piece(server, "pieces", whole, 4000, 9999).headers["upload-offset"] == "9999"
    assert kept(server, "pieces", 10_000) == 9999
    assert "pieces" not in server.stored()
    last = piece(server, "pieces", whole, 9999, 10_000)
    assert (last.status, last.headers["location"]) == (201, "/files/pieces")
    assert last.json()["files"][0]["sha-256"] == hashlib.sha256(whole).hexdigest()
    assert (server.root / "pieces").read_bytes() == whole


def test_a_piece_that_does_not_follow_changes_nothing(server: RunningServer) -> None:
    whole = noise(1000)
    assert piece(server, "follow", whole, 500, 1000).headers["upload-offset"] == "0"
    piece(server, "follow", whole, 0, 400)
    for start in (300, 401, 999):
        answer = piece(server, "follow", whole, start, 1000)
        assert (answer.status, answer.headers["upload-offset"]) == (409, "400")
        assert answer.json()["expected-offset"] == 400
    assert kept(server, "follow") == 400
    assert "follow" not in server.stored()


WRONG = {
    "another total": (400, "Content-Range: bytes 400-999/1001"),
    "a range of another size": (400, "Content-Range: bytes 400-998/1000"),
    "no range": (400, "Content-Range: bytes"),
    "another unit": (400, "Content-Range: items 400-999/1000"),
    "a question with content": (400, "Content-Range: bytes */1000"),
    "a range behind the end": (400, "Content-Range: bytes 400-1000/1000"),
    "huge numbers": (400, "Content-Range: bytes 400-99999999999999999999/999999999999999999999"),
    "an offset that is none": (400, "Upload-Offset: x"),
    "two offsets": (400, "Upload-Offset: 400, 400"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_itself_is_refused(server: RunningServer, case: str) -> None:
    whole = noise(1000)
    key = f"wrong-{list(WRONG).index(case)}"
    piece(server, key, whole, 0, 400)
    status, field = WRONG[case]
    assert put(server, key, whole[400:], field).status == status
    assert kept(server, key) == 400


@pytest.mark.parametrize("stop", [100, 200])
def test_a_chunked_piece_is_no_longer_than_its_range(server: RunningServer, stop: int) -> None:
    """What is beyond is of no piece; the upload goes on."""
    whole, key = noise(200), f"range-{stop}"
    piece(server, key, whole, 0, 50)
    fields = [f"Content-Range: bytes 50-{stop - 1}/200", "Transfer-Encoding: chunked"]
    body = chunk(whole[50:stop]) + chunk(b"x" * 30) + LAST_CHUNK
    answer = talk(server.port, head("PUT", f"/files/{key}", *fields) + body)
    assert (answer.status, answer.code) == (400, "inconsistent-length")
    if stop == 100:
        offset = kept(server, key)
        assert 50 <= offset <= stop
        assert piece(server, key, whole, offset, 200).status == 201
    else:
        assert put(server, key, b"", "Content-Range: bytes */200").status in (201, 308)


def test_the_total_may_come_late(server: RunningServer) -> None:
    """A producer does not know it: the last piece says it, or a question without content."""
    for key in ("late-piece", "late-question"):
        assert put(server, key, b"hello", "Content-Range: bytes 0-4/*").status == 308
    done = put(server, "late-piece", b"world", "Content-Range: bytes 5-9/10")
    assert done.status == 201
    assert put(server, "late-question", b"", "Content-Range: bytes */5").status == 201
    assert put(server, "late-short", b"hello", "Content-Range: bytes 0-4/*").status == 308
    short = put(server, "late-short", b"", "Content-Range: bytes */4")
    assert (short.status, short.code) == (400, "inconsistent-length")
    assert server.stored()["late-piece"] == 10
    assert server.stored()["late-question"] == 5


def test_a_lost_last_response_comes_again(server: RunningServer) -> None:
    """To the same piece and to the question; another piece is told what is there."""
    whole = noise(1000)
    piece(server, "again", whole, 0, 500)
    first = piece(server, "again", whole, 500, 1000)
    for answer in (
        piece(server, "again", whole, 500, 1000),
        put(server, "again", b"", "Content-Range: bytes */1000"),
    ):
        assert (answer.status, answer.body) == (first.status, first.body)
    assert piece(server, "again", whole, 400, 900).headers["upload-offset"] == "1000"
    for start, data in ((500, bytes(1000)), (400, whole)):  # other bytes; none ended it so
        other = piece(server, "again", data, start, 1000)
        assert (other.status, other.headers["upload-offset"]) == (409, "1000")


def test_a_new_beginning_forgets_what_was_kept(server: RunningServer) -> None:
    """Also of another length, and after the file was stored: then it is replaced."""
    old, new = noise(1000), noise(700, seed=1)
    piece(server, "anew", old, 0, 600)
    assert piece(server, "anew", new, 0, 100).headers["upload-offset"] == "100"
    assert piece(server, "anew", new, 100, 700).status == 201
    assert (server.root / "anew").read_bytes() == new
    assert piece(server, "anew", old, 0, 1000).status == 200  # replaced
    assert (server.root / "anew").read_bytes() == old


def test_a_cancelled_upload_can_begin_anew(server: RunningServer) -> None:
    """DELETE of the file's path is about the stored file; the upload ends by its id."""
    whole = noise(1000)
    upload = f"put-{hashlib.sha256(b'ended').hexdigest()[:40]}"
    piece(server, "ended", whole, 0, 600)
    assert requests.delete(f"{server.url}/uploads/{upload}", timeout=10).status_code == 204
    assert kept(server, "ended") == 0
    assert piece(server, "ended", whole, 0, 500).headers["upload-offset"] == "500"
    assert piece(server, "ended", whole, 500, 1000).status == 201


def test_conditions_hold_until_the_end(server: RunningServer) -> None:
    """They stand in the first piece, and are checked when the file gets its name."""
    whole = b"0123456789"
    first = put(server, "cond", whole[:5], "Content-Range: bytes 0-4/10", "If-None-Match: *")
    assert first.status == 308
    assert put(server, "cond", b"faster").status == 201
    assert piece(server, "cond", whole, 5, 10).status in (409, 412)
    assert (server.root / "cond").read_bytes() == b"faster"


def test_a_chunked_piece_goes_on_by_its_offset(server: RunningServer) -> None:
    whole = noise(300_000)
    assert piece(server, "offset", whole, 0, 100_000).status == 308
    assert kept(server, "offset") == 100_000
    fields = ["Transfer-Encoding: chunked", "Upload-Offset: 100000"]
    body = chunk(whole[100_000:]) + LAST_CHUNK
    assert talk(server.port, head("PUT", "/files/offset", *fields) + body).status == 201
    assert (server.root / "offset").read_bytes() == whole


@pytest.mark.parametrize("fields", [[], ["Content-Range: bytes 0-299999/300000"]])
def test_a_cut_put_goes_on(server: RunningServer, fields: list[str]) -> None:
    """One with no mark at all as well: what it brought is kept when it is cut."""
    whole, key = noise(300_000), f"cut{len(fields)}"
    answer = cut(server, key, whole, 200_000, *fields)
    assert answer.status == 400
    eventually(lambda: kept(server, key) == 200_000)
    assert key not in server.stored()
    last = put(server, key, whole[200_000:], "Upload-Offset: 200000")
    assert last.status == 201
    assert last.json()["files"][0]["sha-256"] == hashlib.sha256(whole).hexdigest()
    assert (server.root / key).read_bytes() == whole


def test_a_cut_answer_says_where_to_go_on(server: RunningServer) -> None:
    answer = cut(server, "told", noise(300_000), 200_000)
    assert (answer.code, answer.headers["upload-offset"]) == ("body-cut", "200000")
    assert "; 200000 bytes of the upload are kept." in answer.json()["detail"]


def test_a_question_at_once_waits_for_what_a_cut_put_sent(server: RunningServer) -> None:
    """The server has not read all of it when the question comes."""
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/at-once", "Content-Length: 3000000"))
        wire.send(noise(2_000_000))
    assert kept(server, "at-once") == 2_000_000


def test_little_that_was_cut_is_not_kept(server: RunningServer) -> None:
    answer = cut(server, "little", noise(1000), 900)
    assert "upload-offset" not in answer.headers
    assert "; nothing was stored." in answer.json()["detail"]
    assert kept(server, "little") == 0


def test_curl_goes_on_where_it_was(server: RunningServer, tmp_path: Path) -> None:
    """A killed curl -T had no mark; curl -C OFFSET sends the rest."""
    file = tmp_path / "file"
    file.write_bytes(noise(16 << 20))
    if CURL is None:
        pytest.skip("curl is not installed")
    slow = [CURL, "-sS", "-T", str(file), "--limit-rate", "800k"]
    watched = "curl-that-is-killed-0123456789"
    sending = subprocess.Popen([*slow, f"{server.url}/files/curl?upload={watched}"])
    progress = f"{server.url}/uploads/{watched}"
    eventually(lambda: requests.get(progress, timeout=10).json().get("received", 0) > 200_000)
    sending.kill()
    sending.wait()
    eventually(lambda: kept(server, "curl") > 0)
    offset = kept(server, "curl")
    assert 200_000 <= offset < 16 << 20
    assert curl(server, file, "-C", str(offset), key="curl") == "201"
    assert (server.root / "curl").read_bytes() == file.read_bytes()
    assert curl(server, file, "-C", "-", key="curl") == "200"  # the whole file, with its range


def test_curl_from_a_wrong_offset_is_refused(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(noise(1 << 20))
    assert curl(server, file, "-C", "1000", key="curl-wrong") == "409"
    assert "curl-wrong" not in server.stored()


def test_pieces_survive_kill_9(serve: Serve, tmp_path: Path) -> None:
    """Every offset that was told counts after the restart."""
    whole, root = noise(1 << 20), tmp_path / "kept"
    first = serve(root=root)
    assert piece(first, "killed", whole, 0, 700_000).status == 308
    with Wire(first.port) as wire:
        span = f"Content-Range: bytes 700000-{len(whole) - 1}/{len(whole)}"
        length = f"Content-Length: {len(whole) - 700_000}"
        wire.send(head("PUT", "/files/killed", span, length) + whole[700_000:900_000])
        first.stop(signal.SIGKILL)
    second = serve(root=root)
    offset = kept(second, "killed")
    assert offset >= 700_000
    done = piece(second, "killed", whole, offset, len(whole))
    assert done.status == 201
    assert (root / "killed").read_bytes() == whole


HANGING: list[Wire] = []  # connections of PUTs that their clients left open
FORM = b"--B\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n"


def hang(server: RunningServer, key: str, new: bytes) -> None:
    """A small PUT whose line is dead."""
    HANGING.append(Wire(server.port))
    HANGING[-1].send(head("PUT", f"/files/{key}", "Content-Length: 60000") + new[:30_000])


NEWER: dict[str, Callable[[RunningServer, str, bytes], object]] = {
    "cut": lambda server, key, new: cut(server, key, new, 30_000),
    "stored": lambda server, key, new: put(server, key, new),
    "stored, and a third one cut": lambda server, key, new: (
        put(server, key, new[::-1]),
        cut(server, key, new, 30_000),
    ),
    "small and stored": lambda server, key, new: put(server, key, new[:100]),
    "small and silent": hang,
    "a form that is cut": lambda server, key, new: cut(
        server, key, FORM + new, 200_000, "Content-Type: multipart/form-data; boundary=B"
    ),
    "begun by tus": lambda server, key, new: put(
        server, key, b"", "Tus-Resumable: 1.0.0", f"Upload-Length: {len(new)}"
    ),
    "begun by another protocol": lambda server, key, new: put(
        server, key, new[:200_000], "Upload-Complete: ?0", "Upload-Draft-Interop-Version: 6"
    ),
    "stored by pieces of another protocol": lambda server, key, new: put(
        server, key, new, "Upload-Complete: ?1", "Upload-Draft-Interop-Version: 8"
    ),
}


@pytest.mark.parametrize("case", NEWER)
def test_bytes_of_two_puts_are_never_mixed(server: RunningServer, case: str) -> None:
    """Whatever a newer PUT of the key came to: what an older one left is no beginning of it."""
    old, new, key = b"1" * 300_000, b"2" * 300_000, f"mixed-{list(NEWER).index(case)}"
    cut(server, key, old, 200_000)
    eventually(lambda: kept(server, key) == 200_000)
    NEWER[case](server, key, new)
    eventually(lambda: kept(server, key) == 0)
    while HANGING:
        HANGING.pop().close()
    late = piece(server, key, new, 200_000, 300_000)
    assert (late.status, late.headers["upload-offset"]) == (409, "0")
    assert piece(server, key, new, 0, 300_000).status in (200, 201)
    assert (server.root / key).read_bytes() == new


def test_a_put_that_a_kill_ended_leaves_no_older_bytes(serve: Serve, tmp_path: Path) -> None:
    old, new, root = b"1" * 300_000, b"2" * 300_000, tmp_path / "mixed"
    first = serve(root=root)
    cut(first, "k", old, 200_000)
    eventually(lambda: kept(first, "k") == 200_000)
    with Wire(first.port) as wire:
        lines = ["Content-Length: 300000", "Expect: 100-continue"]
        wire.send(head("PUT", "/files/k", *lines))
        assert wire.interim() == 100  # it has begun
        wire.send(new[:30_000])
        first.stop(signal.SIGKILL)
    assert kept(serve(root=root), "k") == 0


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_file_that_is_not_there_is_never_said_to_be_stored(
    server: RunningServer, change: str
) -> None:
    """A script asks first: the response of yesterday's upload would end it."""
    whole, key = noise(1000), f"said-{change}"
    piece(server, key, whole, 0, 500)
    assert piece(server, key, whole, 500, 1000).status == 201
    if change == "deleted":
        requests.delete(f"{server.url}/files/{key}", timeout=10)
    else:
        put(server, key, b"other")
    again = piece(server, key, whole, 500, 1000)
    assert (again.status, again.headers["upload-offset"]) == (409, "0")
    assert kept(server, key) == 0
    assert piece(server, key, whole, 0, 1000).status in (200, 201)
    assert put(server, key, b"", "Content-Range: bytes */1000").status in (200, 201)


def test_a_question_ends_an_upload_that_has_all_its_bytes(server: RunningServer) -> None:
    """A kill or a cut came between the last byte and the file's name. The length is known."""
    whole = noise(1000)
    assert piece(server, "asked", whole, 0, 700).status == 308
    with Wire(server.port) as wire:
        fields = ["Content-Range: bytes 700-999/1000", "Transfer-Encoding: chunked"]
        wire.send(head("PUT", "/files/asked", *fields) + chunk(whole[700:]))
        wire.half_close()  # without the last chunk
        assert wire.answer().status == 400
    assert "asked" not in server.stored()
    assert put(server, "asked", b"", "Content-Range: bytes */*").status == 201
    assert (server.root / "asked").read_bytes() == whole


def test_a_whole_file_is_written_down_nowhere(serve: Serve) -> None:
    """A PUT, a POST and a form change no byte of the ledger: it is for uploads that are cut."""
    server = serve()

    def content() -> dict[str, bytes]:
        files = (server.root / ".sluiceway").glob("uploads.sqlite*")
        # SQLite notes its readers in -shm, which no power cut has to outlive.
        return {path.name: path.read_bytes() for path in files if path.suffix != ".sqlite-shm"}

    assert piece(server, "cut", noise(10), 0, 5).status == 308
    before = content()
    assert before
    for size in (0, 100, 3 << 20):
        began = time.monotonic()
        assert put(server, f"plain{size}", noise(size)).status == 201
        if time.monotonic() - began >= ANNOUNCE_AFTER:  # on a busy machine it was announced
            before = content()
        posted = head("POST", "/files?name=x", f"Content-Length: {size}") + noise(size)
        assert talk(server.port, posted).status == 201
    assert content() == before
