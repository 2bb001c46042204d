"""A file of a form that still arrives, as Werkzeug's FileStorage.

Knows Werkzeug's names; reading and spooling are in `wsgi/replay_stream.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from shutil import copyfileobj
from typing import IO, Any, Self, cast

from werkzeug.datastructures import FileStorage, Headers

from sluiceway.flask.app_lines import called_by
from sluiceway.server.forms.saved_file import SavedFile
from sluiceway.uploads.view_progress import FileProgress
from sluiceway.wsgi.live_file import LiveFile
from sluiceway.wsgi.replay_stream import ReplayStream, Spooling

__all__ = ["FlaskFile", "part_headers"]

OF_MEMORY = ("getbuffer", "getvalue")  # what a short file has, as Werkzeug keeps it
COPIED = 256 << 10  # bytes of one piece, when a file is saved
_MODELS = "requests.models"


class FlaskFile(FileStorage):
    """A file of a form, whose bytes come from the client while it is read.

    It is Werkzeug's FileStorage in every respect. What a file under way cannot give, as a seek to
    its end, is spooled first; the log says so.

    Attributes:
        live: The part it reads from.
    """

    stream: ReplayStream  # type: ignore[assignment]

    def __init__(self, file: LiveFile, spooling: Spooling) -> None:
        super().__init__(
            cast("IO[bytes]", ReplayStream(file, spooling)),
            filename=file.filename,
            name=file.name,
            headers=part_headers(file.header_lines),
        )
        self.live: LiveFile = file
        self._spooling = spooling

    @property
    def size(self) -> int | None:
        """Its bytes. Of a file that is not spooled: if it is the form's last part, which is known
        only at its end; None if the form's length is unknown."""
        return self.stream.len if self.stream.spooled else self.live.size

    @property
    def progress(self) -> FileProgress | None:
        """What watchers see of it; None unless the request is watched."""
        return self.live.progress

    def kept(self, size: int | None = None) -> None:
        """Say how much of the file is kept, for those who watch its upload.

        The bar follows it, and is full when the view has answered with a success. `save`,
        `sluiceway.copy`, and an HTTP library that sends the file on, say it themselves.

        Args:
            size: Bytes from the file's beginning; None for all that was read.

        Example:
            while data := f.read(1 << 20):
                table.insert(data)
                f.kept()
        """
        self.live.kept(self.stream.tell() if size is None else size)

    @property
    def taken(self) -> int:
        """Bytes that came from the client."""
        return self.live.taken

    @property
    def forward_only(self) -> bool:
        """Whether it is read live, so that code which only needs its bytes should not seek."""
        return self.stream.forward_only

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, fewer only at the end; everything if it is None or negative.

        Raises:
            BodyCut: The client sent less than the whole form.
            BadForm: The form is malformed.
            DigestMismatch: The body does not have the digest that the request promised.
        """
        if (size is None or size < 0) and self.forward_only and called_by(_MODELS):
            self._spooling.announce(
                "requests.post(files=…) takes the whole file into memory",
                "form = sluiceway.Form().file(name, f) and requests.post(url, data=form, "
                "headers=form.headers)",
            )
        return self.stream.read(size)

    def chunks(self, size: int | None = None) -> Iterator[bytes]:
        """The rest of the file in pieces that are not lines.

        Args:
            size: Bytes of each piece but the last; None for pieces as they arrive.

        Raises:
            BodyCut, BadForm, DigestMismatch: As `read`.

        Example:
            requests.post(url, data=f.chunks())  # in chunks, without a length
        """
        return iter(self.stream.read1 if size is None else lambda: self.stream.read(size), b"")

    def save(self, dst: str | os.PathLike[str] | IO[bytes], buffer_size: int = COPIED) -> None:
        """Write the rest of the file.

        Args:
            dst: A path, where the file appears when it is complete and synchronised with the disk,
                not before; or a binary file that is open for writing.
            buffer_size: Bytes of one piece.

        Raises:
            OSError: It cannot be written there. Otherwise as `read`.
        """
        if not isinstance(dst, str | os.PathLike):
            copyfileobj(self.stream, dst, buffer_size)
            return
        path = os.path.realpath(dst)
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as device:  # a pipe or a device cannot be replaced
                copyfileobj(self.stream, device, buffer_size)
            return
        saved = SavedFile(path)
        try:
            saved.open()
            while data := self.stream.read(buffer_size):
                if saved.write(data, self.progress is not None):
                    self.kept()
            saved.publish()
            self.kept()
        except BaseException:
            saved.discard()
            raise

    def __getattr__(self, name: str) -> Any:
        # Werkzeug's looks into the spool for every name, which would make one
        return getattr(self.stream._file if name in OF_MEMORY else self.stream, name)

    def __repr__(self) -> str:
        return f"<FileStorage: {self.filename!r} ({self.content_type!r})>"  # apps have shown it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def part_headers(lines: tuple[bytes, ...]) -> Headers:
    """The header lines of a part, as Werkzeug reads them."""
    parted = [line.decode("utf-8", "replace").partition(":") for line in lines]
    return Headers([(name.strip(), value.strip()) for name, _, value in parted])
