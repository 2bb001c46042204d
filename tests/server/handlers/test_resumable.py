"""Resumable uploads for HTTP, in every version: raw requests to a real server.

protocols: draft-ietf-httpbis-resumable-upload-01 to -12. Each test is a rule of the texts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from raw_http import LAST_CHUNK, chunk, head, talk
from resumable_requests import (
    IANA,
    LATER,
    VERSIONS,
    append,
    append_fields,
    ask,
    create,
    named,
    says_complete,
    stored,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(Path(tmp_path_factory.mktemp("resumable")) / "root")
    yield running
    running.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_comes_in_pieces(server: RunningServer, version: int | None) -> None:
    """A first piece, one in the middle, the last one; between them the offset."""
    begun = create(server, version, b"hello ")
    url = begun.headers["location"]
    assert begun.status == 201
    assert not says_complete(version, begun)
    assert begun.headers["upload-offset"] == "6"
    assert begun.headers.get("upload-draft-interop-version") == (version and str(version))

    shown = ask(server, version, url)
    assert (shown.status, shown.headers["upload-offset"]) == (204, "6")
    assert shown.headers["cache-control"] == "no-store"
    assert not says_complete(version, shown)

    middle = append(server, version, url, 6, b"wide ", done=False)
    assert middle.status == (201 if version in (3, 4, 5, 6) else 204)
    assert middle.headers["upload-offset"] == "11"
    assert not says_complete(version, middle)

    last = append(server, version, url, 11, b"world")
    assert last.status == 201
    assert says_complete(version, last)
    assert stored(server, last) == b"hello wide world"
    shown = ask(server, version, url)
    assert says_complete(version, shown)
    assert shown.headers["upload-offset"] == "16"


@pytest.mark.parametrize("version", LATER)
def test_limits_and_length_are_told(server: RunningServer, version: int | None) -> None:
    """In a creation, an offset retrieval, and before: by OPTIONS."""
    age = "expires=" if version == 6 else "max-age="
    begun = create(server, version, b"ab", "Upload-Length: 10")
    shown = ask(server, version, begun.headers["location"])
    for answer in (begun, shown, ask(server, version, "/files", method="OPTIONS")):
        assert age in answer.headers["upload-limit"]
    assert shown.headers["upload-length"] == "10"
    assert "upload-limit" in ask(server, version, "/files/any", method="OPTIONS").headers


def test_earlier_versions_know_no_limits(server: RunningServer) -> None:
    """Nor Upload-Length, which a client of theirs would not expect."""
    for version in (3, 4, 5):
        begun = create(server, version, b"ab", "Upload-Length: 10")
        shown = ask(server, version, begun.headers["location"])
        assert not {"upload-limit", "upload-length"} & (begun.headers.keys() | shown.headers.keys())


@pytest.mark.parametrize("version", VERSIONS)
def test_an_empty_creation_tells_the_url(server: RunningServer, version: int | None) -> None:
    """Careful creation: no byte is sent before the client knows where it goes on."""
    begun = create(server, version)
    assert (begun.status, begun.headers["upload-offset"]) == (201, "0")
    last = append(server, version, begun.headers["location"], 0, b"all of it")
    assert stored(server, last) == b"all of it"


def test_an_empty_creation_needs_no_length(server: RunningServer) -> None:
    """curl -X POST sends none; the request says that more comes."""
    begun = talk(server.port, head("POST", "/files", "Upload-Complete: ?0"))
    assert (begun.status, begun.headers["upload-offset"]) == (201, "0")


def test_an_empty_file_is_complete_at_once(server: RunningServer) -> None:
    for version in (8, None):
        done = create(server, version, done=True)
        assert done.status == 201
        assert says_complete(version, done)
        assert stored(server, done) == b""


def test_an_empty_append_ends_an_upload(server: RunningServer) -> None:
    begun = create(server, 9, b"no more")
    last = append(server, 9, begun.headers["location"], 7, b"")
    assert stored(server, last) == b"no more"


def test_a_put_creates_under_its_key(server: RunningServer) -> None:
    """With the conditions that any PUT may have."""
    begun = create(server, 8, b"one", target="/files/own/key.txt", method="PUT")
    last = append(server, 8, begun.headers["location"], 3, b"two")
    assert (last.status, last.json()["files"][0]["key"]) == (201, "own/key.txt")
    again = create(server, 8, b"one", "If-None-Match: *", target="/files/own/key.txt", method="PUT")
    assert again.status == 412
    assert "location" not in again.headers
    replaced = create(server, 8, b"new", target="/files/own/key.txt", method="PUT", done=True)
    assert (replaced.status, stored(server, replaced)) == (200, b"new")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_offset_changes_nothing(server: RunningServer, version: int | None) -> None:
    begun = create(server, version, b"hello")
    url = begun.headers["location"]
    for offset in (0, 4, 6, 999_999_999_999_999):
        answer = append(server, version, url, offset, b"world")
        assert answer.status == 409
        assert not says_complete(version, answer)
        assert answer.headers["upload-offset"] == "5"
        assert answer.json()["type"] == f"{IANA}#mismatching-upload-offset"
        assert answer.json()["expected-offset"] == 5
        assert answer.json()["provided-offset"] == offset
    assert ask(server, version, url).headers["upload-offset"] == "5"


@pytest.mark.parametrize("version", LATER)
def test_lengths_must_agree(server: RunningServer, version: int | None) -> None:
    """Within a request, and with what was said before."""
    url = create(server, version, b"hello", "Upload-Length: 10").headers["location"]
    wrong = [
        append(server, version, url, 5, b"abc"),  # the last bytes, and two are missing
        append(server, version, url, 5, b"abcde", "Upload-Length: 11"),
        append(server, version, url, 5, b"abc", "Upload-Length: 11", done=False),
        create(server, version, b"hello", "Upload-Length: 4"),
        create(server, version, b"hello", "Upload-Length: 6", done=True),
    ]
    for answer in wrong[:4] if version is None else wrong:
        assert answer.status == 400, answer
        assert answer.json()["type"] == f"{IANA}#inconsistent-upload-length"
    assert ask(server, version, url).headers["upload-offset"] == "5"


@pytest.mark.parametrize("version", LATER)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_with_too_many_bytes_ends(
    server: RunningServer, version: int | None, is_chunked: bool
) -> None:
    """Whether Content-Length says it or not; nothing more is taken."""
    url = create(server, version, b"hello", "Upload-Length: 8").headers["location"]
    if is_chunked:
        fields = [*append_fields(version, 5, False), "Transfer-Encoding: chunked"]
        answer = talk(server.port, head("PATCH", url, *fields) + chunk(b"four") + LAST_CHUNK)
    else:
        answer = append(server, version, url, 5, b"four", done=False)
    assert answer.json()["type"] == f"{IANA}#inconsistent-upload-length"
    gone = 404 if version == 6 else 410
    assert ask(server, version, url).status == gone
    assert append(server, version, url, 5, b"abc").status == gone


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_append_may_be_repeated(server: RunningServer, version: int | None) -> None:
    """Its response was lost. -04 to -11 have a problem type for an upload that is complete."""
    url = create(server, version, b"hello").headers["location"]
    first = append(server, version, url, 5, b"world")
    again = append(server, version, url, 5, b"world")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["location"] == first.headers["location"]
    assert says_complete(version, again)
    other = append(server, version, url, 4, b"world")
    assert other.status == (400 if version in (6, 7, 8) else 409)
    if version in (6, 7, 8):
        assert other.json()["type"] == f"{IANA}#completed-upload"
    for offset, data in ((5, b"w0rld"), (0, b"helloworld"), (8, b"ld")):  # nobody ended it so
        other = append(server, version, url, offset, data)
        assert other.status == (400 if version in (6, 7, 8) else 409), (offset, data)
        if version not in (6, 7, 8):
            assert other.headers["upload-offset"] == "10"
    assert append(server, version, url, 10, b"").status == 201  # and asks for the response alone
    behind = append(server, version, url, 10, b"more")  # not 409: its offset is the right one
    assert (behind.status, "complete" in behind.json()["detail"]) == (400, True)
    assert stored(server, first) == b"helloworld"
    # Its file is gone, and nothing tells whether these bytes were in it.
    file = first.headers["location"]
    assert talk(server.port, head("DELETE", file)).status == 204
    for data in (b"w0rld", b"world"):
        gone = append(server, version, url, 5, data)
        assert gone.status == (400 if version in (6, 7, 8) else 409)
    assert append(server, version, url, 10, b"").status == 201


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cancelled_upload_is_gone(server: RunningServer, version: int | None) -> None:
    url = create(server, version, b"hello").headers["location"]
    assert ask(server, version, url, method="DELETE").status == 204
    gone = 404 if version in (3, 4, 5, 6) else 410
    assert ask(server, version, url).status == gone
    assert ask(server, version, url, method="DELETE").status == gone
    assert append(server, version, url, 5, b"world").status == gone


def test_retrieval_and_cancel_have_no_fields_of_appends(server: RunningServer) -> None:
    """-01 to -05 want them refused; later texts ignore them."""
    for version in VERSIONS:
        url = create(server, version, b"hello").headers["location"]
        for method, good in (("HEAD", 204), ("DELETE", 204)):
            answer = ask(server, version, url, "Upload-Offset: 5", method=method)
            assert answer.status == (400 if version in (3, 4, 5, 6) else good)
        if version in (3, 4, 5, 6):
            answer = ask(server, version, url, "Upload-Length: 5")
            assert answer.status == (400 if version == 6 else 204)


def test_an_append_says_what_it_is(server: RunningServer) -> None:
    url = create(server, 8, b"hello").headers["location"]
    partial = "Content-Type: application/partial-upload"
    size = "Content-Length: 1"

    def patch(*fields: str) -> int:
        return talk(server.port, head("PATCH", url, *fields, size) + b"x").status

    assert patch(*named(8), "Upload-Offset: 5", "Upload-Complete: ?1") == 415
    assert patch(*named(8), partial, "Upload-Complete: ?1") == 400
    assert patch(*named(8), partial, "Upload-Offset: 5") == 400
    assert patch(*named(8), partial, "Upload-Offset: -5", "Upload-Complete: ?1") == 400
    assert patch(*named(8), partial, "Upload-Offset: 5, 5", "Upload-Complete: ?1") == 400
    assert patch(*named(8), partial, "Upload-Offset: 5", "Upload-Complete: 1") == 400
    assert patch(*named(10), partial, "Upload-Offset: 5", "Upload-Complete: ?1") == 400
    assert ask(server, 8, url).headers["upload-offset"] == "5"
    assert (
        patch(*named(8), f"{partial};v=1", "Upload-Offset: 005;a", "Upload-Complete: ?1;b") == 201
    )


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_an_early_append_may_have_the_type_of_tus(server: RunningServer, method: str) -> None:
    """tus-js-client's ietf-draft-03 sends it; the version says whose request it is."""
    kind, data = "Content-Type: application/offset+octet-stream", b"world"
    for version in (3, 4, 5):
        url = create(server, version, b"hello", kind).headers["location"]
        fields = [*append_fields(version, 5, True), kind, f"Content-Length: {len(data)}"]
        override = ["X-HTTP-Method-Override: PATCH"] if method == "POST" else []
        last = talk(server.port, head(method, url, *fields, *override) + data)
        assert (last.status, stored(server, last)) == (201, b"helloworld")
        assert last.json()["files"][0]["type"] == "text/plain"  # of book.txt


