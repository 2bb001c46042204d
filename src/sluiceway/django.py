"""Django: the parts of a form while it still arrives, and a decorator whose files reach any destination meanwhile.

Nothing is spooled, no cut body passes for a whole one, and nothing is published for a request that the site refuses. Under WSGI
the body is read from the server, not through Django; under ASGI Django stores it before any view runs, so there our ASGI app
is mounted beside it.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, Unpack, cast, overload

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sluiceway.django_limits import LimitedForm, form_limits
from sluiceway.errors import BadOrder, BadRequest, LengthRequired, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import PassingSource
from sluiceway.server.destinations import open_destination
from sluiceway.server.error_log import log_error
from sluiceway.server.forms.walk import FormField
from sluiceway.server.responses import problem_response
from sluiceway.server.setting_arguments import DestinationArguments
from sluiceway.server.settings import BadSetting, Settings
from sluiceway.stores.contract import Entry, Metadata, UploadRequest
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import is_url
from sluiceway.wsgi.body import WsgiBody, expected_digests
from sluiceway.wsgi.request_thread import RequestThread
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm

__all__ = [
    "DjangoFile",
    "FormField",
    "Problems",
    "StoredFile",
    "csrf_by_header",
    "parts",
    "publish",
    "uploads",
]

TELLABLE = ["to", *DestinationArguments.__annotations__]  # settings of a site, after SLUICEWAY_
BUDGET = "16MiB"  # for one request: what one fast transfer fills at most; a server's whole budget would be lent to each
DRAFTED = "_sluiceway_drafted"  # on the request: its files, as far as @uploads has read them
CSRF_FIELD = "csrfmiddlewaretoken"

P = ParamSpec("P")
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])
To = (
    str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Callable[[HttpRequest | None], Any]
    | None
)


if TYPE_CHECKING:
    _Uploaded = UploadedFile[Any]  # generic in the stubs only
else:
    _Uploaded = UploadedFile


class DjangoFile(LiveFile):
    """A file of the form. `name` is its field, `filename` what the client calls it: no safe path."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Its pieces as they arrive; of `chunk_size` bytes where one is given. Raises BodyCut, BadForm."""
        return iter(self) if chunk_size is None else iter(lambda: self.read(chunk_size), b"")


def parts(request: HttpRequest, max_size: int | None = None) -> LiveForm:
    """The parts of the form while it arrives: `for part in parts(request)`, or `.file(name)` and `.field(name)` of the result.

    Fields are FormField (`name`, `value`), files are DjangoFile. `max_size` is the most bytes of a body. From now on
    `request.POST` and `request.FILES` are empty. Raises BadOrder when Django has the body already, BadRequest for another
    body than a form, LengthRequired, TooLarge; reading raises BodyCut, BadForm.
    """
    request = getattr(
        request, "_request", request
    )  # Django REST framework's stands around Django's
    environ = request.META
    if "wsgi.input" not in environ:
        raise BadOrder(
            "Under ASGI Django stores the whole body before it calls the view; mount sluiceway.Sluiceway beside Django in "
            "asgi.py, or run this view under WSGI"
        ).for_operator()
    if (
        getattr(request, "_read_started", False)
        or hasattr(request, "_body")
        or hasattr(request, "_files")
    ):
        raise BadOrder(
            "The body was read before parts(request). request.POST, request.FILES and request.body read it, and so does "
            "Django's CSRF check of a POST, also when the token is in the header: put @csrf_by_header before the view"
        ).for_operator()
    if request.content_type != "multipart/form-data":
        raise BadRequest("This view takes a form; send multipart/form-data")
    body = WsgiBody(environ, max_size, ends_itself=True)
    expected = expected_digests(environ)
    form = LimitedForm(
        body.take,
        environ["CONTENT_TYPE"],
        body.length,
        form_limits(),
        kind=DjangoFile,
        expected=expected,
    )
    request.read(
        0
    )  # so that Django knows that somebody reads, and does not take the middle of the body for a form
    return form


