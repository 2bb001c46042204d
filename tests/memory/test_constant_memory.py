"""Constant memory: a file fifty times as large costs no more; many at once share one budget.

These tests fail when a step reads a body whole, spools it, or lets a queue grow: each was tried
once.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import TORTURE, eventually
from raw_http import Wire, form_body, form_head, head
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
SMALL, LARGE = 10 * MIB, (512 if TORTURE else 224) * MIB
ALLOWED = 8 * MIB  # more peak for the large one: allocators and page tables vary

BLOCK = pattern(MIB)


def blocks(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield BLOCK


def upload_raw(server: RunningServer, size: int) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/{size}", f"Content-Length: {size}"))
        for block in blocks(size):
            wire.send(block)
        assert wire.answer().status in (200, 201)


def upload_chunked(server: RunningServer, size: int) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/{size}", "Transfer-Encoding: chunked"))
        for block in blocks(size):
            wire.send(b"%x\r\n" % len(block) + block + b"\r\n")
        wire.send(b"0\r\n\r\n")
        assert wire.answer().status in (200, 201)


def upload_form(server: RunningServer, size: int) -> None:
    begin, end = form_body(("title", None, b"t"), ("file", "f.bin", b"@@")).split(b"@@")
    with Wire(server.port) as wire:
        wire.send(form_head(len(begin) + size + len(end)) + begin)
        for block in blocks(size):
            wire.send(block)
        wire.send(end)
        response = wire.answer()
        assert response.status == 201
        requests.delete(server.url + response.headers["location"], timeout=30)


def download(server: RunningServer, size: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(head("GET", f"/files/{size}", "Connection: close"))
        got, buffer = 0, bytearray(MIB)
        while count := sock.recv_into(buffer):
            got += count
    assert got > size


@pytest.fixture(scope="module")
def stocked(taker: RunningServer) -> RunningServer:
    for size in (SMALL, LARGE):
        upload_raw(taker, size)
    return taker


@pytest.mark.parametrize(
    "transfer",
    [upload_raw, upload_chunked, upload_form, download],
    ids=lambda transfer: transfer.__name__,
)
def test_memory_does_not_grow_with_the_size_of_a_file(
    stocked: RunningServer, transfer: object
) -> None:
    """The peak for a large file is that for 10 MiB, in each way."""
    meter = MemoryMeter(stocked.pid)
    peaks: dict[int, int] = {}
    for size in (SMALL, SMALL, LARGE):  # the first warms up
        meter.reset()
        transfer(stocked, size)  # type: ignore[operator]
        peaks[size] = meter.peak()

    assert peaks[LARGE] - peaks[SMALL] <= ALLOWED, {
        size >> 20: f"{peak >> 20} MiB" for size, peak in peaks.items()
    }
    assert peaks[LARGE] < 200 * MIB


def test_two_hundred_slow_uploads_stay_small(serve: Serve) -> None:
    """A kilobyte a second each, after a burst: no upload has a block; all together cost a few
    MiB."""
    server = serve()
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/warm", f"Content-Length: {4 * MIB}") + BLOCK * 4)
        assert wire.answer().status == 201
    meter = MemoryMeter(server.pid)
    before, count, burst, turns = meter.now(), 200, 4000, 6
    wires = []
    try:
        for number in range(count):
            wire = Wire(server.port)
            wires.append(wire)
            wire.send(
                head("PUT", f"/files/slow/{number}", f"Content-Length: {burst + turns * 500}")
                + pattern(burst, number)
            )
        for turn in range(turns):
            time.sleep(0.4)
            for number, wire in enumerate(wires):
                if turn == turns - 1 and number == 0:
                    grown = meter.now() - before
                wire.send(pattern(500, number + burst + turn * 500))
        for wire in wires:
            assert wire.answer().status == 201
    finally:
        for wire in wires:
            wire.close()

    assert grown <= count * 48 * 1024, f"{grown // count} bytes for each"
    for number in (0, 99, 199):
        assert requests.get(f"{server.url}/files/slow/{number}", timeout=10).content == pattern(
            burst + turns * 500, number
        )


def test_ten_fast_uploads_share_the_smallest_budget(serve: Serve) -> None:
    """--memory-budget 8MiB, ten fast senders: all end, none starves, and the process stays
    small."""
    server = serve("--memory-budget", "8MiB")
    upload_raw(server, SMALL)
    meter = MemoryMeter(server.pid)
    meter.reset()
    before, size = meter.now(), 40 * MIB
    done: dict[int, float] = {}

    def one(number: int) -> None:
        with Wire(server.port) as wire:
            wire.send(head("PUT", f"/files/fast/{number}", f"Content-Length: {size}"))
            for block in blocks(size):
                wire.send(block)
            assert wire.answer().status == 201
        done[number] = time.monotonic()

    began = time.monotonic()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 10
    grown = meter.peak() - before
    assert grown <= 64 * MIB, f"{grown >> 20} MiB more for ten uploads of {size >> 20} MiB"
    taken = sorted(end - began for end in done.values())
    assert taken[-1] <= 12 * taken[0], f"an upload starved: {taken}"
    eventually(lambda: not server.drafts(), "no draft stays")
