"""Requests of uploads that contradict themselves, or what was said before, over a real server.

What is refused changes nothing: not the offset, not the length, no file. A digest is checked of any
body, also of an empty one, and of one that comes once more.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest

from fix_server import RunningServer
from raw_http import LAST_CHUNK, Answer, chunk, head, talk
from resumable_requests import append, append_fields, ask, create, named, says_complete
from tus_by_hand import OFFSET_STREAM, Tus, creation

FEW = [3, 8, None]  # versions that differ in what is tested here; the conformance suite asks in all
PROXIED = "X-Forwarded-For: 192.0.2.1"
CHUNKED = "Transfer-Encoding: chunked"


def sha1(data: bytes) -> str:
    return "sha1 " + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def digest(data: bytes) -> str:
    return f"Content-Digest: sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def append_chunked(
    server: RunningServer, version: int | None, url: str, offset: int, data: bytes, *fields: str
) -> Answer:
    lines = [*append_fields(version, offset, True), CHUNKED, *fields]
    return talk(server.port, head("PATCH", url, *lines) + chunk(data) + LAST_CHUNK)


@pytest.fixture
def tus(taker: RunningServer) -> Iterator[Tus]:
    client = Tus(taker.url)
    yield client
    client.session.close()


@pytest.mark.parametrize("length", [None, 3])
def test_the_checksum_of_an_empty_body_is_checked(tus: Tus, length: int | None) -> None:
    """Of a PATCH that only ends an upload, too, and of a creation."""
    upload = tus.create(length)
    told = {"Upload_Length": "3"} if length is None else {}
    for wrong, status in ((sha1(b"x"), 460), ("sha512 AAAA", 400), ("sha1 %%", 400)):
        assert tus.patch(upload, 0, Upload_Checksum=wrong, **told).status_code == status
        assert tus.post(creation(3) | {"Upload-Checksum": wrong}).status_code == status
        typed = creation(3) | {"Upload-Checksum": wrong, "Content-Type": OFFSET_STREAM}
        assert tus.post(typed).status_code == status
    assert tus.head(upload).headers.get("Upload-Length") == (length and "3")
    assert tus.patch(upload, 0, Upload_Checksum=sha1(b""), **told).status_code == 204
    assert tus.patch(upload, 0, b"abc").status_code == 204
    assert tus.patch(upload, 3, Upload_Checksum=sha1(b"x")).status_code == 460


def test_the_digest_of_an_empty_body_is_checked(taker: RunningServer) -> None:
    before = taker.stored()
    url = create(taker, 8, b"hello").headers["location"]
    for fields in ([], ["Upload-Parts: " + "x" * 22]):
        wrong = append(taker, 8, url, 5, b"", digest(b"x"), *fields)
        assert (wrong.status, wrong.code) == (400, "digest-mismatch")
    assert create(taker, 8, b"", digest(b"x")).status == 400
    assert taker.stored() == before
    assert append(taker, 8, url, 5, b"", digest(b"")).status == 201


@pytest.mark.parametrize("version", FEW)
def test_a_repeated_append_may_come_in_chunks(taker: RunningServer, version: int | None) -> None:
    """curl -T - sends no length: what came says whether it is the last append."""
    url = create(taker, version, b"hello").headers["location"]
    first = append_chunked(taker, version, url, 5, b"world")
    again = append_chunked(taker, version, url, 5, b"world")
    assert (again.status, again.body) == (first.status, first.body)
    assert says_complete(version, again)
    for other in (b"worl", b"world!"):
        refused = append_chunked(taker, version, url, 5, other)
        assert refused.status == (400 if version == 8 else 409)


def test_a_repeated_append_that_contradicts_is_refused(taker: RunningServer) -> None:
    """Its digest is compared, and the length that it tells."""
    url = create(taker, 8, b"hello").headers["location"]
    assert append(taker, 8, url, 2, b"llo").status == 409
    assert append(taker, 8, url, 5, b"world", "Upload-Length: 10").status == 201
    for fields, code in (
        ([digest(b"w0rld")], "digest-mismatch"),
        (["Upload-Length: 11"], "inconsistent-length"),
    ):
        for wrong in (
            append(taker, 8, url, 5, b"world", *fields),
            append_chunked(taker, 8, url, 5, b"world", *fields),
        ):
            assert (wrong.status, wrong.code) == (400, code)
    assert append(taker, 8, url, 5, b"world", digest(b"world"), "Upload-Length: 10").status == 201


@pytest.mark.parametrize(
    ("fields", "data", "status"),
    [
        ({"Upload_Checksum": sha1(b"other")}, b"hello", 460),
        ({"Upload_Checksum": "sha512 AAAA"}, b"hello", 400),
        ({}, b"hello!", 413),
    ],
    ids=["checksum", "algorithm", "too long"],
)
def test_a_refused_patch_fixes_no_length(
    tus: Tus, fields: dict[str, str], data: bytes, status: int
) -> None:
    """The client may say the right one in its next request."""
    upload = tus.create(None)
    assert tus.patch(upload, 0, b"a").status_code == 204
    assert tus.patch(upload, 1, data, Upload_Length="6", **fields).status_code == status
    assert tus.head(upload).headers["Upload-Defer-Length"] == "1"
    assert tus.patch(upload, 1, b"bc", Upload_Length="3").status_code == 204


def test_a_refused_append_fixes_no_length(taker: RunningServer) -> None:
    url = create(taker, 8, b"a").headers["location"]
    for done in (True, False):
        wrong = append(taker, 8, url, 1, b"hello", digest(b"x"), "Upload-Length: 6", done=done)
        assert wrong.code == "digest-mismatch"
        assert "upload-length" not in ask(taker, 8, url).headers
    assert append(taker, 8, url, 1, b"bc", "Upload-Length: 3").status == 201


@pytest.mark.parametrize("version", FEW)
def test_a_whole_file_says_that_all_of_it_is_there(
    taker: RunningServer, version: int | None
) -> None:
    """Behind a proxy no 104 tells a URL, and nothing is resumable. tus-js-client wants the offset
    all the same."""
    for target, method in (("/files?name=whole.txt", "POST"), (f"/files/w-{version}.txt", "PUT")):
        fields = [PROXIED, "Upload-Offset: 0;a"]
        whole = create(taker, version, b"hello", *fields, done=True, target=target, method=method)
        assert whole.status == 201
        assert says_complete(version, whole)
        assert whole.headers["upload-offset"] == "5"
        has_limits = version != 3
        assert whole.headers.get("upload-length") == ("5" if has_limits else None)
        assert ("upload-limit" in whole.headers) is has_limits


def test_a_whole_file_may_tell_its_length(taker: RunningServer) -> None:
    """In any form of the number; one of another type is ignored. Of a body in chunks as well."""
    for told in ("5", "05", "5;a=1", "abc", "-3", "5.0"):
        more = create(taker, 8, b"hello", PROXIED, f"Upload-Length: {told}", done=True)
        assert (more.status, more.headers["upload-offset"]) == (201, "5"), told
    fields = [*named(8), PROXIED, CHUNKED, "Upload-Complete: ?1", "Upload-Length: 5"]
    lines = head("POST", "/files", *fields)
    stored = taker.stored()
    for wrong in (b"hell", b"hello!"):
        refused = talk(taker.port, lines + chunk(wrong) + LAST_CHUNK)
        assert (refused.status, refused.code) == (400, "inconsistent-length")
        assert "upload-offset" not in refused.headers
    assert taker.stored() == stored
    assert talk(taker.port, lines + chunk(b"hello") + LAST_CHUNK).headers["upload-offset"] == "5"


@pytest.mark.parametrize(
    ("version", "more"),
    [(None, []), (3, []), (8, []), (8, [PROXIED]), (8, ["Via: 1.1 x"])],
    ids=["final", "3", "8", "8 behind a proxy", "8 via"],
)
def test_a_whole_file_is_as_long_as_it_says(
    taker: RunningServer, version: int | None, more: list[str]
) -> None:
    """Whether the file could be resumed or not. The protocol refuses it: nothing is complete."""
    before = taker.stored()
    for method, target in (("PUT", f"/files/false-{version}"), ("POST", "/files")):
        for told in (4, 6):
            fields = [*more, f"Upload-Length: {told}"]
            refused = create(
                taker, version, b"hello", *fields, done=True, target=target, method=method
            )
            assert (refused.status, refused.code) == (400, "inconsistent-length"), told
            assert not says_complete(version, refused)
            assert "upload-offset" not in refused.headers
    assert taker.stored() == before


def test_an_error_of_a_whole_file_does_not_say_that_it_is_there(taker: RunningServer) -> None:
    """Nothing is stored, and nothing can be resumed. What a form brings is complete as well."""
    wrong = create(taker, 8, b"hello", PROXIED, digest(b"x"), done=True)
    assert (wrong.status, wrong.code) == (400, "digest-mismatch")
    assert not says_complete(8, wrong)
    assert "upload-offset" not in wrong.headers
    kind = "Content-Type: multipart/form-data; boundary=b"
    disposition = b'Content-Disposition: form-data; name="f"; filename="f"'
    part = b"--b\r\n" + disposition + b"\r\n\r\nhello\r\n--b--\r\n"
    for body, status in ((part, 201), (part[:-9], 400)):
        form = create(taker, 8, body, kind, done=True)
        assert (form.status, says_complete(8, form)) == (status, status == 201)


@pytest.mark.parametrize(
    "field",
    ["Upload-Length: 9", "Upload-Length: x", "Upload-Offset: 1", "Upload-Offset: x"],
)
def test_what_may_be_a_piece_is_not_stored_as_a_whole(taker: RunningServer, field: str) -> None:
    """Without Upload-Complete: ?1 the sender does not say that it is the whole."""
    before = taker.stored()
    sent = head("POST", "/files", field, "Content-Length: 5") + b"hello"
    assert talk(taker.port, sent).status == 400
    assert taker.stored() == before
