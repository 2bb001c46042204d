"""The end of a request is found in time, for any chunks and any split into reads."""

from __future__ import annotations

import random

import pytest

from sluiceway.server.http1.message_end import MessageEnd

BEHIND = b"GET / HTTP/1.1\r\n\r\n0\r\n\r\n"


def chunks(dice: random.Random) -> bytes:
    body = b""
    for _ in range(dice.choice([0, 1, 3, 40])):
        texts = [
            b"a\r\n\r\n0\r\n\r\nb: c\r\n\r\n" * dice.randint(1, 9),
            b"0" * dice.randint(1, 9),
            b"\r\n\r\n",
        ]
        data = dice.choice([dice.randbytes(dice.randint(1, 300)), *texts])
        extension = dice.choice([b"", b"", b";a=b", b";" + b"x" * dice.randint(1, 90)])
        body += (
            dice.choice([b"%x", b"0%x", b"%X"]) % len(data) + extension + b"\r\n" + data + b"\r\n"
        )
    trailers = dice.choice([b"", b"A: b\r\n", b"A: b\r\nC: " + b"d" * 90 + b"\r\n"])
    return body + dice.choice([b"0", b"00", b"0;x"]) + b"\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("seed", range(20))
def test_no_byte_beyond_the_last_chunk_is_parsed_with_the_body(seed: int) -> None:
    """Two hundred bodies for each seed, in up to sixty reads.

    The bytes behind a body are never parsed with it, and each read makes progress.
    """
    for number in range(200):
        dice = random.Random(f"{seed}/{number}")
        body = chunks(dice)
        data = body + BEHIND
        cuts = sorted({dice.randrange(len(data) + 1) for _ in range(dice.choice([0, 1, 5, 60]))})
        end, at = MessageEnd(), 0
        end.expect_body(None)
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            read, place = data[start:stop], 0
            while place < len(read) and at < len(body):
                further = end.within(read, place)
                assert further > place
                place, at = further, start + further
                assert at <= len(body) or start >= len(body), (seed, number)
        assert at >= len(body)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_body_of_known_length_ends_with_it(length: int) -> None:
    """A head ends with its empty line, however it is split."""
    data = b"PUT / HTTP/1.1\r\nA: b\r\n\r\n" + b"12345"[:length] + BEHIND
    head = data.index(b"\r\n\r\n") + 4
    for cut in range(1, len(data)):
        end, at = MessageEnd(), 0
        for read in (data[:cut], data[cut:]):
            place = 0
            while place < len(read) and at < head + length:
                further = end.within(read, place)
                at += further - place
                place = further
                if at == head:
                    end.expect_body(length)
                assert at <= head + length
                if at < head:
                    break
        assert at == head + length
