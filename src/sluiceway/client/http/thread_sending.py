"""One burst of a lent connection, sent on by the thread that receives it: bytes go round the loop.

A thread receives into one block, sends it and shows it to the taps: hashed there, a block is still
in its processor's cache. What the peer does not take within the burst is left in `rest`, for the
event loop, which can wait. Blocking calls only; knows nothing of HTTP.
"""

from __future__ import annotations

import socket
import time

from sluiceway.pipe.budget import BLOCK, Block
from sluiceway.pipe.lending import SILENCE, LentConnection, Update, readiness

__all__ = ["SendingBurst"]

# Bytes received before the first of them is sent. While the peer takes all at once they double, up
# to a block: a peer that stalls leaves little here.
FIRST_FILL = 256 << 10


class SendingBurst:
    """Receives into `block` and sends on `sock`, which does not block.

    After `run`, `sent` says how many bytes the kernel took, `rest` what it did not take of those
    received. `broken`: it takes no more, the peer has left or answered.
    """

    __slots__ = ("_block", "_sock", "broken", "rest", "sent")

    def __init__(self, sock: socket.socket, block: Block) -> None:
        self._sock, self._block = sock, block
        self.sent: int = 0
        self.rest: memoryview = memoryview(b"")
        self.broken: bool = False

    def run(self, lent: LentConnection, update: Update) -> None:
        """In the thread."""
        size, whole = FIRST_FILL, memoryview(self._block)
        while lent.going and not self.rest and not self.broken:
            filled = lent.fill(self._block, 0, size)
            waited = lent.destination_wait
            sent = self._send(whole[:filled], lent)
            update(whole[:filled])
            self.sent += sent
            self.rest = whole[sent:filled]
            if lent.destination_wait == waited:
                size = min(2 * size, BLOCK)

    def _send(self, view: memoryview, lent: LentConnection) -> int:
        """Send all of `view`, or what the peer takes in time. Returns the number of bytes."""
        sent = 0
        while sent < len(view):
            try:
                sent += self._sock.send(view[sent:])
            except BlockingIOError:
                if not self._wait(lent):
                    break
            except OSError:
                self.broken = True
                break
        return sent

    def _wait(self, lent: LentConnection) -> bool:
        """Wait until the peer takes more. False: the burst is over."""
        began, bound = time.monotonic(), min(SILENCE, lent.seconds_left)
        ready = readiness(self._sock, to_send=True)(bound)
        lent.destination_wait += time.monotonic() - began
        return bool(ready)