@pytest.mark.parametrize("version", VERSIONS)
def test_each_refused_append_says_where_the_upload_goes_on(
    server: RunningServer, version: int | None
) -> None:
    """-01 to -05 ask for it."""
    more = ["Upload-Length: 9"] if version in LATER else []
    url = create(server, version, b"hello", *more).headers["location"]
    right = append_fields(version, 5, done=True)
    refused = {
        "digest": [*right, f"Content-Digest: {digest(b'x')}"],
        "no offset": [line for line in right if "Offset" not in line],
        "coding": [*right, "Content-Encoding: gzip"],
        "expectation": [*right, "Expect: 200-ok"],
    }
    if version in LATER:
        refused["length"] = right
        refused["type"] = [line for line in right if "Content-Type" not in line]
    for name, fields in refused.items():
        answer = talk(server.port, head("PATCH", url, *fields, "Content-Length: 1") + b"w")
        assert answer.status // 100 == 4, (name, answer)
        assert answer.headers.get("upload-offset") == "5", (name, answer)


def test_get_says_what_head_says(server: RunningServer) -> None:
    """An end has no time: what it said before was longer than its answer is remembered."""
    for version in (9, None):
        url = create(server, version, b"hello").headers["location"]
        for offset, whole in (("5", False), ("10", True)):
            for answer in (ask(server, version, url), ask(server, version, url, method="GET")):
                assert answer.headers["upload-offset"] == offset
                assert says_complete(version, answer) is whole
                assert ("max-age" in answer.headers["upload-limit"]) is not whole
            append(server, version, url, 5, b"world")
    plain = talk(server.port, head("POST", f"/files?upload={'p' * 22}", "Content-Length: 1") + b"x")
    assert plain.status == 201
    assert ask(server, 8, "/uploads/" + "p" * 22).status == 404
    assert ask(server, 8, "/uploads/" + "p" * 22, method="GET").status == 200


