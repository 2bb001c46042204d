"""Django: the parts of a form while it still arrives, and an upload handler that brings its files to any destination meanwhile.

Nothing is spooled, and no cut body passes for a whole one. Under WSGI the body is read from the server, not through Django;
under ASGI Django stores it before any view runs, so there our ASGI app is mounted beside it.
"""

from __future__ import annotations

import asyncio
import io
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sluiceway.errors import BadOrder, BadRequest, LengthRequired, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import PassingSource
from sluiceway.server.answers import problem_answer
from sluiceway.server.destinations import open_destination
from sluiceway.server.error_log import log_error
from sluiceway.server.live_form import LiveField, LiveFile, LiveForm
from sluiceway.server.settings import BadSetting, Settings, setting_help
from sluiceway.server.wsgi_body import WsgiBody
from sluiceway.stores.contract import Entry, Label
from sluiceway.uploads.board import Board
from sluiceway.uploads.desk import Desk, Wish
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.wire.names import clean_name
from sluiceway.wire.types import OCTET_STREAM, guess_type

__all__ = ["File", "LiveField", "Problems", "StoredFile", "UploadHandler", "csrf_by_header", "parts"]

TELLABLE = ["to", "key", "max_size", "digest", "memory_budget", *(name for name in setting_help() if name.startswith("relay_"))]
BUDGET = "16MiB"  # for one request: what one fast transfer fills at most; a server's whole budget would be lent to each
NOTED = "_sluiceway_error"  # on the request: an error that Django met outside the view, where no middleware is asked
CSRF_FIELD = "csrfmiddlewaretoken"

P = ParamSpec("P")
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])
To = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Callable[[HttpRequest | None], Any] | None


if TYPE_CHECKING:
    _Uploaded = UploadedFile[Any]  # generic in the stubs only
else:
    _Uploaded = UploadedFile


class File(LiveFile):
    """A file of the form. `name` is its field, `filename` what the client calls it: no safe path."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Its pieces as they arrive; of `chunk_size` bytes where one is given. Raises BodyCut, BadForm."""
        return iter(self) if chunk_size is None else iter(lambda: self.read(chunk_size), b"")


def parts(request: HttpRequest, max_size: int | None = None) -> LiveForm:
    """The parts of the form while it arrives: `for part in parts(request)`, or `.file(name)` and `.field(name)` of the result.

    Fields are LiveField (`name`, `value`), files are File. `max_size` is the most bytes of a body. From now on
    `request.POST` and `request.FILES` are empty. Raises BadOrder when Django has the body already, BadRequest for another
    body than a form, LengthRequired, TooLarge; reading raises BodyCut, BadForm.
    """
    request = getattr(request, "_request", request)  # Django REST framework's stands around Django's
    environ = request.META
    if "wsgi.input" not in environ:
        raise BadOrder(
            "Under ASGI Django stores the whole body before it calls the view; mount sluiceway.Sluiceway beside Django in "
            "asgi.py, or run this view under WSGI"
        )
    if getattr(request, "_read_started", False) or hasattr(request, "_body") or hasattr(request, "_files"):
        raise BadOrder(
            "The body was read before parts(request). request.POST, request.FILES and request.body read it, and so does "
            "Django's CSRF check of a POST, also when the token is in the header: put @csrf_by_header before the view"
        )
    if request.content_type != "multipart/form-data":
        raise BadRequest("This view takes a form; send multipart/form-data")
    body = WsgiBody(environ, max_size, ends_itself=True)
    form = LiveForm(body.take, environ["CONTENT_TYPE"], body.length, kind=File)
    request.read(0)  # so that Django knows that somebody reads, and does not take the middle of the body for a form
    return form


