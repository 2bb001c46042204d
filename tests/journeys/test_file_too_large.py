"""Errors of a file system are error apart: a too large file is not a full disk, and a fault is
neither.
"""

from __future__ import annotations

import errno
import resource
from contextlib import suppress

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from raw_http import Wire, chunk, form_body, form_head, head
from sluiceway.stores.disk.errors import map_error

MIB = 1 << 20
MOST = 4 * MIB  # bytes: the largest file that the processes of these servers may write


@pytest.fixture
def limited(serve: Serve) -> RunningServer:
    """A server whose process may write no larger file: its writes end in EFBIG, as on FAT32 at 4
    GiB.
    """
    server = serve()
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (MOST, MOST))
    return server


def test_a_known_length_is_refused_before_the_body(limited: RunningServer) -> None:
    """413 and not 507, before any byte is sent."""
    with Wire(limited.port) as wire:
        wire.send(head("PUT", "/files/large", f"Content-Length: {MOST + 1}"))
        response = wire.answer()

    assert (response.status, response.code) == (413, "too-large")
    assert "full" not in response.json()["detail"]


@pytest.mark.parametrize("piece", [1000, 65536])
def test_an_unknown_length_is_refused_at_the_limit(limited: RunningServer, piece: int) -> None:
    """Slow and fast senders; the draft is removed, and a smaller file is stored."""
    with Wire(limited.port) as wire:
        wire.send(head("PUT", "/files/large", "Transfer-Encoding: chunked"))
        with suppress(OSError):  # refused while it is sent
            for _ in range(2 * MOST // piece):
                wire.send(chunk(bytes(piece)))
        response = wire.answer()

    assert (response.status, response.code) == (413, "too-large")
    assert "takes no file this large" in response.json()["detail"]
    assert "full" not in response.json()["detail"]
    assert "does not help" in response.json()["detail"]
    eventually(lambda: limited.drafts() == [], "the draft is gone")
    assert limited.stored() == {}
    assert (
        requests.put(f"{limited.url}/files/small", data=noise(MIB), timeout=10).status_code == 201
    )


def test_a_refusal_reaches_a_sender_that_pauses(limited: RunningServer) -> None:
    """Its last block is refused while it sends nothing more; the response comes at once."""
    with Wire(limited.port) as wire:
        wire.send(head("PUT", "/files/large", "Transfer-Encoding: chunked"))
        for _ in range(3):  # blocks of 2 MiB; the third one begins where the file has to end
            wire.send(chunk(bytes(2 * MIB)))
        response = wire.answer()

    assert (response.status, response.code) == (413, "too-large")
    assert limited.stored() == {}


def test_the_second_file_of_a_form_is_refused_likewise(limited: RunningServer) -> None:
    """Without any --max-size; the first file is not kept."""
    body = form_body(("a", "1", b"1"), ("b", "2", bytes(MOST + MIB)))
    with Wire(limited.port) as wire:
        wire.send(form_head(len(body)))
        with suppress(OSError):  # refused while it is sent
            wire.send(body)
        response = wire.answer()

    assert (response.status, response.code) == (413, "too-large")
    assert limited.stored() == {}


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, "no-space", "full"),
        (errno.EDQUOT, "no-space", "quota"),
        (errno.EFBIG, "too-large", "no file this large"),
        (errno.ENAMETOOLONG, "bad-name", "a name this long"),
        (errno.EILSEQ, "bad-name", "these characters"),
        (errno.ELOOP, "forbidden", "symbolic link"),
        (errno.EROFS, "store-failed", "read-only"),
        (errno.EACCES, "store-failed", "no right"),
        (errno.EPERM, "store-failed", "no right"),
        (errno.EIO, "store-failed", "has a fault"),
        (errno.ESTALE, "store-failed", "is gone"),
        (errno.ENODEV, "store-failed", "is gone"),
        (errno.ENOTDIR, "exists", "in the way"),
        (errno.EISDIR, "exists", "in the way"),
        (errno.EMFILE, "unavailable", ""),
        (errno.ENFILE, "unavailable", ""),
        (errno.ENOMEM, "unavailable", "memory"),
        (errno.EINVAL, "store-failed", "failed"),
    ],
)
def test_each_errno_has_its_error_and_text(number: int, code: str, words: str) -> None:
    """Who must act, and what to do. Clients do not read what only the operator can repair."""
    error = map_error(OSError(number, "", "/srv/secret/path"), "the upload")

    assert error.code == code
    assert words in error.detail
    assert "/srv" not in error.detail
    assert "--" not in (error.public or error.detail)
    assert (error.public is None) is (code != "store-failed") or code == "unavailable"
