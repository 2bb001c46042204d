"""Flask, with files as streams: `Sluiceway(app)`, and view code as it is reads `request.files` while the client still sends.

Nothing is spooled: a file is the socket, so fields and files come in the order the client sent them. Runs on every WSGI server
that streams; what one cannot do is told as an error, never as missing bytes.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, wraps
from typing import IO, Any, TypeVar, Unpack, cast

import flask
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.routing import PathConverter

from sluiceway.client.bodies.inputs import Content
from sluiceway.errors import BadRequest, MissingField, SluiceError, WrongOrder
from sluiceway.server.error_log import log_error
from sluiceway.server.forms.walk import FormField
from sluiceway.server.setting_arguments import Places, SettingArguments
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.body import WsgiBody, WsgiStream, can_say_close, expected_digests
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm

__all__ = [
    "Fields",
    "Files",
    "FlaskFile",
    "FormField",
    "LiveRequest",
    "Sluiceway",
    "mount",
    "needs",
    "request",
    "stream",
]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
WORTH_A_WORD = 1 << 20  # bytes a view may take into memory without a warning in debug mode

View = TypeVar("View", bound=Callable[..., Any])
T = TypeVar("T")


class Sluiceway:
    """Makes the forms of an app live: `Sluiceway(app)` once, before the first request."""

    def __init__(self, app: flask.Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """The same for an app that is made later."""
        if not issubclass(app.request_class, LiveRequest):
            app.request_class = type("LiveRequest", (LiveRequest, app.request_class), {})
        app.register_error_handler(SluiceError, _answered)


def needs(*fields: str) -> Callable[[View], View]:
    """Below the route of a view that needs these fields before the file: `@needs("title")`.

    A form that brings its file first is answered 422 as soon as that is seen, instead of being read for nothing.
    """

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            live = cast("LiveRequest", flask.request).live
            missing = list(fields) if live is None else live.begin(*fields)
            if missing:
                raise MissingField(
                    f"The field {missing[0]!r} must come before the file; put it first in the form",
                    fields=missing,
                )
            return flask.current_app.ensure_sync(view)(*args, **kwargs)

        return cast("View", guarded)

    return wrap


def mount(
    app: flask.Flask, prefix: str, to: Places = "./uploads", **settings: Unpack[SettingArguments]
) -> Callable[..., flask.Response]:
    """Put the whole service under `prefix`: the page at `prefix/`, files at `prefix/files`, and what else it answers.

    Keyword arguments are the settings of `sluiceway serve`. Who may use it is the app's to say, in `before_request` as for
    other views, or by `token=`. The view is returned, for decorators that exempt it. Raises BadSetting.
    """
    from sluiceway.server.settings import Settings
    from sluiceway.wsgi.bridge import WsgiService

    prefix = prefix.rstrip("/")
    service = WsgiService(Settings.of(to, settings))

    told = prefix.encode().decode("latin-1")  # PEP 3333: bytes as Latin-1 text

    def sluiceway_service(rest: str = "") -> flask.Response:
        environ = dict(flask.request.environ)
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + told
        environ["PATH_INFO"] = environ["PATH_INFO"][len(told) :]
        return cast("flask.Response", flask.current_app.response_class.from_app(service, environ))

    app.url_map.converters.setdefault("sluiceway_rest", _Rest)
    for rule in (f"{prefix}/", f"{prefix}/<sluiceway_rest:rest>"):
        app.add_url_rule(
            rule,
            f"sluiceway{prefix.replace('.', '-')}",
            sluiceway_service,
            methods=METHODS,
            provide_automatic_options=False,  # the service knows what each path takes
            merge_slashes=False,
        )
    return sluiceway_service


class _Rest(PathConverter):
    """Werkzeug's own `path` ends before a line feed: such a path belongs to the service, which refuses it."""

    part_isolating = False  # it takes slashes
    regex = "(?s:.+?)"


def stream(source: Content, **told: Any) -> flask.Response:
    """An answer with the bytes of a path, an open file, bytes, an iterable, a URL, or a part that is being read.

    With ranges and validators where `source` can be read from its middle; else whole, in chunks where its length is not known.
    Keyword arguments: `filename`, `type`, `size` in bytes, `etag` and `modified` (seconds since the epoch) where the source
    does not tell them, `inline=True` to show instead of to save; of a URL `allow`, the hosts that may be asked, and
    `internal`, addresses such as 10.0.0.0/8 that may be asked although they are not public.
    Raises NotFound, SourceFailed, PreconditionFailed, RangeUnsatisfiable, Forbidden, PeerFailed, BadRequest, BadSetting.
    """
    from sluiceway.wsgi.bridge import wsgi_answer
    from sluiceway.wsgi.stream_response import Told, offer

    answer = offer(source, Told(**told))
    environ = {
        **flask.request.environ,
        "CONTENT_LENGTH": "0",
        "HTTP_TRANSFER_ENCODING": "",
    }  # the request's body is the view's
    made = flask.current_app.response_class.from_app(
        lambda *wsgi: wsgi_answer(answer, *wsgi), environ
    )
    return cast("flask.Response", made)


