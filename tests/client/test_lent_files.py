"""A large file goes up round the event loop: sent by the kernel, or read and hashed by a thread.

Whatever the server does within a burst, and whatever happens to the file, the outcome is that of
the ordinary way.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.quick_copies import send
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.client.local import files
from sluiceway.client.local.lent_file import LentLocalFile
from sluiceway.errors import PeerFailed, PeerTimeout, SluiceError, SourceChanged
from sluiceway.pipe import lending
from sluiceway.pipe.receipt import Progress

KIB, MIB = 1 << 10, 1 << 20
SIZE = 12 * MIB + 4097  # more than the sockets of a stalled connection hold
DATA = noise(SIZE)
LIMIT = 30.0  # seconds
WAYS = [
    pytest.param((), id="kernel"),
    pytest.param(("sha-256",), id="hashed", marks=pytest.mark.torture),
]

linux = pytest.mark.skipif(sys.platform != "linux", reason="sendfile is used on Linux only")


class Sent:
    """Bytes that the kernel sent from the file."""

    def __init__(self) -> None:
        self.bytes = 0


@pytest.fixture
def by_kernel(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent, send_to = Sent(), LentLocalFile.send_to

    def counted(self: LentLocalFile, sock: socket.socket) -> int:
        size = send_to(self, sock)
        sent.bytes += size
        return size

    monkeypatch.setattr(LentLocalFile, "send_to", counted)
    monkeypatch.setattr(lending, "LEAST", 1)
    return sent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def took(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(201)


@pytest.fixture(params=WAYS)
def algorithms(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


@linux
async def test_the_kernel_sends_a_file_that_is_not_hashed(source: Path, by_kernel: Sent) -> None:
    with Peer(took) as peer:
        receipt = await send(source, f"{peer.url}/f", algorithms=())

    assert peer.seen[0].body == DATA
    assert (receipt.size, receipt.digests) == (SIZE, ())
    assert SIZE - 4 * MIB < by_kernel.bytes < SIZE  # the first and the last come as ever
    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds, rel=0.02, abs=0.001)


async def test_a_file_that_is_hashed_or_sent_in_chunks_is_read(
    source: Path, by_kernel: Sent
) -> None:
    with Peer(took) as peer:
        await send(source, f"{peer.url}/f")

    assert peer.seen[0].body == DATA
    assert by_kernel.bytes == 0


@linux
@pytest.mark.parametrize("errno_", [errno.EINVAL, errno.ENOSYS])
async def test_a_file_system_without_sendfile_is_read(
    source: Path, by_kernel: Sent, monkeypatch: pytest.MonkeyPatch, errno_: int
) -> None:
    def refuses(*_: object) -> int:
        raise OSError(errno_, os.strerror(errno_))

    monkeypatch.setattr(os, "sendfile", refuses)
    with Peer(took) as peer:
        receipt = await send(source, f"{peer.url}/f", algorithms=())

    assert (peer.seen[0].body, receipt.size, by_kernel.bytes) == (DATA, SIZE, 0)


@linux
async def test_a_form_is_sent_by_the_kernel_too(source: Path, by_kernel: Sent) -> None:
    with Peer(took) as peer:
        await send(source, f"{peer.url}/files", form=[("a", "b")], algorithms=())

    assert DATA in peer.seen[0].body
    assert by_kernel.bytes


def first_bytes(exchange: Exchange, count: int) -> bytes:
    """At least so many bytes of the body."""
    exchange.ask_for_body()
    body = bytearray()
    while len(body) < count:
        body += exchange.recv()
    return bytes(body)


def the_rest(exchange: Exchange, taken: int) -> bytes:
    left = int(exchange.headers["content-length"]) - taken
    body = bytearray()
    while left > len(body) and (piece := exchange.recv_or_cut(65536)):
        body += piece
    return bytes(body)


class Held:
    """A peer that takes some bytes and then nothing, until it is told to go on."""

    def __init__(self, first: int = 2 * MIB) -> None:
        self._first, self.reports, self.took = first, list[Progress](), b""

    def __call__(self, exchange: Exchange) -> None:
        self.took = first_bytes(exchange, self._first)
        exchange.go.wait(LIMIT)
        self.took += the_rest(exchange, len(self.took))
        if not exchange.cut:
            exchange.reply(201)

    async def stalled(self) -> None:
        """Wait until the bar has stood still for three reports."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            last = [report.done for report in self.reports[-4:]]
            if len(last) == 4 and last[0] == last[-1] >= min(self._first, 1):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it did not stall: {self.reports[-4:]}")


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"other")


def truncated(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [overwritten, truncated, grown])
async def test_a_file_that_changes_within_a_burst_is_never_sent_whole(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...], change: Callable[[Path], None]
) -> None:
    held = Held()
    with Peer(held) as peer:
        copying = asyncio.create_task(
            send(source, f"{peer.url}/f", on_progress=held.reports.append, algorithms=algorithms)
        )
        await held.stalled()
        change(source)
        peer.seen[0].go.set()
        with pytest.raises(SourceChanged):
            await asyncio.wait_for(copying, LIMIT)
        peer.seen[0].done.wait(LIMIT)

    assert peer.seen[0].was_cut()
    assert len(peer.seen) == 1


