"""The head of a response: what frames its body, what closes its connection, what is refused."""

from __future__ import annotations

import select

import pytest

from fix_server import Serve
from raw_http import Wire
from sluiceway.errors import SluiceError
from sluiceway.server.http1.response_head import ResponseHead

Fields = list[tuple[bytes, bytes]]


def made(status: int, fields: Fields, method: str = "GET", keep_alive: bool = True) -> ResponseHead:
    return ResponseHead(status, fields, keep_alive, {"method": method})


def test_a_length_frames_the_body() -> None:
    head = made(200, [(b"Content-Length", b"5"), (b"ETag", b'"a"')])
    assert head.written == b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: "a"\r\n\r\n'
    assert (head.chunked, head.length, head.keep_alive) == (False, 5, True)


@pytest.mark.parametrize(
    ("status", "method", "chunked"),
    [(200, "GET", True), (200, "HEAD", None), (204, "GET", None), (304, "GET", None)],
)
def test_without_a_length_a_body_comes_in_chunks(
    status: int, method: str, chunked: bool | None
) -> None:
    head = made(status, [], method)
    assert head.chunked is chunked
    assert (b"transfer-encoding: chunked\r\n" in head.written) is bool(chunked)


@pytest.mark.parametrize("value", [b"close", b"Upgrade, Close"])
def test_a_connection_closes_where_the_app_says_so(value: bytes) -> None:
    head = made(200, [(b"connection", value), (b"content-length", b"0")])
    assert not head.keep_alive
    assert head.written.lower().count(b"connection:") == 1


def test_a_connection_that_will_close_says_so() -> None:
    head = made(200, [(b"content-length", b"0")], keep_alive=False)
    assert head.written.endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "field",
    [
        (b"a\r\nb", b""),
        (b"a b", b""),
        (b"a:", b""),
        (b"a", b"x\r\ny"),
        (b"a", b"\0"),
        (b"", b"\x7f"),
    ],
)
def test_no_field_can_begin_another_one(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(SluiceError):
        made(200, [(b"content-length", b"0"), field])


def test_a_status_without_a_name_is_sent() -> None:
    assert made(299, []).written.startswith(b"HTTP/1.1 299 \r\n")


def test_head_and_body_of_a_whole_response_come_together(serve: Serve) -> None:
    """One write: the first bytes that can be read have the head and the body."""
    with Wire(serve().port) as wire:
        for _ in range(20):
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert select.select([wire.sock], [], [], 30)[0]
            assert wire.sock.recv(1 << 16).endswith(b"\r\n\r\nok\n")
