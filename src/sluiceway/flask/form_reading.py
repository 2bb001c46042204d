"""A form that a Flask app reads while it arrives: its parts in turn, and what the log says of
files that cannot be live.

Knows one request. What its dicts do is in `arriving.py`, what its files do in `flask_file.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, NoReturn

import flask
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from sluiceway.errors import BadOrder, SluiceError, TooLarge, WrongOrder
from sluiceway.flask.app_lines import app_line
from sluiceway.flask.arriving import ArrivingDict, ArrivingFiles
from sluiceway.flask.flask_file import FlaskFile, part_headers
from sluiceway.server.forms.walk import FormField, FormItem, FormWalk
from sluiceway.wsgi.body import WsgiBody
from sluiceway.wsgi.live_file import LiveFile
from sluiceway.wsgi.streaming_form import LiveForm

__all__ = ["FlaskBody", "FlaskForm", "FlaskTooLarge", "FormReading", "as_flask_error"]


class FlaskTooLarge(RequestEntityTooLarge, TooLarge):  # type: ignore[misc]
    """A body or a form beyond the app's limits: Werkzeug's 413, which is a SluiceError as well.

    `code` is 413, as apps that handle Werkzeug's error expect.
    """

    def __init__(self, error: TooLarge) -> None:
        super().__init__(error.detail)
        TooLarge.__init__(self, error.detail, **error.members)

    def as_problem(self) -> TooLarge:
        """The same with its code as a SluiceError."""
        return TooLarge(self.detail, **self.members)


class FlaskBody(WsgiBody):
    """A request's body whose limit is an error that the app knows."""

    def _check(self, size: int) -> None:
        try:
            super()._check(size)
        except TooLarge as error:
            raise FlaskTooLarge(error) from None


class FlaskForm(LiveForm):
    """A form whose limits are errors that the app knows."""

    def _walk(self, walk: FormWalk) -> Iterator[FormItem]:
        try:
            yield from super()._walk(walk)
        except TooLarge as error:
            raise as_flask_error(error) from None


def as_flask_error(error: TooLarge) -> FlaskTooLarge:
    """The error as one that an app's handler of 413 gets."""
    return error if isinstance(error, FlaskTooLarge) else FlaskTooLarge(error)


class FormReading:
    """The form of one request.

    Attributes:
        form, files: What `request.form` and `request.files` are.
        strict: Refuse what cannot be read live.
        refused: The request was answered with an error, and the connection ends.
        answered: There is a response, whose end ends the reading.
    """

    def __init__(self, request: flask.Request, live: LiveForm, strict: bool) -> None:
        self._request, self._live = request, live
        # a thread of the view's own, such as boto3's, reads files without an app context
        self._logger = flask.current_app.logger if flask.current_app else logging.getLogger("flask")
        self.strict = strict
        self.form: ArrivingDict[str] = ArrivingDict(self, "field")
        self.files: ArrivingFiles[FlaskFile] = ArrivingFiles(self, "file")
        self.refused = self.answered = False
        self._current: FlaskFile | None = None
        self._announced = False

    def parts(self) -> Iterator[FormField | FlaskFile]:
        """The parts that are still to come; a file that was not read is skipped."""
        while (part := self._next()) is not None:
            # a file input that was left empty is not a part
            if isinstance(part, FormField) or part.filename or not part.live.at_end():
                yield part

    def advance(self, wanted: str) -> bool:
        """Read on to the next part; False at the end. A file that was not read is spooled."""
        if self._current is not None and self._current.forward_only:
            self._leave(self._current, wanted)
        return self._next() is not None

    def begin(self, *needed: str) -> list[str]:
        """Read on to the first file or, if fields are needed, to the last of them.

        Returns:
            The names of needed fields that did not come before the first file.
        """
        known = self.form.known()
        while not (self._current or self._live.ended or (needed and known.keys() >= {*needed})):
            self._next()
            known = self.form.known()
        return [name for name in needed if name not in known]

    def close(self) -> None:
        """Forget all files, and read what the client still sends: only then it reads the answer."""
        for file in self.files.arrived_so_far():
            file.close()
        # The response is on its way; a client that stops sending is none of it.
        with suppress(SluiceError):
            if not self.refused:
                self._live.drain()

    # What a file asks for

    def announce(self, what: str, instead: str) -> None:
        """Say once what keeps the form from being read live. Raises BadOrder if strict."""
        if self.strict:
            self._refuse(BadOrder(f"{what}; {instead}").for_operator())
        self._log(f"{what}. To have it streamed, {instead}")

    def open_spool(self, file: LiveFile) -> IO[bytes]:
        """As Werkzeug opens it, or the app's own request class."""
        headers = part_headers(file.header_lines)
        return self._request._get_file_stream(
            self._request.content_length, headers.get("Content-Type"), file.filename,
            headers.get("Content-Length", 0, type=int),
        )  # fmt: skip

    def _next(self) -> FormField | FlaskFile | None:
        if self._current is not None and self._current.forward_only:
            self._current.close()  # its bytes go by
        self._current = None
        part = self._live.advance()
        if isinstance(part, LiveFile):
            return self._arrived(part)
        if part is not None:
            self.form.arrived(part.name, part.value)
        return part

    def _arrived(self, part: LiveFile) -> FormField | FlaskFile:
        file = FlaskFile(part, self)
        disposition = parse_options_header(file.headers.get("Content-Disposition"))[1]
        if "filename" not in disposition:  # Werkzeug's rule for a field, whatever its type
            field = FormField(part.name, self._text(part))
            self.form.arrived(field.name, field.value)
            return field
        self._current = file
        self.files.arrived(part.name, file)
        return file

    def _text(self, part: LiveFile) -> str:
        most = self._request.max_form_memory_size
        most = FIELD_SIZE if most is None else most
        value = part.read(most + 1)
        if len(value) > most:
            raise as_flask_error(TooLarge(f"A field may have {most} bytes", limit=most))
        return value.decode("utf-8", "replace")

    def _leave(self, file: FlaskFile, wanted: str) -> None:
        if file.live.at_end():
            return
        what = (
            f"{wanted} is asked for, and the file {file.filename!r} in field {file.name!r} stands "
            "before it in the form and was not read"
        )
        instead = "read that file first, or have the client send fields before files"
        if self.strict:
            error = WrongOrder(f"{what}; {instead}")
            self._refuse(error.for_operator(f"{what}; send fields before files"))
        file.stream.complete(what, instead)

    def _log(self, text: str) -> None:
        if not self._announced:
            self._announced = True
            self._logger.debug("%s: %s", app_line(), text)

    def _refuse(self, error: SluiceError) -> NoReturn:
        error.private["line"] = app_line()  # for the log: clients see no path of the app
        raise error


FIELD_SIZE = 1 << 20  # bytes of a field, where the app sets no limit
