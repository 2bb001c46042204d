"""A file of a form as an ordinary binary file: read live, and spooled where it cannot be.

The first MiB that went by is kept, so a reader may look at it and go back. What a live file cannot
give is written to a spool, from the first byte if that is still kept. Knows no framework.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any, Protocol

from sluiceway.wsgi.live_file import ITERATION_SIZE, LiveFile
from sluiceway.wsgi.replay_window import WINDOW, ReplayWindow

__all__ = ["ReplayStream", "Spooling"]

# What Werkzeug's and Django's spools have beside a binary file, and apps have used.
OF_THE_SPOOL = frozenset(["_file", "rollover"])
# Libraries that ask a file for its length, and can send one that does not tell.
SENDERS = frozenset(["aiohttp", "boto3", "httpx", "requests", "s3transfer", "urllib3"])


class Spooling(Protocol):
    """What an app wants for a file that cannot be live."""

    strict: bool  # refuse, instead of spooling

    def announce(self, what: str, instead: str) -> None:
        """Say in the log what was asked for, and what to write instead. Raises if strict."""
        ...

    def open_spool(self, file: LiveFile) -> IO[bytes]:
        """A new file to read and write, which disappears when it is closed."""
        ...


class ReplayStream(io.BufferedIOBase):
    """A file of a form, from its first byte.

    Reading raises as LiveFile's does. Reading at the end gives nothing, as often as it is done.
    """

    def __init__(self, file: LiveFile, spooling: Spooling) -> None:
        self._live, self._spooling = file, spooling
        self._window: ReplayWindow | None = ReplayWindow()
        self._spool: IO[bytes] | None = None
        self._base = 0  # offset of the first byte that is kept
        self._taken = 0  # bytes that came from the client, offset behind the last that is kept
        self._at = 0
        self._rewound = False

    @property
    def forward_only(self) -> bool:
        """Whether it is read live: code that only needs its bytes should not seek."""
        return not (self._spool is not None or self._live.ended or self.closed)

    @property
    def spooled(self) -> bool:
        """Whether it was written to a spool."""
        return self._spool is not None

    @property
    def len(self) -> int:
        """Its bytes. `requests` looks for it.

        As long as the file is live, it is expected to be the form's last part: BadForm at its end
        if it is not. Raises AttributeError if the size is unknown.
        """
        return self._live.expected_size() if self.forward_only else self._taken

    # Reading

    def read(self, size: int | None = -1, /) -> bytes:
        self._live.begin_read(self._at)
        if size is None or size < 0:
            return self._read_all()
        first = self._piece(size)
        if len(first) in (0, size):
            return first
        pieces, left = [first], size - len(first)
        while left > 0 and (piece := self._piece(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        self._live.begin_read(self._at)
        return self._piece(ITERATION_SIZE if size < 0 else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        self._live.begin_read(self._at)
        pieces: list[bytes] = []
        left = -1 if size is None else size
        while left and (piece := self._piece_of_line(left)):
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    def _read_all(self) -> bytes:
        """The rest. It is spooled as well: code that took all of it often goes back."""
        if self._window is not None and not self._spooling.strict:
            self.complete("read() takes the whole file into memory", "read it in pieces")
        if not self.forward_only:  # in one piece: joined ones would be there twice
            return self._piece(max(0, self._taken - self._at))
        return b"".join(iter(lambda: self._piece(ITERATION_SIZE), b""))

    def _piece(self, size: int) -> bytes:
        """What is there: at most `size` bytes, none only at the end."""
        self._check_open()
        kept = self._kept()
        if kept is not None:
            data = kept.read(size)
        elif self._spool is not None:
            return b""
        else:
            data = self._keep(self._live.read_piece(size))
        self._at += len(data)
        return data

    def _piece_of_line(self, size: int) -> bytes:
        self._check_open()
        kept = self._kept()
        if kept is not None:
            data = kept.readline(size)
        elif self._spool is not None:
            return b""
        else:
            data = self._keep(self._live.read_line(ITERATION_SIZE if size < 0 else size))
        self._at += len(data)
        return data

    def _kept(self) -> IO[bytes] | None:
        """What is kept, at the current position; None behind it."""
        if self._at >= self._taken:
            return None
        kept = self._spool or (self._window.file if self._window else None)
        if kept is not None:
            kept.seek(self._at - self._base)
        return kept

    def _keep(self, data: bytes) -> bytes:
        """Note bytes that came from the client, and that the reader gets now."""
        self._taken += len(data)
        if self._window is not None:
            if self._taken > WINDOW:
                self._window.close()
                self._window, self._base = None, self._taken
            else:
                self._window.append(data)
        else:
            self._base = self._taken
        return data

    # Going back and forth

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        if whence == os.SEEK_END and self.forward_only and _asked_by_sender():
            return self._expected_size()
        if whence == os.SEEK_END:
            self.complete("seek() to the end needs the whole file", "take f.size, or count")
            offset = max(0, self._taken + offset)
        elif whence == os.SEEK_CUR:
            offset += self._at
        if offset < 0:
            return io.BytesIO().seek(offset)  # raises what every file does
        if offset < self._base:
            raise io.UnsupportedOperation(
                f"{self._live.filename!r} is read while it arrives, and the bytes before offset "
                f"{self._base} went by. Put @spooled on the view, or read the file only once"
            )
        if offset < self._at and self._rewound:
            self.complete("seek() goes back again", "read the file in one go")
        elif offset > self._taken:
            self.complete("seek() goes forward", "read up to there")
        self._rewound = self._rewound or offset < self._at
        self._at = offset
        return offset

    def tell(self) -> int:
        self._check_open()
        return self._at

    def complete(self, what: str, instead: str) -> None:
        """Take the rest of the file from the client, into the window if it fits, else the spool.

        Args:
            what: What needs it, for the log.
            instead: What to write instead.
        """
        if not self.forward_only:
            return
        self._spooling.announce(what, instead)
        while self._spool is None and (data := self._live.read_piece(ITERATION_SIZE)):
            if self._window is None or self._taken + len(data) > WINDOW:
                self._open_spool()
                self._spool_piece(data)
            else:
                self._window.append(data)
                self._taken += len(data)
        while self._spool is not None and (data := self._live.read_piece(ITERATION_SIZE)):
            self._spool_piece(data)

    def _open_spool(self) -> IO[bytes]:
        self._spool = spool = self._spooling.open_spool(self._live)
        if self._window is not None:
            self._window.file.seek(0)
            spool.write(self._window.file.read(WINDOW))
            self._window.close()
            self._window = None
        return spool

    def _spool_piece(self, data: bytes) -> None:
        if self._spool is not None:
            self._spool.write(data)
            self._taken += len(data)

    def _as_spool(self, what: str) -> IO[bytes]:
        """A real file with all bytes, at the current position."""
        self._check_open()
        self.complete(f"{what} needs a real file", "read the file in pieces")
        if self._base:
            raise io.UnsupportedOperation(
                f"{what}: the first bytes of {self._live.filename!r} went by. Put @spooled on the "
                "view"
            )
        spool = self._spool or self._open_spool()
        spool.seek(self._at)
        return spool

    def __getattr__(self, name: str) -> Any:
        if name in OF_THE_SPOOL:
            return getattr(self._as_spool(f"stream.{name}"), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # What every file has

    mode = "rb+"

    @property
    def name(self) -> Any:
        """What a spool has: None, or the number of its file."""
        return getattr(self._spool, "name", None)

    def fileno(self) -> int:
        if self.forward_only and _asked_by_sender():
            raise io.UnsupportedOperation("A file that is read while it arrives has no number")
        spool = self._as_spool("fileno()")
        number = spool.fileno()  # may move the spool to the disk
        spool.flush()
        return number

    def write(self, data: Any, /) -> int:
        spool = self._as_spool("write()")
        count = spool.write(data)
        self._at = spool.tell()
        self._taken = max(self._taken, self._at)
        return count

    def truncate(self, size: int | None = None, /) -> int:
        spool = self._as_spool("truncate()")
        spool.truncate(self._at if size is None else size)
        self._taken = spool.seek(0, os.SEEK_END)
        return self._taken

    def readable(self) -> bool:
        self._check_open()
        return True

    def writable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return not (self.forward_only and _asked_by_sender())

    def close(self) -> None:
        """Forget what is kept. What the client still sends of the file is skipped."""
        if not self.closed:
            super().close()
            for kept in (self._window, self._spool):
                if kept is not None:
                    kept.close()

    def _expected_size(self) -> int:
        try:
            return self._live.expected_size()
        except AttributeError as error:
            raise io.UnsupportedOperation(str(error)) from None

    def _check_open(self) -> None:
        if self.closed:
            io.BytesIO.read(_CLOSED)  # raises what every closed file does


def _asked_by_sender() -> bool:
    """Whether a library that sends files called the method that asks this."""
    return str(sys._getframe(2).f_globals.get("__name__")).partition(".")[0] in SENDERS


_CLOSED = io.BytesIO()
_CLOSED.close()
