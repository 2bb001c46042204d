"""The progress of a request that an app's own view takes: read, sent on, kept, and how it ended.

Each view keeps bytes in its own way, so this counts what can be known: what the view says, and what
the kernel of another server has acknowledged. Knows no framework, and no other request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sluiceway.client.http.sending_socket import sending_socket
from sluiceway.client.http.socket_progress import SocketLike, unacknowledged
from sluiceway.errors import BodyCut, SluiceError, TooLarge
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.states import ENDED, State, after

__all__ = ["REDIRECTED", "REFUSED", "FileProgress", "ViewProgress"]

# Codes of uploads whose view answered without an error of ours.
REDIRECTED = "redirected"  # 3xx: neither a success nor a failure
REFUSED = "refused"  # 4xx


class ViewProgress:
    """One watched request. Any thread may call any method.

    `at_end` is called once, when the record can be given back. `follow` is called for a file that
    is sent on: it calls the file's `look` until that returns False.
    """

    def __init__(
        self,
        record: ProgressRecord,
        at_end: Callable[[ProgressRecord], None],
        follow: Callable[[FileProgress], None],
    ) -> None:
        self.follow = follow
        self._record, self._at_end = record, at_end
        self._lock = threading.Lock()
        self._body = FileProgress(self)
        self._files: list[FileProgress] = []
        self._over = False

    @property
    def length(self) -> int | None:
        """Bytes of the body, as far as its head says."""
        return self._record.length

    @property
    def ended(self) -> bool:
        return self._record.state in ENDED

    def begin_read(self) -> None:
        """The view reads on in the body. It is one file, as long as no file in it is counted."""
        if not self._files:
            self._body.begin_read(self._body.taken)

    def count_received(self, size: int) -> None:
        """The view has read `size` more bytes of the body; 0 at its end."""
        record = self._record
        self._body.take(self._body.taken + size)
        with self._lock:
            record.received += size
            whole = record.received == record.length or (not size and record.length is None)
            if whole and record.state is State.RECEIVING:
                record.state = after(record.state, "whole")

    def add_file(self) -> FileProgress:
        """The progress of one more file of the request."""
        file = FileProgress(self)
        with self._lock:
            self._files.append(file)
        return file

    def count_files(self) -> None:
        """A counter of a file has moved. Ours never go back, and none passes the one before it."""
        record = self._record
        with self._lock:
            if self.ended:
                return
            files = self._files or [self._body]
            forwarded = sum(max(file.forwarded, file.kept) for file in files)
            record.forwarded = max(record.forwarded, min(forwarded, record.received))
            record.by_kernel = any(file.by_kernel for file in files)
            kept = sum(file.kept for file in files)
            record.kept = max(record.kept, min(kept, record.forwarded))

    def fail(self, error: BaseException) -> None:
        """The request cannot succeed any more, whatever the view answers."""
        with self._lock:
            if not self.ended:
                self._fail(error.code if isinstance(error, SluiceError) else SluiceError.code)

    def cut(self) -> None:
        """The client has left before the body's end."""
        self.fail(BodyCut())

    def end(self, status: int | None, error: BaseException | None = None) -> None:
        """The view has answered with `status`, or raised `error`; None if it did neither."""
        with self._lock:
            if self._over:
                return
            self._over = True
        if error is not None:
            self.fail(error)
        with self._lock:
            if not self.ended and status is not None and 200 <= status < 300:
                self._complete()
            elif not self.ended:
                self._fail(_code_of(status))
        self._at_end(self._record)

    def _complete(self) -> None:
        record = self._record
        size = sum(file.taken for file in self._files) if self._files else record.received
        record.forwarded = max(record.forwarded, min(size, record.received))
        record.kept, record.by_kernel = record.forwarded, False
        if record.state is State.RECEIVING:
            record.state = after(record.state, "whole")
        record.state = after(record.state, "published")

    def _fail(self, code: str) -> None:
        self._record.code = code
        self._record.state = after(self._record.state, "fail")


class FileProgress:
    """One file, or a raw body: how far the view has read it, sent it on, and kept it. In bytes."""

    taken: int  # read by the view
    forwarded: int  # taken by the kernel, for another server
    kept: int
    by_kernel: bool  # whether the other server's kernel alone has acknowledged `kept`

    def __init__(self, request: ViewProgress) -> None:
        self._request = request
        self.taken = self.forwarded = self.kept = 0
        self.by_kernel = False
        self._socket: SocketLike | None = None
        self._counted_by_body = False

    def begin_read(self, position: int) -> None:
        """The view reads on there. If an HTTP library reads for it, that has sent all before."""
        if not self._counted_by_body and position:
            self._send(position)

    def take(self, position: int) -> None:
        """The view has read so far."""
        self.taken = max(self.taken, position)

    def sent(self, size: int) -> None:
        """A `Form` or a `Sized` with this file has given `size` more bytes of it to its library."""
        self._counted_by_body = True
        self._send(self.forwarded + size)

    def keep(self, size: int) -> None:
        """The view says that the first `size` bytes are kept."""
        self.by_kernel, self._socket = False, None
        self.kept = max(self.kept, min(size, self.taken))
        self._request.count_files()

    def hand_on(self, size: int, kept: int) -> None:
        """A destination has taken the first `size` bytes and acknowledged `kept` of them.

        The last one counts when it has confirmed all.
        """
        self.forwarded = max(self.forwarded, min(size, self.taken))
        self.kept = max(self.kept, min(kept, self.forwarded - 1))
        self._request.count_files()

    def look(self) -> bool:
        """Count what the other server's kernel has acknowledged; False if there is no more to see.

        The last byte counts when the view has answered.
        """
        sock = self._socket
        # Before the number of bytes on their way: then the result may be too small, not too large.
        forwarded = self.forwarded
        outstanding = None if sock is None else unacknowledged(sock)
        if outstanding is None or self._request.ended:
            return False
        self.kept = max(self.kept, min(forwarded - outstanding, forwarded - 1))
        self.by_kernel = True
        self._request.count_files()
        return True

    def _send(self, size: int) -> None:
        if self._socket is None:
            self._socket = sending_socket()
            if self._socket is None:
                return
            self._request.follow(self)
        self.forwarded = min(size, self.taken)
        self.look()


def _code_of(status: int | None) -> str:
    if status == TooLarge.status:
        return TooLarge.code
    if status is not None and 300 <= status < 500:
        return REDIRECTED if status < 400 else REFUSED
    return SluiceError.code
