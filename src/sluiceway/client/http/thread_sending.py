"""One burst of a lent connection, sent on by the thread that receives it: bytes go round the loop.

A thread receives into one block, sends it and shows it to the taps: hashed there, a block is still
in its processor's cache. What the peer does not take within the burst is left in `rest`, for the
event loop, which can wait. Blocking calls only; knows nothing of requests.
"""

from __future__ import annotations

import socket
import time

from sluiceway.pipe.budget import BLOCK, Block
from sluiceway.pipe.lending import SILENCE, LentConnection, Update, readiness
from sluiceway.pipe.source import Buffer

__all__ = ["SendingBurst"]

# Bytes received before the first of them is sent. While the peer takes all at once they double, up
# to a block: a peer that stalls leaves little here.
FIRST_FILL = 256 << 10


class SendingBurst:
    """Receives into `block` and sends on `sock`, which does not block; `chunked` as RFC 9112 7.1.

    After `run`, `sent` is the number of bytes of the body that the kernel took, `rest` what it did
    not take, with what frames it. `broken`: it takes no more; the peer has left or answered.
    """

    __slots__ = ("_block", "_sock", "broken", "chunked", "rest", "sent")

    def __init__(self, sock: socket.socket, block: Block, chunked: bool) -> None:
        self._sock, self._block = sock, block
        self.chunked: bool = chunked
        self.sent: int = 0
        self.rest: list[Buffer] = []
        self.broken: bool = False

    def run(self, lent: LentConnection, update: Update) -> None:
        """In the thread."""
        size, whole = FIRST_FILL, memoryview(self._block)
        while lent.going and not self.rest:
            filled, waited = lent.fill(self._block, 0, size), lent.destination_wait
            if not filled:
                continue
            data = whole[:filled]
            self.rest = self._send(self._framed(data), lent)
            self.sent += filled - self._body_bytes(self.rest, filled)
            update(data)
            if lent.destination_wait == waited:
                size = min(2 * size, BLOCK)

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