async def test_a_file_that_is_replaced_within_a_burst_is_sent_as_it_was(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    held = Held(1)
    with Peer(held) as peer:
        copying = asyncio.create_task(
            send(source, f"{peer.url}/f", on_progress=held.reports.append, algorithms=algorithms)
        )
        await held.stalled()
        (source.parent / "new").write_bytes(b"another file")
        os.replace(source.parent / "new", source)
        peer.seen[0].go.set()
        receipt = await asyncio.wait_for(copying, LIMIT)

    assert receipt.size == SIZE
    assert held.took == DATA


@linux
async def test_a_change_of_bytes_that_wait_in_the_kernel_is_noticed(
    source: Path, by_kernel: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has been given all but the withheld piece, and the peer has not got it yet."""
    monkeypatch.setattr(files, "READ_SIZE", 64 * KIB)
    size = MIB
    os.truncate(source, size)
    held = Held(1)
    with Peer(held) as peer:
        copying = asyncio.create_task(
            send(source, f"{peer.url}/f", on_progress=held.reports.append, algorithms=())
        )
        await held.stalled()
        assert by_kernel.bytes > size - 256 * KIB
        with source.open("r+b") as file:
            file.seek(size - 128 * KIB)
            file.write(b"other")
        peer.seen[0].go.set()
        with pytest.raises(SourceChanged):
            await asyncio.wait_for(copying, LIMIT)
        peer.seen[0].done.wait(LIMIT)

    assert peer.seen[0].was_cut()


@linux
async def test_the_bar_never_shows_bytes_that_wait_in_our_kernel(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    held = Held()
    with Peer(held) as peer:
        copying = asyncio.create_task(
            send(source, f"{peer.url}/f", on_progress=held.reports.append, algorithms=algorithms)
        )
        await held.stalled()
        shown, arrived, end = 0, -1, time.monotonic() + LIMIT
        while shown != arrived and time.monotonic() < end:  # it may have stalled for the machine
            shown = held.reports[-1].done
            waiting = len(peer.seen[0].sock.recv(SIZE, socket.MSG_PEEK))  # in the peer's kernel
            arrived = len(held.took) + waiting
            assert shown <= arrived
            await asyncio.sleep(0.02)
        peer.seen[0].go.set()
        await asyncio.wait_for(copying, LIMIT)

    assert shown == arrived
    done = [report.done for report in held.reports]
    assert done == sorted(done)


async def test_a_cancelled_upload_ends_within_its_burst(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    held, before = Held(), set(os.listdir("/dev/fd"))
    with Peer(held) as peer:
        copying = asyncio.create_task(
            send(source, f"{peer.url}/f", on_progress=held.reports.append, algorithms=algorithms)
        )
        await held.stalled()
        copying.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(copying, LIMIT)
        assert time.monotonic() - began < LIMIT / 3
        peer.seen[0].go.set()
        peer.seen[0].done.wait(LIMIT)

    assert peer.seen[0].was_cut()
    assert set(os.listdir("/dev/fd")) <= before


async def test_a_server_that_answers_within_a_burst_is_heard(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    def refuses(exchange: Exchange) -> None:
        first_bytes(exchange, 3 * MIB)
        exchange.reply(507, body=b"no room")

    with Peer(refuses) as peer, pytest.raises(SluiceError) as raised:
        await send(source, f"{peer.url}/f", retries=0, algorithms=algorithms)

    assert raised.value.members["answered"] == 507


async def test_a_reset_within_a_burst_is_retried_from_the_start(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    def resets(exchange: Exchange) -> None:
        first_bytes(exchange, 3 * MIB)
        peer.act = took
        exchange.reset()

    with Peer(resets) as peer:
        receipt = await send(source, f"{peer.url}/f", algorithms=algorithms)

    assert receipt.size == SIZE
    assert peer.seen[-1].body == DATA


async def test_a_server_that_takes_nothing_more_is_given_up(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    with Peer(Held()) as peer:
        with pytest.raises(PeerTimeout):
            await send(source, f"{peer.url}/f", retries=0, algorithms=algorithms, idle=0.5)
        peer.seen[0].go.set()


@linux
async def test_a_server_that_does_not_take_what_the_kernel_has_is_given_up(
    source: Path, by_kernel: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it fits into our kernel, so only the acknowledgements show that nothing moves."""
    monkeypatch.setattr(files, "READ_SIZE", 64 * KIB)
    os.truncate(source, MIB)
    with Peer(Held(1)) as peer:
        with pytest.raises(PeerFailed):
            await send(source, f"{peer.url}/f", retries=0, algorithms=(), idle=0.5)
        peer.seen[0].go.set()


@pytest.mark.torture
async def test_a_server_that_reads_a_kib_a_second_is_waited_for(
    source: Path, by_kernel: Sent, algorithms: tuple[str, ...]
) -> None:
    """It moves, so it is no stall, however slowly; then it takes the rest."""

    def slowly(exchange: Exchange) -> None:
        exchange.ask_for_body()
        body = b""
        for _ in range(8):
            body += exchange.recv(KIB)
            time.sleep(1)
        # With so small a window, the kernel's timers would bring the rest: 5 a second.
        exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        got.append(body + the_rest(exchange, len(body)))
        exchange.reply(201)

    got = list[bytes]()
    with Peer(slowly, window=4 * KIB) as peer:
        copying = send(source, f"{peer.url}/f", retries=0, algorithms=algorithms, idle=20)
        receipt = await asyncio.wait_for(copying, 2 * LIMIT)

    assert receipt.size == SIZE
    assert got == [DATA]
