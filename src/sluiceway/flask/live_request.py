"""The request of a Flask app with the extension: its form, files and body are read live.

Knows Flask's request; how a form is read is in `form_reading.py`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any, cast

import flask
from werkzeug.datastructures import MultiDict

from sluiceway.errors import BadForm, BadRequest
from sluiceway.flask.app_lines import app_line
from sluiceway.flask.flask_file import FlaskFile
from sluiceway.flask.form_reading import FlaskBody, FlaskForm, FormReading
from sluiceway.flask.view_modes import FormMode, mode_of_request
from sluiceway.server.forms.walk import FormField
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wsgi.body import WsgiStream, expected_digests
from sluiceway.wsgi.watched import file_progress

__all__ = ["LiveRequest", "request"]

WARN_ABOVE = 1 << 20  # bytes a view may take into memory without a warning in debug mode
_OF_URLLIB3 = re.compile("[0-9a-f]{32}")  # the boundaries that requests writes
# What a request class of the app's own may replace: then it receives files in a way of its own.
OF_THE_PARSER = (
    "_get_file_stream",
    "_load_form_data",
    "files",
    "form",
    "form_data_parser_class",
    "make_form_data_parser",
    "parameter_storage_class",
    "stream",
    "want_form_data_parsed",
)


class LiveRequest(flask.Request):
    """The request of an app with the extension; a class of the app's own may derive from it.

    `files`, `form` and `parts` are those of a form that is still arriving, `stream` is any other
    body, counted. Reading raises BodyCut, BadForm, TooLarge, TooSlow.
    """

    own_parser = False  # the app's request class reads forms in a way of its own

    @cached_property
    def reading(self) -> FormReading | None:
        """The form that is read live; None if the body is not one, or the view is spooled."""
        mode = FormMode.SPOOLED if self.own_parser else mode_of_request(self)
        # Werkzeug takes a form without a boundary for an empty one
        is_form = self.mimetype == "multipart/form-data" and self.mimetype_params.get("boundary")
        if mode is FormMode.SPOOLED or not is_form or self._is_read():
            return None
        read, length = self._body()
        if length == 0:
            return None
        try:
            live = FlaskForm(
                read,
                self.headers["Content-Type"],
                length,
                self._limits(),
                expected=expected_digests(self.environ),
                watched=file_progress(self.environ),
                keep_empty=True,
            )
        except BadForm:  # of the boundary; Werkzeug takes any
            return None
        self._advise_client()
        return FormReading(self, live, strict=mode is FormMode.STRICT)

    def _advise_client(self) -> None:
        """requests builds a form of `files=` in memory: its users learn of the cure here."""
        long = (self.content_length or 0) > WARN_ABOVE
        by_requests = self.headers.get("User-Agent", "").startswith("python-requests/")
        if not flask.current_app:
            return  # a thread of the view, without the app's context
        if by_requests and long and _OF_URLLIB3.fullmatch(self.mimetype_params["boundary"]):
            flask.current_app.logger.debug(
                "A client sends %d bytes as requests.post(url, files=…) does, which holds the "
                "whole form in its memory; sluiceway.Form sends it in pieces",
                self.content_length,
            )

    def _is_read(self) -> bool:
        """The view took the body as data or as a stream: then Werkzeug's form is empty."""
        stream = self.__dict__.get("stream")
        begun = isinstance(stream, WsgiStream) and (stream.closed or stream.tell() > 0)
        return begun or "_cached_data" in self.__dict__

    def _body(self) -> tuple[Any, int | None]:
        """What reads the body, and its length; the view may have looked at `stream` before."""
        if "stream" in self.__dict__:
            return self.stream.read1, self.content_length  # type: ignore[attr-defined]
        body = FlaskBody(self.environ, self.max_content_length, ends_itself=True)
        return body.take, body.length

    def _limits(self) -> FormLimits:
        """The app's MAX_FORM_PARTS and MAX_FORM_MEMORY_SIZE, or our own where it sets none.

        Werkzeug applies the second to each field.
        """
        ours = FormLimits()
        parts, size = self.max_form_parts, self.max_form_memory_size
        return FormLimits.of(
            ours.max_parts if parts is None else parts,
            ours.max_field_bytes if size is None else size,
        )

    @property
    def parts(self) -> Iterator[FormField | FlaskFile]:
        """The parts in the order they come. A file that was not read is skipped."""
        if self.reading is None:
            raise BadRequest("This view takes a form; send multipart/form-data")
        return self.reading.parts()

    @property
    def first_fields(self) -> MultiDict[str, str]:
        """The fields in front of the first file, which do not need that file as `form` may."""
        if self.reading is None:
            return MultiDict(self.form)
        self.reading.begin()
        return self.reading.form.known()

    @cached_property
    def stream(self) -> IO[bytes]:
        """The raw body. A body that was cut off raises BodyCut. Empty when a form was read."""
        if "reading" in self.__dict__ and self.reading is not None:
            return io.BytesIO()
        if mode_of_request(self) is FormMode.SPOOLED:
            return super().stream
        return WsgiStream(FlaskBody(self.environ, self.max_content_length))

    @property
    def files(self) -> Any:
        return super().files if self.reading is None else self.reading.files

    @property
    def form(self) -> Any:
        return super().form if self.reading is None else self.reading.form

    def _load_form_data(self) -> None:
        if self.reading is None:
            super()._load_form_data()

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """Werkzeug's, which `data` and `json` use, with a warning in debug mode above 1 MiB.

        What was read as a form is not data.
        """
        parse = kwargs.get("parse_form_data", args[2] if len(args) > 2 else False)
        if not parse and "reading" not in self.__dict__:
            self._warn_of_memory()
        elif self.reading is not None:
            return "" if kwargs.get("as_text", args[1] if len(args) > 1 else False) else b""
        return super().get_data(*args, **kwargs)

    def _warn_of_memory(self) -> None:
        form = self.mimetype == "multipart/form-data"
        long = self.content_length is None or self.content_length > WARN_ABOVE
        if flask.current_app and flask.current_app.debug and (form or long):
            warnings.warn(
                f"{app_line()}: request.get_data (or .data, .json) takes the whole body into "
                "memory; read request.files, request.parts or request.stream piece by piece",
                stacklevel=3,
            )

    def close(self) -> None:
        """Flask calls it when the view has returned; the response may still be read from a file."""
        reading = self.__dict__.get("reading")
        if reading is not None and not reading.answered:
            reading.refused = True
            reading.close()
        super().close()


# Flask's own, for type checkers: it has `parts`
request: LiveRequest = cast("LiveRequest", flask.request)
