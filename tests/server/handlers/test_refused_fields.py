"""What each refusal of an upload's request says, whoever refuses it: the door, a route, a handler.

A client of tus takes a response without its version for one of another server; one of the IETF's
uploads goes on or gives up by Upload-Complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from raw_http import LAST_CHUNK, Answer, chunk, head, talk
from resumable_requests import create, named
from tus_by_hand import OFFSET_STREAM

LIMIT = 1 << 20
ORIGIN = "https://app.example"
TOKEN = "Authorization: Bearer fishcake"
TUS = "Tus-Resumable: 1.0.0"
TYPE = f"Content-Type: {OFFSET_STREAM}"
NO_BODY = "Content-Length: 0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = Path(tmp_path_factory.mktemp("fields")) / "root"
    options = ("--max-size", str(LIMIT), "--expire-after", "100", "--allow-origin", ORIGIN)
    running = start_server(root, *options, env={"SLUICEWAY_TOKEN": "fishcake"})
    yield running
    running.stop()


def ask(server: RunningServer, method: str, path: str, *fields: str, data: bytes = b"") -> Answer:
    return talk(server.port, head(method, path, TOKEN, *fields) + data)


def created(server: RunningServer, *fields: str) -> str:
    """The path of an upload of tus."""
    made = ask(server, "POST", "/files", TUS, NO_BODY, *fields)
    assert made.status == 201, made
    return "/" + made.headers["location"]


def patched(server: RunningServer, path: str, *fields: str) -> Answer:
    return ask(server, "PATCH", path, TUS, TYPE, "Content-Length: 3", *fields, data=b"abc")


def test_each_refusal_names_the_version_of_tus(server: RunningServer) -> None:
    """401 of the door, 404 and 405 of the routes, 400 of what cannot be read."""
    upload = created(server, "Upload-Length: 9")
    refused = {
        401: talk(server.port, head("POST", "/files", TUS, "Upload-Length: 1", NO_BODY)),
        404: ask(server, "PATCH", "/uploads/a/b", TUS, NO_BODY),
        405: ask(server, "PUT", upload, TUS, NO_BODY),
        417: patched(server, upload, "Upload-Offset: 0", "Expect: 200-ok"),
        415: patched(server, upload, "Upload-Offset: 0", "Content-Encoding: gzip"),
        400: patched(server, "/uploads/%00", "Upload-Offset: 0"),
    }
    for status, answer in refused.items():
        assert answer.status == status, answer
        assert answer.headers["tus-resumable"] == "1.0.0", answer
    assert refused[415].headers["accept-encoding"] == "identity"
    for expectation in ("Expect: 200-ok", "Content-Encoding: gzip"):
        answer = ask(server, "POST", "/files", TUS, NO_BODY, "Upload-Length: 9", expectation)
        assert answer.status in (415, 417)
    for method, status in (("PATCH", 405), ("DELETE", 405), ("OPTIONS", 204), ("", 201)):
        override = f"X-HTTP-Method-Override: {method}"
        answer = ask(server, "POST", "/files", TUS, NO_BODY, "Upload-Length: 1", override)
        assert (answer.status, answer.headers["tus-resumable"]) == (status, "1.0.0")
        answer = ask(server, "POST", upload, TUS, NO_BODY, override)
        assert answer.status == (status if method == "OPTIONS" else answer.status)
    assert (answer.status, "not POST" in answer.json()["detail"]) == (405, True)
    assert answer.headers["allow"] == refused[405].headers["allow"]
    for method, path in (("GET", upload), ("GET", "/files")):
        answer = ask(server, method, path, TUS)
        assert (answer.status, answer.headers["tus-resumable"]) == (200, "1.0.0")
    for wrong in ("x", "x" * 300):
        assert ask(server, "DELETE", f"/uploads/{wrong}", TUS).status == 404


def test_the_whole_server_and_a_slash_behind_its_path_say_the_same(server: RunningServer) -> None:
    """OPTIONS of `*`; a creation at `/files/`. A method that nobody knows is named."""
    for path in ("*", "/files/"):
        answer = ask(server, "OPTIONS", path)
        assert (answer.status, answer.headers["tus-version"]) == (204, "1.0.0")
        assert f"max-size={LIMIT}" in answer.headers["upload-limit"]
    made = ask(server, "POST", "/files/", TUS, "Upload-Length: 3", NO_BODY)
    assert (made.status, made.headers["location"].startswith("../uploads/")) == (201, True)
    assert patched(server, made.headers["location"][2:], "Upload-Offset: 0").status == 204
    answer = ask(server, "FOO", "/files", NO_BODY)
    assert (answer.status, "PATCH" in answer.headers["allow"]) == (405, True)
    assert "no method FOO" in answer.json()["detail"]


def test_each_refused_patch_says_how_long_the_upload_lives(server: RunningServer) -> None:
    upload = created(server, "Upload-Defer-Length: 1")
    for status, kind, *fields in (
        (409, TYPE, "Upload-Offset: 1"),
        (413, TYPE, "Upload-Offset: 0", "Upload-Length: " + "9" * 30),
        (413, TYPE, "Upload-Offset: 0", "Upload-Length: 9"),
        (460, TYPE, "Upload-Offset: 0", "Upload-Checksum: crc32 AAAAAA=="),
        (415, "Content-Type: text/plain", "Upload-Offset: 0"),
        (415, TYPE, "Upload-Offset: 0", "Content-Encoding: gzip"),
        (417, TYPE, "Upload-Offset: 0", "Expect: 200-ok"),
        (400, TYPE),
        (400, TYPE, "Upload-Offset: x"),
        (400, TYPE, "Upload-Offset: 0", "Upload-Length: x"),
        (400, TYPE, "Upload-Offset: 0", "Upload-Checksum: none AAAA"),
        (400, TYPE, "Upload-Offset: 0", "Trailer: Upload-Checksum"),
        (412, TYPE, "Upload-Offset: 0"),
    ):
        data = b"x" * 10 if status == 413 else b"abc"
        tus = TUS if status != 412 else "Tus-Resumable: 0.2.2"
        lines = [tus, kind, f"Content-Length: {len(data)}", *fields]
        answer = ask(server, "PATCH", upload, *lines, data=data)
        assert answer.status == status, answer
        assert "upload-expires" in answer.headers, answer
        assert answer.headers.get("tus-max-size") == (str(LIMIT) if status == 413 else None)
    answer = ask(server, "POST", "/files", TUS, NO_BODY, "Upload-Length: " + "9" * 30)
    assert (answer.status, answer.headers["tus-max-size"]) == (413, str(LIMIT))


def test_a_final_upload_takes_no_bytes_of_any_type(server: RunningServer) -> None:
    """403 before 415; its parts are uploads of this server, by a path without dots."""
    part = created(server, "Upload-Length: 0", "Upload-Concat: partial")
    for wrong in (f"/files/..{part}", f".{part}"):
        concat = f"Upload-Concat: final;{wrong}"
        assert ask(server, "POST", "/files", TUS, NO_BODY, concat).status == 400
    final = created(server, f"Upload-Concat: final;{part}")
    for kind in (TYPE, "Content-Type: text/plain"):
        fields = [TUS, kind, "Upload-Offset: 0", "Content-Length: 1"]
        assert ask(server, "PATCH", final, *fields, data=b"x").status == 403


def test_a_final_upload_of_another_one_is_refused(server: RunningServer) -> None:
    part = created(server, "Upload-Length: 0", "Upload-Concat: partial")
    final = created(server, f"Upload-Concat: final;{part}")
    concat = f"Upload-Concat: final;{final}"
    refused = ask(server, "POST", "/files", TUS, NO_BODY, concat)
    assert (refused.status, "is not a part" in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    "lines",
    [
        [TUS, "Host: another"],
        [TUS, "Transfer-Encoding: gzip"],
        [TUS, "Content-Length: five"],
        [TUS, *["X-Many: 1"] * 130],
        [TUS, "X-Large: " + "x" * (64 << 10)],
        ["Content-Length: five", TUS],
    ],
    ids=["hosts", "coding", "length", "many", "large", "behind"],
)
def test_a_head_that_cannot_be_read_is_refused_as_tus(
    server: RunningServer, lines: list[str]
) -> None:
    """No app sees it. What comes behind the refused line is not known."""
    answer = talk(server.port, head("POST", "/files", *lines))
    assert answer.status in (400, 431)
    assert answer.headers.get("tus-resumable") == ("1.0.0" if lines[0] == TUS else None)


def test_a_page_learns_the_version_of_tus_before_it_sends(server: RunningServer) -> None:
    asked = [f"Origin: {ORIGIN}", "Access-Control-Request-Method: PATCH"]
    answer = talk(server.port, head("OPTIONS", "/files", *asked))
    assert (answer.status, answer.headers["tus-version"]) == (204, "1.0.0")


@pytest.mark.parametrize(
    ("status", "version", "fields"),
    [
        (401, 8, ["Upload-Complete: ?0"]),
        (400, 8, [TOKEN, "Upload-Complete: ?0", "Upload-Offset: 5"]),
        (400, 8, [TOKEN, "Upload-Complete: 1"]),
        (400, 8, [TOKEN, "Upload-Complete: ?1", "Upload-Complete: ?0"]),
        (400, 99, [TOKEN, "Upload-Complete: ?0"]),
    ],
    ids=["no token", "offset", "not a boolean", "two", "version"],
)
def test_each_refused_creation_says_that_it_is_not_complete(
    server: RunningServer, status: int, version: int, fields: list[str]
) -> None:
    answer = talk(server.port, head("POST", "/files", *named(version), *fields, NO_BODY))
    assert answer.status == status
    assert answer.headers["upload-complete"] == "?0"
    shown = answer.headers.get("upload-draft-interop-version")
    assert shown == (None if version == 99 else str(version))


def test_what_is_too_large_says_the_limit(server: RunningServer) -> None:
    for version in (8, None):
        fields = [*named(version), "Upload-Complete: ?1", f"Content-Length: {LIMIT + 1}"]
        answer = ask(server, "POST", "/files", *fields)
        assert answer.status == 413
        assert f"max-size={LIMIT}" in answer.headers["upload-limit"]
        assert "upload-offset" not in answer.headers


def test_a_wrong_digest_is_repeated_and_an_unknown_one_answered_with_what_is_known(
    server: RunningServer,
) -> None:
    wrong = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
    for field in ("Content-Digest", "Repr-Digest"):
        answer = create(server, None, b"hello", TOKEN, f"{field}: {wrong}", done=True)
        (found,) = json.loads(answer.body)["mismatched_digests"]
        sent = {"provided_digest": wrong.partition("=")[2], "header": field}
        assert found == {"algorithm": "sha-256", **sent}
        answer = create(server, None, b"hello", TOKEN, f"{field}: none=:AAAA:", done=True)
        assert answer.status == 400
        assert "sha-256" in answer.headers[f"want-{field.lower()}"]


def test_what_was_kept_of_a_broken_body_is_said(server: RunningServer) -> None:
    """The chunks before the wrong one count."""
    upload = created(server, "Upload-Length: 9")
    fields = [TUS, TYPE, "Upload-Offset: 0", "Transfer-Encoding: chunked"]
    answer = ask(server, "PATCH", upload, *fields, data=chunk(b"hello") + b"ZZ" + LAST_CHUNK)
    assert answer.status == 400
    assert "5 bytes of the upload are kept" in answer.json()["detail"]
