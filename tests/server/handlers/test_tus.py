"""The core of tus 1.0.0 over a real server: versions, offsets, refusals, and what is kept of them.

Each test names the rule it is of: of the text itself, or what was chosen where that leaves it open.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from raw_http import Wire, chunk, chunked, head
from tus_by_hand import OFFSET_STREAM, Tus, coded, creation

DATA = noise(100_003)
EXTENSIONS = {
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "checksum-trailer",
    "termination",
    "concatenation",
    "concatenation-unfinished",
}


@pytest.fixture
def tus(taker: RunningServer) -> Iterator[Tus]:
    client = Tus(taker.url)
    yield client
    client.session.close()


def stored_as(taker: RunningServer, name: str) -> bytes:
    """The bytes of the one object with this file name."""
    (key,) = [key for key in taker.stored() if key.endswith(f"/{name}")]
    return (taker.root / key).read_bytes()


@pytest.mark.parametrize("version", [None, "1.0.0", "0.2.2"])
@pytest.mark.parametrize("path", ["/files", "/uploads/x"])
def test_options_say_what_is_spoken(tus: Tus, path: str, version: str | None) -> None:
    """Without a body; Tus-Resumable of the request does not matter."""
    response = tus.send("OPTIONS", path, version=version)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Tus-Resumable"] == response.headers["Tus-Version"] == "1.0.0"
    assert set(response.headers["Tus-Extension"].split(",")) == EXTENSIONS
    assert response.headers["Tus-Checksum-Algorithm"].split(",")[0] == "sha1"
    assert "Tus-Max-Size" not in response.headers


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.0, 1.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH"])
def test_another_version_is_refused_and_nothing_is_done(
    tus: Tus, method: str, version: str | None
) -> None:
    """412 with Tus-Version, also for none."""
    upload = tus.create(3)
    url = "/files" if method == "POST" else upload
    fields = creation(3) | {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
    response = tus.send(method, url, b"" if method == "HEAD" else b"abc", version, **fields)
    assert response.status_code == 412
    assert response.headers["Tus-Version"] == "1.0.0"
    assert tus.offset(upload) == 0


def test_an_upload_comes_in_pieces(tus: Tus, taker: RunningServer) -> None:
    """HEAD tells offset, length and metadata as they were sent; 204 with the new offset."""
    upload = tus.create(len(DATA), filename="pieces.bin", note="ä")
    shown = tus.head(upload)
    assert shown.headers["Upload-Offset"] == "0"
    assert shown.headers["Upload-Length"] == str(len(DATA))
    assert shown.headers["Upload-Metadata"] == coded(filename="pieces.bin", note="ä")
    assert shown.headers["Cache-Control"] == "no-store"
    assert "Upload-Defer-Length" not in shown.headers
    for start in range(0, len(DATA), 40_000):
        piece = DATA[start : start + 40_000]
        response = tus.patch(upload, start, piece)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["Upload-Offset"] == str(start + len(piece))
        assert tus.offset(upload) == start + len(piece)
    assert stored_as(taker, "pieces.bin") == DATA
    assert tus.offset(upload) == len(DATA), "a finished upload is still found"
    assert tus.session.get(taker.url + response.headers["Content-Location"]).content == DATA


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "1e1"}, 400),
        ({"Upload-Offset": "2, 2"}, 400),
        ({"Upload-Offset": ""}, 400),
        ({"Upload-Offset": "1"}, 409),
        ({"Upload-Offset": "3"}, 409),
        ({"Upload-Offset": str(2**53)}, 409),
        ({"Upload-Offset": str(10**15)}, 409),
        ({"Upload-Offset": str(2**63)}, 409),
        ({"Upload-Offset": "9" * 30}, 409),
    ],
)
def test_a_wrong_patch_changes_nothing(tus: Tus, fields: dict[str, str], status: int) -> None:
    """Each error has the version; 409 also has the right offset."""
    upload = tus.create(10)
    assert tus.patch(upload, 0, b"ab").status_code == 204
    response = tus.patch(upload, 2, b"cd", **fields)
    assert response.status_code == status, response.text
    assert response.headers["Tus-Resumable"] == "1.0.0"
    assert response.headers.get("Upload-Offset") == ("2" if status == 409 else None)
    assert tus.offset(upload) == 2
    assert tus.patch(upload, 2, b"cdefghij").status_code == 204


def test_an_unknown_upload_is_not_found(tus: Tus) -> None:
    """404 without Upload-Offset."""
    url = "/uploads/" + "x" * 22
    for response in (tus.head(url), tus.patch(url, 0, b"x"), tus.delete(url)):
        assert response.status_code == 404
        assert response.headers["Tus-Resumable"] == "1.0.0"
        assert "Upload-Offset" not in response.headers


def test_other_methods_are_named(tus: Tus) -> None:
    response = tus.send("PUT", tus.create(1), b"x")
    assert response.status_code == 405
    assert {"HEAD", "PATCH", "DELETE"} <= set(response.headers["Allow"].split(", "))


def test_a_complete_upload_takes_nothing_more(tus: Tus) -> None:
    """An empty PATCH at its end repeats the answer; bytes are 413, another offset is 409."""
    upload = tus.create(3)
    first = tus.patch(upload, 0, b"abc")
    again = tus.patch(upload, 3)
    assert (again.status_code, again.headers["Upload-Offset"]) == (204, "3")
    assert again.headers["Content-Location"] == first.headers["Content-Location"]
    assert tus.patch(upload, 3, b"d").status_code == 413
    conflict = tus.patch(upload, 0, b"abc")
    assert (conflict.status_code, conflict.headers["Upload-Offset"]) == (409, "3")


def test_an_empty_patch_is_no_error(tus: Tus) -> None:
    upload = tus.create(3)
    assert tus.patch(upload, 0).headers["Upload-Offset"] == "0"


def test_a_body_without_a_length_is_taken(tus: Tus, taker: RunningServer) -> None:
    upload = tus.create(len(DATA), filename="chunked.bin")
    assert tus.patch(upload, 0, iter([DATA[:70_000], DATA[70_000:]])).status_code == 204
    assert stored_as(taker, "chunked.bin") == DATA


def test_a_body_that_goes_on_too_long_is_413(tus: Tus, taker: RunningServer) -> None:
    """With a length nothing of it is read; without one, the bytes up to the length are kept."""
    upload = tus.create(10)
    assert tus.patch(upload, 0, b"x" * 11).status_code == 413
    assert tus.offset(upload) == 0
    response = tus.patch(upload, 0, iter([b"x" * 11]))
    assert response.status_code == 413
    assert response.headers["Tus-Resumable"] == "1.0.0"
    assert tus.offset(upload) == 10
    with Wire(taker.port) as wire:  # it never ends
        wire.send(patch_head(tus.create(10), "Transfer-Encoding: chunked") + chunk(b"x" * 1000))
        assert wire.answer().status == 413


def patch_head(upload: str, *fields: str, offset: int = 0) -> bytes:
    path = "/uploads/" + upload.rpartition("/")[2]
    return head(
        "PATCH",
        path,
        "Tus-Resumable: 1.0.0",
        f"Upload-Offset: {offset}",
        f"Content-Type: {OFFSET_STREAM}",
        *fields,
    )


@pytest.mark.parametrize("how", ["end", "reset", "stall"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_what_arrived_before_a_cut_is_kept(
    tus: Tus, taker: RunningServer, how: str, framing: str
) -> None:
    """Another request does not wait for the one before it."""
    upload = tus.create(len(DATA), filename=f"cut-{how}-{framing}.bin")
    with Wire(taker.port) as wire:
        if framing == "length":
            begun = patch_head(upload, f"Content-Length: {len(DATA)}") + DATA[:50_000]
        else:
            begun = patch_head(upload, "Transfer-Encoding: chunked") + chunk(DATA[:50_000])
        wire.send(begun)
        eventually(lambda: tus.progress(upload)["received"] == 50_000, "the bytes to arrive")
        if how == "end":
            wire.half_close()
            assert "; 50000 bytes of the upload are kept." in wire.answer().json()["detail"]
        elif how == "reset":
            wire.reset()
        assert tus.offset(upload) == 50_000
        assert tus.patch(upload, 50_000, DATA[50_000:]).status_code == 204
    assert stored_as(taker, f"cut-{how}-{framing}.bin") == DATA


def test_the_request_before_is_answered_that_another_one_came(
    tus: Tus, taker: RunningServer
) -> None:
    """409, which clients try again."""
    upload = tus.create(100)
    with Wire(taker.port) as wire:
        wire.send(patch_head(upload, "Content-Length: 100") + b"x" * 40)
        eventually(lambda: tus.progress(upload)["received"] == 40, "the bytes to arrive")
        assert tus.offset(upload) == 40
        answer = wire.answer()
        assert (answer.status, answer.headers["tus-resumable"]) == (409, "1.0.0")


def test_many_requests_at_once_agree(tus: Tus, taker: RunningServer) -> None:
    """Of eight clients that send the same piece at least one succeeds, and the bytes are right."""
    upload = tus.create(len(DATA), filename="at-once.bin")
    answers: list[int] = []

    def send() -> None:
        client = Tus(taker.url)
        with client.session:
            answers.append(client.patch(upload, 0, DATA).status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {204, 409}
    while (offset := tus.offset(upload)) < len(DATA):
        tus.patch(upload, offset, DATA[offset:])
    assert stored_as(taker, "at-once.bin") == DATA


@pytest.mark.parametrize("name", ["PATCH", "patch", "Delete", "HEAD"])
def test_a_post_may_name_another_method(tus: Tus, name: str) -> None:
    """X-HTTP-Method-Override: for clients whose proxies let only GET and POST pass."""
    upload = tus.create(5)
    fields = {"X-HTTP-Method-Override": name}
    if name.upper() == "PATCH":
        fields |= {"Content-Type": OFFSET_STREAM, "Upload-Offset": "0"}
    response = tus.send("POST", upload, b"ab" if name.upper() == "PATCH" else b"", **fields)
    assert response.status_code == (200 if name == "HEAD" else 204)
    if name == "Delete":
        assert tus.head(upload).status_code == 410
    else:
        assert response.headers["Upload-Offset"] == ("0" if name == "HEAD" else "2")


def test_only_a_post_may_name_another_method(tus: Tus) -> None:
    """A GET never deletes, and a POST is never more than the methods of tus."""
    upload = tus.create(5)
    response = tus.send("GET", upload, X_HTTP_Method_Override="DELETE")
    assert response.status_code == 200
    assert tus.offset(upload) == 0
    for name in ("PUT", "GET", "MOVE", ""):
        response = tus.send("POST", upload, X_HTTP_Method_Override=name)
        assert response.status_code == 405
    assert tus.send("POST", upload).status_code == 405


def test_progress_is_right_between_and_after_requests(tus: Tus, serve: Serve) -> None:
    """At rest, after the finish, and after a restart of the server."""
    upload = tus.create(5)
    tus.patch(upload, 0, b"ab")
    at_rest = tus.progress(upload)
    assert {name: at_rest[name] for name in ("state", "kept", "received", "length", "code")} == {
        "state": "waiting",
        "kept": 2,
        "received": 2,
        "length": 5,
        "code": None,
    }
    tus.patch(upload, 2, b"cde")
    tus.head(upload)
    assert (tus.progress(upload)["state"], tus.progress(upload)["kept"]) == ("complete", 5)
    server = serve()
    client = Tus(server.url)
    resting, ended, cancelled = client.create(5), client.create(1), client.create(1)
    client.patch(resting, 0, b"abc")
    client.patch(ended, 0, b"a")
    client.delete(cancelled)
    server.stop()
    server = serve(root=server.root)
    client = Tus(server.url)
    found = [
        client.progress(server.url + "/uploads/" + upload.rpartition("/")[2])
        for upload in (resting, ended, cancelled)
    ]
    assert [(each["state"], each["kept"]) for each in found] == [
        ("waiting", 3),
        ("complete", 1),
        ("cancelled", 0),
    ]
    assert found[2]["code"] == "cancelled"


def test_every_process_of_a_server_knows_every_upload(serve: Serve) -> None:
    """Each request has a connection of its own, and so comes to any of the processes."""
    server = serve("--workers", "2")
    upload = Tus(server.url).create(20_000)
    for start in range(0, 20_000, 1000):
        client = Tus(server.url)
        with client.session:
            assert client.patch(upload, start, b"x" * 1000).status_code == 204
        watcher = Tus(server.url)
        with watcher.session:
            assert watcher.progress(upload)["kept"] == start + 1000
            assert watcher.offset(upload) == start + 1000
    for _ in range(8):
        watcher = Tus(server.url)
        with watcher.session:
            assert watcher.progress(upload)["state"] == "complete"


def test_an_upload_can_be_cancelled_by_any_client(tus: Tus, taker: RunningServer) -> None:
    """DELETE without Tus-Resumable, as for any upload; what has ended has nothing to cancel."""
    upload = tus.create(5)
    with Wire(taker.port) as wire:
        wire.send(patch_head(upload, "Content-Length: 5") + b"x")
        eventually(lambda: tus.progress(upload)["received"] == 1, "the byte to arrive")
        assert requests.delete(upload, timeout=10).status_code == 204
        answer = wire.answer()
        assert answer.json()["detail"] == "Another request has cancelled this upload"
    assert tus.head(upload).status_code == 410
    assert tus.progress(upload)["state"] == "cancelled"
    assert requests.delete(upload, timeout=10).status_code == 404
    whole = tus.create(1)
    tus.patch(whole, 0, b"x")
    assert requests.delete(whole, timeout=10).status_code == 404


def test_a_chunked_body_in_small_chunks_is_taken(tus: Tus, taker: RunningServer) -> None:
    upload = tus.create(300)
    with Wire(taker.port) as wire:
        wire.send(patch_head(upload, "Transfer-Encoding: chunked") + chunked(b"y" * 300, 7))
        answer = wire.answer()
    assert (answer.status, answer.headers["upload-offset"]) == (204, "300")
