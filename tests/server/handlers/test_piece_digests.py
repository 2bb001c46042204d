"""Digests of pieces of a PUT and of the whole file, before the bytes, late, and once more."""

from __future__ import annotations

import base64
import hashlib

import pytest
import requests

from fix_server import RunningServer
from fix_taking import noise
from put_pieces import kept, piece, put


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def sha512(data: bytes) -> str:
    return f"sha-512=:{base64.b64encode(hashlib.sha512(data).digest()).decode()}:"


HASHES = {"sha-256": digest, "sha-512": sha512}


def test_digests_of_pieces_and_of_the_whole(taker: RunningServer) -> None:
    whole = b"0123456789"
    right, wrong = f"Content-Digest: {digest(whole[:5])}", f"Content-Digest: {digest(b'x')}"
    span = "Content-Range: bytes 0-4/10"
    assert put(taker, "sums", whole[:5], span, wrong).status == 400
    assert kept(taker, "sums") == 0
    assert put(taker, "sums", whole[:5], span, right, f"Repr-Digest: {digest(whole)}").status == 308
    bad = put(taker, "sums", b"56x89", "Content-Range: bytes 5-9/10")
    assert (bad.status, bad.code) == (400, "digest-mismatch")
    assert "sums" not in taker.stored()


def test_another_file_is_not_told_that_it_is_stored(taker: RunningServer) -> None:
    """A repeated last piece, or the question, with digests of other bytes of the same number."""
    ours, theirs, span = b"0123456789", b"56789abcde", "Content-Range: bytes 5-9/10"
    piece(taker, "other", ours, 0, 5)
    whole = f"Repr-Digest: {digest(ours)}"
    assert put(taker, "other", ours[5:], span, whole).status == 201
    false, question = f"Repr-Digest: {digest(theirs)}", "Content-Range: bytes */10"
    for answer in (
        put(taker, "other", theirs[5:], span, f"Content-Digest: {digest(theirs[5:])}", false),
        put(taker, "other", ours[5:], span, f"Content-Digest: {digest(theirs[5:])}"),
        put(taker, "other", b"", question, false),
        put(taker, "other", b"", question, f"Repr-Digest: {sha512(ours)}"),
    ):
        assert (answer.status, answer.code) == (400, "digest-mismatch")
    right = f"Content-Digest: {digest(ours[5:])}"
    assert put(taker, "other", ours[5:], span, right, whole).status == 201
    assert put(taker, "other", b"", question, whole).status == 201


@pytest.mark.parametrize("hashed", ["sha-256", "sha-512"])
def test_a_digest_of_the_whole_may_come_late(taker: RunningServer, hashed: str) -> None:
    """Of two files no mix is stored. What was not counted before is read again."""
    ours, theirs, hash_of = noise(1000), noise(1000, seed=2), HASHES[hashed]
    piece(taker, "late", ours, 0, 500)
    span = "Content-Range: bytes 500-999/1000"
    mixed = put(taker, "late", theirs[500:], span, f"Repr-Digest: {hash_of(theirs)}")
    assert (mixed.status, mixed.code) == (400, "digest-mismatch")
    assert "late" not in taker.stored()
    first = ["Content-Range: bytes 0-499/1000", f"Repr-Digest: {digest(ours)}"]
    assert put(taker, "late", ours[:500], *first).status == 308
    if hashed == "sha-256":  # of another file; nothing of this piece counts
        again = put(taker, "late", theirs[500:], span, f"Repr-Digest: {digest(theirs)}")
        assert (again.status, kept(taker, "late")) == (400, 500)
    assert put(taker, "late", ours[500:], span, f"Repr-Digest: {hash_of(ours)}").status == 201
    requests.delete(f"{taker.url}/files/late", timeout=10)