class FlaskFile(LiveFile):
    """A file of the form, with the words of Werkzeug's FileStorage. `size` is None where it cannot be known before the end."""

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
    """`files`, `form` and `parts` of a form that is still arriving; `stream` of any other body, counted."""

    @cached_property
    def live(self) -> LiveForm | None:
        """The form; None where the body is none."""
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
        )

    def _limits(self) -> FormLimits:
        """The app's MAX_FORM_PARTS and MAX_FORM_MEMORY_SIZE, which Werkzeug applies to each field; our own where it sets none."""
        usual = FormLimits()
        parts, size = self.max_form_parts, self.max_form_memory_size
        return FormLimits.of(
            usual.max_parts if parts is None else parts,
            usual.max_field_bytes if size is None else size,
        )

    @property
    def parts(self) -> Iterator[FormField | LiveFile]:
        """The parts in the order they come: fields with `name` and `value`, files to read. What was not read is skipped."""
        if self.live is None:
            raise BadRequest("This view takes a form; send multipart/form-data")
        return iter(self.live)

    @cached_property
    def stream(self) -> IO[bytes]:
        """The raw body. Its end is the end: a body that was cut off raises BodyCut."""
        return WsgiStream(WsgiBody(self.environ, self.max_content_length))

    @property
    def files(self) -> Any:  # Werkzeug's is a MultiDict of spooled files
        return super().files if self.live is None else Files(self.live)

    @property
    def form(self) -> Any:
        return super().form if self.live is None else Fields(self.live)

    @property
    def values(self) -> Any:
        """The query's, and the form's as far as they came."""
        return (
            super().values
            if self.live is None
            else MultiDict([*self.args.items(multi=True), *self.live.fields])
        )

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """Werkzeug's, with a warning in debug mode where it takes more than a MiB into memory; `data` and `json` use it."""
        long = self.content_length is None or self.content_length > WORTH_A_WORD
        if flask.current_app and flask.current_app.debug and (self.live is not None or long):
            text = "takes the whole body into memory; read request.files, request.parts or request.stream piece by piece"
            warnings.warn(f"{_line()}: request.get_data (or .data, .json) {text}", stacklevel=2)
        return super().get_data(*args, **kwargs)


request: LiveRequest = cast(
    "LiveRequest", flask.request
)  # Flask's own, for type checkers: it has `parts`


class Files(Mapping[str, Any]):
    """`request.files`: asking for a name reads on to that file and no further."""

    def __init__(self, live: LiveForm) -> None:
        self._live = live

    def __getitem__(self, name: str) -> Any:
        file = _in_turn(lambda: self._live.file(name))
        if file is None:
            raise BadRequestKeyError(name)
        return file

    def getlist(self, name: str) -> Iterator[Any]:
        """All files in this field, each when its turn comes; one that was not read is skipped."""
        yield from (file for file in self._live.files if file.name == name)
        yield from (part for part in self._live if isinstance(part, LiveFile) and part.name == name)

    def __iter__(self) -> Iterator[str]:
        return (file.name for file in self.values())

    def values(self) -> Any:
        """The files that came and, each in its turn, those that come."""
        yield from list(self._live.files)
        yield from (part for part in self._live if isinstance(part, LiveFile))

    def items(self) -> Any:
        return ((file.name, file) for file in self.values())

    def __len__(self) -> int:
        """Of those that came so far."""
        return len(self._live.files)

    def __bool__(self) -> bool:
        """Whether there is any."""
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
        """As Werkzeug's: `default` when it is missing, or is no `type`."""
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
        """As Werkzeug's: every value where `multi`, else the first of each name."""
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
        error.private["line"] = _line()  # for the log: clients see no path of the app
        raise


def _line() -> str:
    """The line of the app that is being run: the innermost that is neither ours nor the framework's."""
    inside = tuple(
        os.path.dirname(module.__file__ or "") + os.sep
        for module in (flask, sys.modules["werkzeug"])
    )
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(inside)
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _answered(error: SluiceError) -> flask.Response:
    """As problem+json, with the status it names. The connection ends where the client may still be sending."""
    log_error(error, flask.request.method)
    written = write_problem(error, flask.request.path)
    headers = Headers(written.headers)
    if can_say_close(flask.request.environ):
        headers.add("Connection", "close")
    return flask.Response(written.body, written.status, headers)