def test_an_early_append_without_the_field_is_the_last_one(server: RunningServer) -> None:
    for version in (3, 4, 5, 6):
        url = create(server, version, b"hello").headers["location"]
        fields = [line for line in append_fields(version, 5, True) if "omplete" not in line]
        last = talk(server.port, head("PATCH", url, *fields, "Content-Length: 1") + b"!")
        assert stored(server, last) == b"hello!"


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_a_piece_with_a_wrong_digest_does_not_count(server: RunningServer) -> None:
    """Content-Digest is about one request's content."""
    begun = create(server, 8, b"hello", f"Content-Digest: {digest(b'hello')}")
    url = begun.headers["location"]
    wrong = append(server, 8, url, 5, b"w0rld", f"Content-Digest: {digest(b'world')}")
    assert wrong.status == 400
    assert wrong.code == "digest-mismatch"
    assert ask(server, 8, url).headers["upload-offset"] == "5"
    last = append(server, 8, url, 5, b"world", f"Content-Digest: {digest(b'world')}")
    assert stored(server, last) == b"helloworld"
    bad = create(server, 8, b"hello", f"Content-Digest: {digest(b'other')}")
    assert bad.status == 400
    assert bad.code == "digest-mismatch"


@pytest.mark.parametrize("announced", [True, False])
def test_a_digest_behind_a_piece_is_refused_with_the_piece(
    server: RunningServer, announced: bool
) -> None:
    """It is not read there: neither the offset nor a file comes of bytes that were not checked."""
    url = create(server, 8, b"hello").headers["location"]
    trailer = ["Trailer: Content-Digest"] if announced else []
    fields = [*append_fields(8, 5, True), "Transfer-Encoding: chunked", *trailer]
    body = chunk(b"world") + LAST_CHUNK[:-2] + f"Content-Digest: {digest(b'x')}\r\n\r\n".encode()
    refused = talk(server.port, head("PATCH", url, *fields) + body)
    assert (refused.status, refused.code) == (400, "bad-digest")
    assert ask(server, 8, url).headers["upload-offset"] == "5"
    assert append(server, 8, url, 5, b"world").status == 201


