"""One burst of a lent connection, sent on by the thread that receives it: bytes go round the loop.

A thread receives into one block, sends it and shows it to the taps: hashed there, a block is still
in its processor's cache. While it is the only transfer, another thread hashes one half of the block
meanwhile. A file that no tap looks at is sent by the kernel. What the peer does not take within the
burst is left in `rest`, for the event loop, which can wait. Blocking calls only; knows nothing of
requests.
"""

from __future__ import annotations

import socket
import sys
import time

from sluiceway.pipe.budget import BLOCK, Block
from sluiceway.pipe.lending import (
    SILENCE,
    FileSending,
    LentConnection,
    Update,
    readiness,
    unseen,
)
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import Beside

__all__ = ["SendingBurst"]

HALF = BLOCK // 2
# Bytes received before the first of them is sent. While the peer takes all at once they double, up
# to a block where memory is plentiful: a peer that stalls leaves all of a fill here.
FIRST_FILL = 256 << 10
# The largest fill where memory is short. Full blocks of peers that stalled left none for other
# uploads: twenty held 25 MiB of a budget of 14. Smaller fills take a twentieth more processor time.
MOST_FILL = 512 << 10
# Elsewhere sendfile differs in what it does with a full socket and a file that became shorter.
CAN_SENDFILE = sys.platform == "linux"


class SendingBurst:
    """Receives into `block` and sends on `sock`, which does not block; `chunked` as RFC 9112 7.1.
    `plentiful`: there is memory for a block that stalls full.

    After `run`, `sent` is the number of bytes of the body that the kernel took, `rest` what it did
    not take, with what frames it. `broken`: it takes no more; the peer has left or answered.
    `by_kernel`: bytes of a file are sent as they are in the file once they leave, not as now.
    """

    __slots__ = (
        "_block",
        "_most",
        "_size",
        "_sock",
        "_start",
        "broken",
        "by_kernel",
        "chunked",
        "rest",
        "sent",
    )

    def __init__(self, sock: socket.socket, block: Block, chunked: bool, plentiful: bool) -> None:
        self._sock, self._block = sock, block
        self._most = BLOCK if plentiful else MOST_FILL
        self.chunked: bool = chunked
        self.sent: int = 0
        self.rest: list[Buffer] = []
        self.broken: bool = False
        self.by_kernel: bool = False
        self._size = FIRST_FILL
        self._start = 0  # of the part of the block that is filled next

    def run(self, lent: LentConnection, update: Update) -> None:
        """In the thread."""
        by_kernel = CAN_SENDFILE and update is unseen and not self.chunked
        if by_kernel and isinstance(lent, FileSending):
            self._send_file(lent)
        if update is unseen or not lent.alone or self._most < HALF:  # which would need two of them
            while lent.going and not self.rest:
                self._pass_on(lent, update)
            return
        self._most = HALF
        with Beside(update) as beside:
            while lent.going and not self.rest:
                self._pass_on(lent, beside.show)
                self._start = HALF - self._start

    def _send_file(self, lent: FileSending) -> None:
        """A peer that stalls gets the next piece as from any other source."""
        while lent.going:
            try:
                size = lent.send_to(self._sock)
            except BlockingIOError:
                if not self._wait(lent):
                    self._pass_on(lent, unseen)
                    return
            except OSError:
                return  # the ordinary way meets it, and knows whether file or socket is broken
            else:
                self.sent += size
                self.by_kernel = True

    def _pass_on(self, lent: LentConnection, update: Update) -> None:
        start, waited = self._start, lent.destination_wait
        filled = lent.fill(self._block, start, start + self._size)
        if not filled:
            return
        data = memoryview(self._block)[start : start + filled]
        self.rest = self._send(self._framed(data), lent)
        self.sent += filled - self._body_bytes(self.rest, filled)
        update(data)
        if lent.destination_wait == waited:
            self._size = min(2 * self._size, self._most)

    def _framed(self, data: memoryview) -> list[Buffer]:
        return [b"%x\r\n" % len(data), data, b"\r\n"] if self.chunked else [data]

    def _body_bytes(self, rest: list[Buffer], whole: int) -> int:
        left = sum(map(len, rest))
        return min(whole, max(0, left - 2)) if self.chunked else left

    def _send(self, buffers: list[Buffer], lent: LentConnection) -> list[Buffer]:
        """Send what the peer takes in time. Returns the rest."""
        while buffers:
            try:
                sent = self._send_some(buffers)
            except BlockingIOError:
                if not self._wait(lent):
                    break
                continue
            except OSError:
                self.broken = True
                break
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if sent:
                buffers[0] = memoryview(buffers[0])[sent:]
        return buffers

    def _send_some(self, buffers: list[Buffer]) -> int:
        if hasattr(self._sock, "sendmsg"):
            return self._sock.sendmsg(buffers)
        return self._sock.send(buffers[0])  # Windows

    def _wait(self, lent: LentConnection) -> bool:
        """Wait until the peer takes more. False: the burst is over."""
        began, bound = time.monotonic(), min(SILENCE, lent.seconds_left)
        ready = readiness(self._sock, to_send=True)(bound)
        lent.destination_wait += time.monotonic() - began
        return bool(ready)
