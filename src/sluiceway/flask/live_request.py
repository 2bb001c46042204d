"""`request.files`, `request.form` and `request.parts` of a form that is still arriving, in Flask.

Knows Werkzeug's names; the form itself is that of `wsgi/streaming_form.py`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import IO, Any, TypeVar, cast

import flask
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.exceptions import BadRequestKeyError

from sluiceway.errors import BadRequest, WrongOrder
from sluiceway.server.forms.walk import FormField
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wsgi.body import WsgiBody, WsgiStream, expected_digests
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm
from sluiceway.wsgi.watched import file_progress

__all__ = ["Fields", "Files", "FlaskFile", "LiveRequest", "request"]

WARN_ABOVE = 1 << 20  # bytes a view may take into memory without a warning in debug mode

T = TypeVar("T")


class FlaskFile(LiveFile):
    """A file of a form, with the names of Werkzeug's FileStorage.

    All else is LiveFile's: `read`, `save`, `size`, `filename`, and iteration.
    """

    @property
    def stream(self) -> FlaskFile:
        """Itself."""
        return self

    @property
    def mimetype(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int:
        return self.size or 0

    @property
    def headers(self) -> Headers:
        return Headers([("Content-Type", self.content_type)])


class LiveRequest(flask.Request):
    """The request of an app with the extension; a class of the app's own may derive from it.

    `files`, `form` and `parts` are those of a form that is still arriving, `stream` is any other
    body, counted. Reading raises BodyCut, BadForm, TooLarge, TooSlow, WrongOrder.
    """

    @cached_property
    def live(self) -> LiveForm | None:
        """The form; None if the body is not one."""
        if self.mimetype != "multipart/form-data":
            return None
        body, expected = (
            WsgiBody(self.environ, self.max_content_length, ends_itself=True),
            expected_digests(self.environ),
        )
        return LiveForm(
            body.take,
            self.headers["Content-Type"],
            body.length,
            self._limits(),
            kind=FlaskFile,
            expected=expected,
            watched=file_progress(self.environ),
        )

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
    def parts(self) -> Iterator[FormField | LiveFile]:
        """The parts in the order they come. A file that was not read is skipped."""
        if self.live is None:
            raise BadRequest("This view takes a form; send multipart/form-data")
        return iter(self.live)

    @cached_property
    def stream(self) -> IO[bytes]:
        """The raw body. A body that was cut off raises BodyCut."""
        return WsgiStream(WsgiBody(self.environ, self.max_content_length))

    @property
    def files(self) -> Any:  # Werkzeug's is a MultiDict of spooled files
        return super().files if self.live is None else Files(self.live)

    @property
    def form(self) -> Any:
        return super().form if self.live is None else Fields(self.live)

    @property
    def values(self) -> Any:
        """The values of the query, and of the form as far as it came."""
        return (
            super().values
            if self.live is None
            else MultiDict([*self.args.items(multi=True), *self.live.fields])
        )

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """Werkzeug's, which `data` and `json` use, with a warning in debug mode above 1 MiB."""
        long = self.content_length is None or self.content_length > WARN_ABOVE
        if flask.current_app and flask.current_app.debug and (self.live is not None or long):
            warnings.warn(
                f"{_app_line()}: request.get_data (or .data, .json) takes the whole body into "
                "memory; read request.files, request.parts or request.stream piece by piece",
                stacklevel=2,
            )
        return super().get_data(*args, **kwargs)


# Flask's own, for type checkers: it has `parts`
request: LiveRequest = cast("LiveRequest", flask.request)


class Files(Mapping[str, Any]):
    """`request.files`: to ask for a name reads on to that file and no further."""

    def __init__(self, live: LiveForm) -> None:
        self._live = live

    def __getitem__(self, name: str) -> Any:
        file = _in_turn(lambda: self._live.file(name))
        if file is None:
            raise BadRequestKeyError(name)
        return file

    def getlist(self, name: str) -> Iterator[Any]:
        """All files in this field, in turn. A file that was not read is skipped."""
        yield from (file for file in self._live.files if file.name == name)
        yield from (part for part in self._live if isinstance(part, LiveFile) and part.name == name)

    def __iter__(self) -> Iterator[str]:
        return (file.name for file in self.values())

    def values(self) -> Any:
        """The files that came and, in turn, those that come."""
        yield from list(self._live.files)
        yield from (part for part in self._live if isinstance(part, LiveFile))

    def items(self) -> Any:
        return ((file.name, file) for file in self.values())

    def __len__(self) -> int:
        """The number of files that came so far."""
        return len(self._live.files)

    def __bool__(self) -> bool:
        """Whether the form has a file."""
        if not self._live.files:
            self._live.begin()
        return bool(self._live.files)


class Fields(Mapping[str, str]):
    """`request.form`: the fields that came, and those that come before the next file."""

    def __init__(self, live: LiveForm) -> None:
        self._live = live

    def __getitem__(self, name: str) -> str:
        value = _in_turn(lambda: self._live.field(name))
        if value is None:
            raise BadRequestKeyError(name)
        return value

    def get(self, name: str, default: Any = None, type: Callable[[str], Any] | None = None) -> Any:
        """As Werkzeug's: `default` if the field is missing, or its value cannot become `type`."""
        value = _in_turn(lambda: self._live.field(name))
        try:
            return default if value is None else value if type is None else type(value)
        except (ValueError, TypeError):
            return default

    def getlist(self, name: str, type: Callable[[str], Any] = str) -> list[Any]:
        return [type(value) for known, value in self._begun() if known == name]

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        known = MultiDict(self._begun())
        return dict(known) if flat else dict(known.lists())

    def items(self, multi: bool = False) -> Any:
        """As Werkzeug's: every value if `multi`, else the first of each name."""
        return list(self._begun()) if multi else super().items()

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._begun()))

    def __len__(self) -> int:
        return len(dict(self._begun()))

    def _begun(self) -> list[tuple[str, str]]:
        if not self._live.files:
            self._live.begin()
        return self._live.fields


def _in_turn(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except WrongOrder as error:
        error.private["line"] = _app_line()  # for the log: clients see no path of the app
        raise


def _app_line() -> str:
    """The app's own line that runs: the innermost that is neither ours nor the framework's."""
    inside = tuple(
        os.path.dirname(file or "") + os.sep
        for file in (__file__, flask.__file__, sys.modules["werkzeug"].__file__)
    )
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
