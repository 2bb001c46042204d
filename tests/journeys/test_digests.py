"""Content-Digest and Repr-Digest: the bytes have the promised digest, or nothing is stored."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fix_server import RunningServer, Serve
from fix_taking import noise
from raw_http import Answer, Wire, chunked, form_body, form_head, head, talk

DATA = noise(200_000)


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    value = hashlib.new(algorithm.replace("-", ""), data).digest()
    return f"{algorithm}=:{base64.b64encode(value).decode()}:"


GOOD = {
    "sha-256": [f"Content-Digest: {digest(DATA)}"],
    "sha-512": [f"Content-Digest: {digest(DATA, 'sha-512')}"],
    "of the representation": [f"Repr-Digest: {digest(DATA)}"],
    "both headers": [f"Repr-Digest: {digest(DATA)}", f"Content-Digest: {digest(DATA)}"],
    "two algorithms": [f"Repr-Digest: {digest(DATA)}, {digest(DATA, 'sha-512')}"],
    "two lines": [f"Repr-Digest: {digest(DATA)}", f"Repr-Digest: {digest(DATA, 'sha-512')}"],
    "beside one we do not know": [f"Repr-Digest: crc32c=:Q3lHIA==:, {digest(DATA)}"],
}
MISMATCH = {
    "sha-256": [f"Content-Digest: {digest(b'other')}"],
    "sha-512": [f"Content-Digest: {digest(b'other', 'sha-512')}"],
    "of the representation": [f"Repr-Digest: {digest(b'other')}"],
    "one of two": [f"Repr-Digest: {digest(DATA)}, {digest(b'other', 'sha-512')}"],
}
BAD_FORM = {
    "not base64": ["Content-Digest: sha-256=:!!!:"],
    "no colons": [
        f"Content-Digest: sha-256={base64.b64encode(hashlib.sha256(DATA).digest()).decode()}"
    ],
    "too short": [f"Content-Digest: sha-256=:{base64.b64encode(b'short').decode()}:"],
    "hex": [f"Content-Digest: sha-256={hashlib.sha256(DATA).hexdigest()}"],
    "only what we cannot check": ["Content-Digest: md5=:Sd/dVLAcvNLSq16eXua5uQ==:"],
}


def put(server: RunningServer, key: str, fields: list[str], *, chunks: bool = False) -> Answer:
    framing, body = (
        ("Transfer-Encoding: chunked", chunked(DATA, 9000))
        if chunks
        else (f"Content-Length: {len(DATA)}", DATA)
    )
    return talk(server.port, head("PUT", f"/files/{key}", framing, *fields) + body)


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("fields", GOOD)
def test_a_correct_digest_is_accepted(taker: RunningServer, fields: str, chunks: bool) -> None:
    """Either header, either algorithm, either framing."""
    assert put(taker, "good", GOOD[fields], chunks=chunks).status in (200, 201)
    assert (taker.root / "good").read_bytes() == DATA


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("fields", MISMATCH)
def test_a_wrong_digest_publishes_nothing(taker: RunningServer, fields: str, chunks: bool) -> None:
    """400 with the registered problem type, no object, no draft, and without the real digest."""
    response = put(taker, "mismatch", MISMATCH[fields], chunks=chunks)
    problem = response.json()

    assert (response.status, response.code) == (400, "digest-mismatch")
    assert (
        problem["type"]
        == "https://iana.org/assignments/http-problem-types#digest-mismatched-values"
    )
    assert problem["mismatched_digests"][0]["algorithm"] in ("sha-256", "sha-512")
    assert hashlib.sha256(DATA).hexdigest().encode() not in response.body
    assert not (taker.root / "mismatch").exists()
    assert taker.drafts() == []


def test_a_wrong_digest_leaves_the_old_version(taker: RunningServer) -> None:
    """An existing object stays unchanged."""
    put(taker, "old", [])
    response = talk(
        taker.port,
        head("PUT", "/files/old", "Content-Length: 3", f"Content-Digest: {digest(b'abd')}")
        + b"abc",
    )

    assert response.code == "digest-mismatch"
    assert (taker.root / "old").read_bytes() == DATA


@pytest.mark.parametrize("fields", BAD_FORM)
def test_a_digest_of_the_wrong_form_is_refused_before_the_body(
    taker: RunningServer, fields: str
) -> None:
    """400 with the registered problem type, although no byte of the body was sent."""
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/form", "Content-Length: 200000", *BAD_FORM[fields]))
        response = wire.answer()

    assert (response.status, response.code) == (400, "bad-digest")
    assert response.json()["type"].startswith(
        "https://iana.org/assignments/http-problem-types#digest-"
    )


def test_digests_that_contradict_each_other_are_refused_before_the_body(
    taker: RunningServer,
) -> None:
    """A whole file has one digest: the two headers must agree."""
    fields = [f"Content-Digest: {digest(DATA)}", f"Repr-Digest: {digest(b'other')}"]
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/contradiction", "Content-Length: 200000", *fields))
        assert wire.answer().status == 400


def test_a_post_is_checked_like_a_put(taker: RunningServer) -> None:
    """POST /files: a correct digest is accepted, a wrong one is refused."""
    right = talk(
        taker.port,
        head("POST", "/files", "Content-Length: 3", f"Repr-Digest: {digest(b'abc')}") + b"abc",
    )
    wrong = talk(
        taker.port,
        head("POST", "/files", "Content-Length: 3", f"Repr-Digest: {digest(b'abd')}") + b"abc",
    )

    assert (right.status, wrong.status, wrong.code) == (201, 400, "digest-mismatch")


@pytest.mark.parametrize("name", ["Content-Digest", "Repr-Digest"])
def test_the_digest_of_a_form_is_that_of_its_whole_body(taker: RunningServer, name: str) -> None:
    """The digest of a form covers its boundaries, too; a wrong one stores none of its files."""
    body = form_body(("a", "a.bin", DATA), ("t", None, b"field"), ("b", "b.bin", b"b"))
    right = talk(taker.port, form_head(len(body), f"{name}: {digest(body)}") + body)
    before = taker.stored()
    wrong = talk(taker.port, form_head(len(body), f"{name}: {digest(DATA)}") + body)

    assert (right.status, wrong.status, wrong.code) == (201, 400, "digest-mismatch")
    assert taker.stored() == before
    assert taker.drafts() == []


def test_a_digest_is_checked_where_none_is_computed_by_default(serve: Serve) -> None:
    """--digest none saves work for clients without a digest; a promise is still checked."""
    server = serve("--digest", "none")
    right = put(server, "right", GOOD["sha-512"])
    wrong = put(server, "wrong", MISMATCH["sha-256"])

    assert (right.status, wrong.status, wrong.code) == (201, 400, "digest-mismatch")
    assert right.json()["files"][0]["sha-256"] is None
    assert list(server.stored()) == ["right"]