def csrf_by_header(view: View) -> View:
    """For a view that reads the form itself: its CSRF token comes in the header X-CSRFToken, and is checked before any byte.

    Django's own check looks for a field first, and so reads all of a POST, even when the header is there.
    """

    def unmarked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Without the mark that @csrf_exempt and @uploads leave on a view: Django's check would let it pass."""
        return view(request, *args, **kwargs)

    checked = csrf_protect(unmarked)

    @wraps(view)
    def headed(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(request, "_files"):  # without a form there is only the header to look at
            request.POST = QueryDict()
        return checked(request, *args, **kwargs)

    return cast("View", csrf_exempt(headed))


class Problems(MiddlewareMixin):
    """Middleware: what goes wrong here is answered as problem+json, with its own status; a destination's refusal as it came."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Of a view."""
        return _answered(exception, request.method) if isinstance(exception, SluiceError) else None


class StoredFile(_Uploaded):
    """A file of `request.FILES` that reached its destination: its bytes have gone by and cannot be read here.

    `key` is its name there. Nobody else sees it before it is published: by `publish(request)`, or when the view has answered.
    From then on `entry` is what the destination says of it, and `url` where another server says it is, or None.
    """

    field_name: str
    key: str
    sha256: str | None
    entry: Entry | None
    url: str | None

    def __init__(self, field_name: str, key: str, metadata: Metadata, size: int) -> None:
        super().__init__(cast("Any", _Gone(key)), metadata.filename, metadata.type, size)
        self.field_name, self.key, self.sha256 = field_name, key, metadata.sha256
        self.entry, self.url = None, None

    def _became(self, entry: Entry) -> None:
        told = [] if entry.reply is None else [entry.reply.headers.get("location")]
        told += [copy.location for copy in entry.copies if copy.required]
        self.entry, self.key = entry, entry.key
        self.url = next((place for place in told if place), None)


@overload
def uploads(view: View) -> View: ...
@overload
def uploads(*, to: To = None, **given: Unpack[DestinationArguments]) -> Callable[[View], View]: ...
def uploads(
    view: View | None = None, *, to: To = None, **given: Unpack[DestinationArguments]
) -> View | Callable[[View], View]:
    """For a view: the files of its form reach a folder, another server or a bucket while they arrive.

    They are published when the view has looked at `request.FILES` and answers below 400: all of them or none. If it answers
    otherwise, raises, or Django's CSRF check refuses, they are discarded. SLUICEWAY_TO and its relatives are settings; the
    same names are arguments here. `to` may be a function of the request. A destination that is another server needs the
    CSRF token in the header X-CSRFToken, because it hears of a file before a field behind it is read.

    Reading `request.FILES` raises what went wrong: BodyCut, BadForm, TooLarge, LengthRequired, NoSpace, Refused, PeerFailed,
    BadSetting; the decorated view raises what publishing does.
    """

    def decorate(view: View) -> View:
        checked = view if getattr(view, "csrf_exempt", False) else csrf_protect(view)

        @wraps(view)
        def stored(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            settings = _settings(request, to, given)
            handler = _Handler(request, settings)
            try:
                request.upload_handlers = [handler]
            except AttributeError:
                raise BadOrder(
                    "The form was read before this view: a middleware or a decorator outside of @uploads looked at request.POST"
                ).for_operator() from None
            if _passes_on(settings):
                request.POST = QueryDict()  # for the CSRF check, which then knows the header alone
            try:
                response: HttpResponseBase = checked(request, *args, **kwargs)
                if (
                    handler.drafted is not None
                    and handler.drafted.looked_at
                    and response.status_code < 400
                ):
                    handler.drafted.publish()
                return response
            finally:
                if handler.drafted is not None:
                    handler.drafted.discard()

        return cast(
            "View", csrf_exempt(stored)
        )  # it is checked inside, when the handler is in its place

    return decorate if view is None else decorate(view)


def publish(request: HttpRequest) -> list[Entry]:
    """In a view with @uploads: publish its files now, and know what the destination says of them.

    They stay, whatever the view answers. Raises what publishing raises: Exists, NoSpace, Refused, PeerFailed.
    """
    drafted: _Drafted | None = getattr(getattr(request, "_request", request), DRAFTED, None)
    if drafted is None:
        raise BadOrder(
            "There are no files to publish: decorate the view with @uploads and read request.FILES first"
        ).for_operator()
    return drafted.publish()


class _Handler(FileUploadHandler):
    """Reads the form instead of Django's parser, which takes a body that was cut off for a whole one."""

    def __init__(self, request: HttpRequest, settings: Settings) -> None:
        super().__init__(request)
        self._settings = settings
        self.drafted: _Drafted | None = None
        headers = request.META
        if (
            not headers.get("CONTENT_LENGTH")
            and "chunked" in str(headers.get("HTTP_TRANSFER_ENCODING", "")).lower()
        ):
            what = "send the form with Content-Length, or have the view read sluiceway.django.parts(request)"
            raise LengthRequired(
                f"Django takes a chunked body for an empty one; {what}"
            ).for_operator("This site takes no form without Content-Length; send it with one")

    def handle_raw_input(
        self,
        input_data: Any,
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict[str, UploadedFile[Any]]]:
        """Fields and files; the files are drafts until the view has answered."""
        environ = META
        if isinstance(input_data, HttpRequest) and "wsgi.input" in META:
            input_data.read(0)  # after an error nobody may take the rest of the body for a form
        else:  # what Django or a middleware has stored already
            environ = {**META, "wsgi.input": input_data, "wsgi.input_terminated": True}
        body = WsgiBody(environ, ends_itself=True)
        form = LimitedForm(
            body.take,
            META["CONTENT_TYPE"],
            body.length,
            form_limits(),
            expected=expected_digests(META),
        )
        query = (
            {}
            if self.request is None
            else {name: str(value) for name, value in self.request.GET.items()}
        )
        self.drafted = _Drafted(form, self._settings, query, body.length)
        setattr(self.request, DRAFTED, self.drafted)
        fields = QueryDict(mutable=True)
        for name, value in form.fields:
            fields.appendlist(name, value)
        fields._mutable = False
        return fields, _Files(self.drafted)


class _Drafted:
    """The files of one form at their destination, invisible there until they are published. Its only endings: publish, discard.

    An event loop in a thread of its own carries them; the form is read in the thread of the request.
    """

    def __init__(
        self, form: LiveForm, settings: Settings, query: Mapping[str, str], length: int | None
    ) -> None:
        """Returns when the form was read to its end. Raises what reading and drafting raise; then nothing is left."""
        self.looked_at = False
        self.entries: list[Entry] = []
        self._here = RequestThread()
        self._keep: Future[bool] = Future()
        self._read: Future[list[StoredFile]] = Future()
        self._outcome = self._here.start(self._carry(form, settings, query, length))
        self._outcome.add_done_callback(self._never_read)
        self.files = self._here.wait(self._read)

    def publish(self) -> list[Entry]:
        """All of the files or, after an error, none. A second call does nothing."""
        if not self._keep.done():
            self._keep.set_result(True)
            self.entries = self._here.wait(self._outcome)
            for file, entry in zip(self.files, self.entries, strict=True):
                file._became(entry)
        return self.entries

    def discard(self) -> None:
        """Nothing is left of what was not published."""
        if not self._keep.done():
            self._keep.set_result(False)
            self._here.wait(self._outcome)

    def _never_read(self, outcome: Future[list[Entry]]) -> None:
        if not self._read.done():
            self._read.set_exception(
                outcome.exception() or StoreFailed("The form was not read to its end")
            )

    async def _carry(
        self, form: LiveForm, settings: Settings, query: Mapping[str, str], length: int | None
    ) -> list[Entry]:
        budget = Budget(settings.budget)
        try:
            store = open_destination(settings, budget)
        except OSError as error:
            raise StoreFailed(
                f"The destination cannot be opened ({error.strerror}); see that its folder can be made"
            ) from error
        template = KeyTemplate(settings.key_template)
        upload_service = UploadService(
            store,
            budget,
            ProgressTable(),
            template=template,
            digests=settings.digests,
            max_size=settings.max_upload_bytes,
        )
        names, fields = (
            list[str](),
            list[tuple[str, str]](),
        )  # the list grows while the form goes on
        walk = iter(form)
        try:
            async with upload_service.receive(length=length) as incoming:
                while (part := await self._here.call(next, walk, None)) is not None:
                    if isinstance(part, LiveFile):
                        names.append(part.name)
                        await incoming.take(
                            PassingSource(_pieces(self._here, part)),
                            _upload_request(part, fields, query),
                            size=part.size,
                        )
                    elif part.name != CSRF_FIELD:  # the token is between this site and its user
                        fields.append((part.name, part.value))
                self._read.set_result(
                    [
                        StoredFile(name, *told)
                        for name, told in zip(names, incoming.drafted, strict=True)
                    ]
                )
                if not await asyncio.wrap_future(self._keep):
                    return []  # leaving discards
                return await incoming.publish()
        finally:
            await upload_service.aclose()


class _Files(MultiValueDict[str, UploadedFile[Any]] if TYPE_CHECKING else MultiValueDict):  # type: ignore[misc]  # generic in the stubs only
    """`request.FILES`, which notes that a view looked at it: what it overlooked is not published."""

    def __init__(self, drafted: _Drafted) -> None:
        super().__init__()
        for file in drafted.files:
            self.appendlist(file.field_name, file)
        self._drafted = drafted

    def __getitem__(self, key: str) -> Any:
        self._drafted.looked_at = True
        return super().__getitem__(key)

    def _getlist(self, key: str, default: Any = None, force_list: bool = False) -> Any:
        if "_drafted" in vars(self):
            self._drafted.looked_at = True
        return super()._getlist(key, default, force_list)  # Django's own name for what getlist does

    def lists(self) -> Any:
        self._drafted.looked_at = True
        return super().lists()


def _settings(request: HttpRequest, to: To, given: Mapping[str, Any]) -> Settings:
    known = {name: getattr(settings, f"SLUICEWAY_{name.upper()}", None) for name in TELLABLE}
    told = {
        "memory_budget": BUDGET,
        **{name: value for name, value in known.items() if value is not None},
        **given,
    }
    place = told.pop("to", None) if to is None else to
    told.pop("to", None)
    if callable(place):
        place = place(request)
    if not place:
        raise BadSetting(
            "SLUICEWAY_TO names no destination; set it to a folder or to the URL of another server"
        )
    places = [place] if isinstance(place, str | os.PathLike) else list(place)
    return Settings(to=tuple(os.fspath(one) for one in places), **told)


def _passes_on(settings: Settings) -> bool:
    """Whether another server hears of a file while it arrives."""
    return any(
        is_url(place.removeprefix("required:").removeprefix("best-effort:"))
        for place in settings.to
    )


async def _pieces(here: RequestThread, file: LiveFile) -> AsyncIterator[bytes]:
    while piece := await here.call(file.read1):
        yield piece


def _upload_request(
    part: LiveFile, fields: list[tuple[str, str]], query: Mapping[str, str]
) -> UploadRequest:
    name = clean_name(part.filename)
    return UploadRequest(
        filename=name,
        type=kept_type(part.content_type, name),
        field=part.name,
        fields=fields,
        values=query,
        size_is_certain=False,
    )


class _Gone(io.RawIOBase):
    """The inside of a file whose bytes went by."""

    def __init__(self, key: str) -> None:
        self._key = key

    def readinto(self, buffer: object) -> NoReturn:
        raise BadOrder(
            f"This file is at its destination already, as {self._key!r}; read it there"
        ).for_operator()


def _answered(error: SluiceError, method: str | None) -> HttpResponse:
    """The same answer as our own server's."""
    log_error(error, method)
    told = problem_response(error)
    response = HttpResponse(bytes(told.body), status=told.status_code)
    for name in dict.fromkeys(told.headers.keys()):
        response[name] = ", ".join(told.headers.getlist(name))
    return response