def csrf_by_header(view: View) -> View:
    """For a view that reads the form itself: its CSRF token comes in the header X-CSRFToken, and is checked before any byte.

    Django's own check looks for a field first, and so reads all of a POST, even when the header is there.
    """
    checked = csrf_protect(view)

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

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Of whatever read the form before the view, as the CSRF check does."""
        error: SluiceError | None = getattr(request, NOTED, None)
        return _answered(error, request.method) if error is not None and response.status_code == 500 else response


class StoredFile(_Uploaded):
    """A file of `request.FILES` that is at its destination: its bytes have gone by and cannot be read here.

    `key` is its name at a folder, below it. `url` is where another server says it is, or None.
    """

    field_name: str
    entry: Entry
    key: str
    sha256: str | None

    def __init__(self, field_name: str, entry: Entry) -> None:
        super().__init__(cast("Any", _Gone(entry.key)), entry.about.filename, entry.about.type, entry.size)
        self.field_name, self.entry = field_name, entry
        self.key, self.sha256 = entry.key, entry.about.sha256
        told = [] if entry.reply is None else [entry.reply.headers.get("location")]
        told += [copy.location for copy in entry.copies if copy.required]
        self.url: str | None = next((place for place in told if place), None)


class UploadHandler(FileUploadHandler):
    """Brings the files of a form to a folder or to another server while they arrive; `request.FILES` tells where they are.

    Stands alone in FILE_UPLOAD_HANDLERS, with SLUICEWAY_TO and its relatives as settings, or in
    `request.upload_handlers = [UploadHandler(request, to=…)]` with the same as arguments. `to` may be called with the request.
    Nothing is published before the form is whole, and then all of its files or none. Reading `request.FILES` raises what
    went wrong: BodyCut, BadForm, TooLarge, LengthRequired, NoSpace, Refused, PeerFailed, BadSetting.
    """

    def __init__(self, request: HttpRequest | None = None, to: To = None, **given: Any) -> None:
        super().__init__(request)
        self._given = {"to": to, **given} if to is not None else given
        told = {} if request is None else request.META
        if not told.get("CONTENT_LENGTH") and "chunked" in str(told.get("HTTP_TRANSFER_ENCODING", "")).lower():
            what = "send the form with Content-Length, or have the view read sluiceway.django.parts(request)"
            raise self._noted(LengthRequired(f"Django takes a chunked body for an empty one; {what}"))

    def handle_raw_input(
        self,
        input_data: Any,
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict[str, UploadedFile[Any]]]:
        """Read the form, instead of Django's parser, which takes a body that was cut off for a whole one."""
        try:
            if self.request is not None and len(self.request.upload_handlers) > 1:
                raise BadSetting(
                    "sluiceway.django.UploadHandler reads the form itself; let it stand alone in FILE_UPLOAD_HANDLERS"
                )
            told, environ = self._settings(), META
            if isinstance(input_data, HttpRequest) and "wsgi.input" in META:
                input_data.read(0)  # after an error nobody may take the rest of the body for a form
            else:  # what Django or a middleware has stored already
                environ = {**META, "wsgi.input": input_data, "wsgi.input_terminated": True}
            body = WsgiBody(environ, ends_itself=True)
            form = LiveForm(body.take, META["CONTENT_TYPE"], body.length)
            stored = _Here().run(lambda here: self._carry(here, form, told, body.length))
        except SluiceError as error:
            self._noted(error)
            raise
        fields = QueryDict(mutable=True)
        files: MultiValueDict[str, UploadedFile[Any]] = MultiValueDict()
        for name, value in form.fields:
            fields.appendlist(name, value)
        for name, entry in stored:
            files.appendlist(name, StoredFile(name, entry))
        fields._mutable = False
        return fields, files

    def _noted(self, error: SluiceError) -> SluiceError:
        if self.request is not None:
            setattr(self.request, NOTED, error)
        return error

    def _settings(self) -> Settings:
        known = {name: getattr(settings, f"SLUICEWAY_{name.upper()}", None) for name in TELLABLE}
        told = {"memory_budget": BUDGET, **{name: value for name, value in known.items() if value is not None}, **self._given}
        to = told.pop("to", None)
        if callable(to):
            to = to(self.request)
        if not to:
            raise BadSetting("SLUICEWAY_TO names no destination; set it to a folder or to the URL of another server")
        places = [to] if isinstance(to, str | os.PathLike) else list(to)
        return Settings(to=tuple(os.fspath(place) for place in places), **told)

    async def _carry(self, here: _Here, form: LiveForm, told: Settings, length: int | None) -> list[tuple[str, Entry]]:
        """In a thread with an event loop; the form is read in the thread of the request."""
        budget = Budget(told.budget)
        try:
            store = open_destination(told, budget)
        except OSError as error:
            raise StoreFailed(f"The destination cannot be opened ({error.strerror}); see that its folder can be made") from error
        desk = Desk(store, budget, Board(), template=KeyTemplate(told.key), digests=told.digests, max_size=told.largest)
        names, fields = list[str](), list[tuple[str, str]]()  # the list grows while the form goes on
        query = {} if self.request is None else {name: str(value) for name, value in self.request.GET.items()}
        walk = iter(form)
        try:
            async with desk.receive(length=length) as incoming:
                while (part := await here.call(next, walk, None)) is not None:
                    if isinstance(part, LiveFile):
                        names.append(part.name)
                        label = Label(field=part.name, fields=fields, values=query, certain=False)
                        await incoming.take(PassingSource(_pieces(here, part)), _wish(part, label), size=part.size)
                    elif part.name != CSRF_FIELD:  # the token is between this site and its user
                        fields.append((part.name, part.value))
                return list(zip(names, await incoming.publish(), strict=True))
        finally:
            await desk.aclose()


class _Here(Executor):
    """Runs a coroutine in a thread of its own and meanwhile, in this one, what it asks for: only this one may read the body."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run(self, work: Callable[[_Here], Coroutine[Any, Any, T]]) -> T:
        """Returns or raises what the coroutine does. It ends in every case: the store has a deadline on each wait."""
        outcome: Future[T] = Future()

        def live() -> None:
            try:
                outcome.set_result(asyncio.run(work(self)))
            except BaseException as error:
                outcome.set_exception(error)
            finally:
                self._jobs.put(None)

        thread = threading.Thread(target=live, name="sluiceway-django", daemon=True)
        thread.start()
        while (job := self._jobs.get()) is not None:
            job()
        thread.join()
        return outcome.result()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._jobs.put(job)
        return future

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self, fn, *args)


async def _pieces(here: _Here, file: LiveFile) -> AsyncIterator[bytes]:
    while piece := await here.call(file.read1):
        yield piece


def _wish(part: LiveFile, label: Label) -> Wish:
    name, told = clean_name(part.filename), part.content_type.partition(";")[0].strip().lower()
    return Wish(filename=name, type=guess_type(name) if told in ("", OCTET_STREAM) else told, label=label)


class _Gone(io.RawIOBase):
    """The inside of a file whose bytes went by."""

    def __init__(self, key: str) -> None:
        self._key = key

    def readinto(self, buffer: object) -> NoReturn:
        raise BadOrder(f"This file is at its destination already, as {self._key!r}; read it there")


def _answered(error: SluiceError, method: str | None) -> HttpResponse:
    """The same answer as our own server's."""
    log_error(error, method)
    told = problem_answer(error)
    response = HttpResponse(bytes(told.body), status=told.status_code)
    for name in dict.fromkeys(told.headers.keys()):
        response[name] = ", ".join(told.headers.getlist(name))
    return response
