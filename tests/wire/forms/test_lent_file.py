"""A thread finds a file's end in a form wherever blocks, bursts and pauses cut its bytes."""

from __future__ import annotations

import asyncio
import mmap
import socket
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.pipe.budget import BLOCK
from sluiceway.pipe.lending import LentSocket
from sluiceway.wire.forms.lent_file import LentFile
from sluiceway.wire.forms.search import find

DELIMITER = b"\r\n--boundary"
# Bytes of which almost every piece may begin the delimiter.
LIKE_IT = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n--", b"\r\n--boundar", b"x", DELIMITER[:-1]]),
    max_size=40,
).map(b"".join)


def drawn(sent: bytes, sizes: list[int], limit: int | None = None) -> tuple[bytes, bytes, int]:
    """What a sink gets in pieces of these sizes, what the form gets, and the bytes received."""
    back: list[tuple[int, bytes]] = []
    received: list[int] = []
    unread: list[bytes] = []

    async def draw() -> bytes:
        mine, theirs = socket.socketpair()
        with mine:
            mine.sendall(sent)
            theirs.setblocking(False)
            inner = LentSocket(theirs, len(sent), lambda _: None)
            lent = LentFile(inner, DELIMITER, received.append, lambda *all: back.append(all))
            if limit is not None:
                lent.limit(limit)
            got, sizes_left = bytearray(), list(sizes)

            def burst() -> None:
                buffer = mmap.mmap(-1, BLOCK)
                while lent.going:
                    start, size = 7, sizes_left.pop() if sizes_left else BLOCK - 7
                    filled = lent.fill(buffer, start, start + size)
                    got.extend(buffer[start : start + filled])

            while not lent.ended:
                async with lent.turn():
                    await lent.in_thread(burst)
            assert lent.taken == len(got)
            with suppress(BlockingIOError):
                unread.append(theirs.recv(1 << 20))
            lent.hand_back()
            lent.hand_back()
            return bytes(got)

    got = asyncio.run(draw())
    assert [taken for taken, _ in back] == [len(got)]
    return got, back[0][1] + b"".join(unread), sum(received)


@given(LIKE_IT, LIKE_IT, st.lists(st.integers(1, 40), max_size=80))
def test_a_sink_gets_the_file_and_the_form_what_stands_behind(
    file: bytes, behind: bytes, sizes: list[int]
) -> None:
    sent = file + DELIMITER + behind
    got, back, received = drawn(sent, sizes)
    assert got + back == sent
    whole = sent[: sent.index(DELIMITER)]
    assert whole.startswith(got)
    assert len(whole) - len(got) < 2 * len(DELIMITER)  # the decoder gets the rest
    assert len(got) <= received <= len(sent)


@given(LIKE_IT, st.lists(st.integers(1, 40), max_size=80))
def test_bytes_that_may_begin_a_delimiter_go_back_to_the_form(
    file: bytes, sizes: list[int]
) -> None:
    """The connection is handed back while no one knows."""
    got, back, _ = drawn(file, sizes)
    assert got + back == file
    assert len(back) < 2 * len(DELIMITER)


@given(st.binary(max_size=200), st.integers(0, 200), st.lists(st.integers(1, 40), max_size=80))
def test_no_byte_beyond_a_limit_reaches_the_sink(file: bytes, limit: int, sizes: list[int]) -> None:
    got, back, _ = drawn(file + DELIMITER, sizes, limit)
    assert len(got) <= limit
    assert (file + DELIMITER).startswith(got + back)


@given(LIKE_IT, st.integers(0, 40), st.integers(0, 300), st.booleans())
def test_the_c_library_finds_what_python_finds(
    data: bytes, start: int, end: int, is_block: bool
) -> None:
    buffer = mmap.mmap(-1, 512) if is_block else bytearray(512)
    buffer[40 : 40 + len(data[:400])] = data[:400]
    assert find(buffer, DELIMITER, start, end) == buffer.find(DELIMITER, start, end)
