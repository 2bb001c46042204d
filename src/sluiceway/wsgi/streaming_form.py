"""A form that is read while it arrives, by one thread: fields as values, files as binary files.

Nothing is spooled: to read a file is to read the socket. So the order of the parts matters, and
code that asks for a part too late gets an error that names the line to change. It must not know
any framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from sluiceway.errors import BodyCut, WrongOrder
from sluiceway.server.forms.walk import FileBegan, FormField, FormItem, FormWalk
from sluiceway.uploads.view_progress import FileProgress
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wsgi.live_file import LiveFile

__all__ = ["LiveFile", "LiveForm"]

# Bytes of one read of the body. gunicorn copies what it has received beyond each read: 3.0 s of
# CPU a GB at 64 KiB, 0.9 at 1 MiB.
READ_SIZE = 1 << 20


class LiveForm:
    """A form while it arrives: walk it with `for part in form`, or ask for `file(name)` and
    `field(name)`.

    Args:
        read: Gives at most so many next bytes of the body, none at its end.
        content_type: The request's Content-Type, with its boundary.
        length: Bytes of the body; None if unknown.
        limits: What the form may cost.
        kind: The class of its files.
        expected: Digests that the whole body must have, by algorithm.
        watched: Makes the progress of a file; None unless the request is watched.
        keep_empty: Whether a file input that was left empty is a file without a name.

    Attributes:
        fields: Names and values of the fields that came so far.
        files: The files that came so far.
        ended: Whether the form was read to its end.

    Raises:
        BadForm: The form is malformed. So do all methods that read.
        Unsupported: The content type is not that of a form.
    """

    ended: bool
    fields: list[tuple[str, str]]
    files: list[LiveFile]
    watched: Callable[[], FileProgress] | None

    def __init__(
        self,
        read: Callable[[int], bytes],
        content_type: str,
        length: int | None,
        limits: FormLimits = FormLimits(),
        kind: type[LiveFile] = LiveFile,
        expected: Mapping[str, bytes] = MappingProxyType({}),
        watched: Callable[[], FileProgress] | None = None,
        keep_empty: bool = False,
    ) -> None:
        self._read, self._kind, self.watched = read, kind, watched
        self._items: Iterator[FormItem] = self._walk(
            FormWalk(content_type, limits, length, expected, keep_empty=keep_empty)
        )
        self._is_unmeasured = length is None
        self._part: LiveFile | None = None  # the file whose turn it is
        self.ended = False
        self.fields, self.files = [], []

    def __iter__(self) -> Iterator[FormField | LiveFile]:
        """The parts that are still to come.

        A file that was not read is skipped when the next part is asked for; TooLarge if it is
        longer than 64 MiB.
        """
        while (part := self.advance()) is not None:
            yield part

    def file(self, name: str) -> LiveFile | None:
        """The file in field `name`: one that came already, or the next to come.

        Returns:
            None if the form has no such file.

        Raises:
            WrongOrder: Another file stands before it and was not read.
        """
        for known in self.files:
            if known.name == name:
                return known
        while not self.ended:
            self._check_turn(f"the file {name!r}")
            part = self.advance()
            if isinstance(part, LiveFile) and part.name == name:
                return part
        return None

    def field(self, name: str) -> str | None:
        """The first value of a field that came, or that comes before the next file.

        Returns:
            None if the form has no such field.

        Raises:
            WrongOrder: A file stands before it and was not read.
        """
        while True:
            for known, value in self.fields:
                if known == name:
                    return value
            if self.ended:
                return None
            self._check_turn(f"the field {name!r}")
            self.advance()

    def begin(self, *needed: str) -> list[str]:
        """Read on to the first file or, if fields are `needed`, to the last of these.

        Returns:
            The names of needed fields that did not come before the first file.
        """
        missing = list(needed)
        while not (self.ended or self.files or (needed and not missing)):
            part = self.advance()
            missing = [
                name for name in missing if not isinstance(part, FormField) or name != part.name
            ]
        return [name for name in missing if all(name != known for known, _ in self.fields)]

    def drain(self) -> None:
        """Read to the end of the form and forget it. Raises as reading does."""
        for _ in self._items:
            pass
        self.ended = True

    def _check_turn(self, wanted: str) -> None:
        part = self._part
        if part is not None and not part.ended:
            what = (
                f"{wanted} is needed first, and the file {part.filename!r} in field {part.name!r} "
                "stands before it in the form"
            )
            raise WrongOrder(
                f"{what} and was not read to its end. Read that file first, or have the client "
                "send fields before files"
            ).for_operator(f"{what}; send fields before files")

    def advance(self) -> FormField | LiveFile | None:
        """The next part; None at the end. A file that was not read is skipped, as by iteration."""
        if self._part is not None:
            self._part.skip()
            self._part = None
        for item in self._items:
            if isinstance(item, FormField):
                self.fields.append((item.name, item.value))
                return item
            if isinstance(item, FileBegan):
                self._part = file = self._kind(self, item)
                self.files.append(file)
                return file
        self.ended = True
        return None

    def fill(self, file: LiveFile) -> None:
        """One more piece for the file under way. Raises what the body does, each time again."""
        try:
            file.take(next(self._items))
        except StopIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None

    def _walk(self, walk: FormWalk) -> Iterator[FormItem]:
        walk.wait()
        while data := self._read(READ_SIZE):
            yield from walk.feed(data)
            walk.wait()
        # Some servers show their apps the cut of a body in chunks as its end.
        yield from walk.close(maybe_cut=self._is_unmeasured)