def test_a_digest_of_the_whole_is_checked_at_the_end(server: RunningServer) -> None:
    """Repr-Digest stands in the creation; Want-Repr-Digest, there, with the first byte or in the
    last request, asks for it in the last response."""
    right = [f"Repr-Digest: {digest(b'helloworld')}", "Want-Repr-Digest: sha-256=1"]
    url = create(server, 8, b"hello", *right).headers["location"]
    last = append(server, 8, url, 5, b"world")
    assert (last.status, last.headers["repr-digest"]) == (201, digest(b"helloworld"))
    url = create(server, 8, b"hello").headers["location"]
    last = append(server, 8, url, 5, b"world", right[1])
    assert (last.status, last.headers["repr-digest"]) == (201, digest(b"helloworld"))
    url = create(server, 8).headers["location"]  # the first byte comes with the wish
    assert append(server, 8, url, 0, b"hello", right[1], done=False).status == 204
    last = append(server, 8, url, 5, b"world")
    assert (last.status, last.headers["repr-digest"]) == (201, digest(b"helloworld"))
    for version in (8, None):  # the one is resumable, the other in one request alone
        last = create(server, version, b"helloworld", right[1], done=True)
        assert (last.status, last.headers["repr-digest"]) == (201, digest(b"helloworld"))
        refused = "Want-Repr-Digest: sha-256=0, sha-512=10"
        last = create(server, version, b"helloworld", refused, done=True)
        assert "sha-256" not in last.headers.get("repr-digest", "")
    shown = ask(server, None, last.headers["location"], refused)
    assert (shown.status, "sha-256" in shown.headers.get("repr-digest", "")) == (200, False)

    wrong = f"Repr-Digest: {digest(b'another')}"
    url = create(server, 8, b"hello").headers["location"]
    assert append(server, 8, url, 5, b"world", right[0]).status == 201
    assert append(server, 8, url, 5, b"world", right[0]).status == 201
    assert append(server, 8, url, 5, b"world", wrong).code == "digest-mismatch"

    before = server.stored()
    url = create(server, 8, b"hello").headers["location"]
    assert append(server, 8, url, 5, b"world", wrong).code == "digest-mismatch"
    url = create(server, 8, b"hello", f"Repr-Digest: {digest(b'another')}").headers["location"]
    last = append(server, 8, url, 5, b"world")
    assert (last.status, last.code) == (400, "digest-mismatch")
    assert last.headers["upload-complete"] == "?1"  # to resume cannot help
    shown = ask(server, 8, url)
    assert (shown.status, shown.headers["upload-complete"]) == (400, "?1")
    assert server.stored() == before


def test_an_upload_of_another_protocol_is_left_alone(server: RunningServer) -> None:
    """An append neither interrupts nor changes an upload of tus."""
    tus = ["Tus-Resumable: 1.0.0"]
    made = talk(server.port, head("POST", "/files", *tus, "Upload-Length: 5", "Content-Length: 0"))
    url = "/" + made.headers["location"]  # which is relative to /files
    assert append(server, 8, url, 0, b"hello").status == 404
    assert ask(server, 8, url, *tus).headers["upload-offset"] == "0"


def test_a_taken_name_is_refused_before_its_bytes(server: RunningServer) -> None:
    for version in (8, None):
        bad = create(server, version, b"", target="/files/a/../b", method="PUT")
        assert bad.status == 400
        assert "location" not in bad.headers
