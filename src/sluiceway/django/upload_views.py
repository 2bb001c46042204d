"""`@uploads`: a view whose files are stored while they arrive, and published when it has answered.

Decides when the CSRF token is checked, when files are published and when discarded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace as changed
from functools import wraps
from typing import Any, TypeVar, Unpack, cast, overload

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sluiceway.django.files.stored_files import DraftedFiles, RequestFiles
from sluiceway.django.limits import LimitedForm, form_limits
from sluiceway.errors import BadOrder, LengthRequired
from sluiceway.server.settings.arguments import DestinationArguments, Places
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.stores.contract import Entry
from sluiceway.wire.urls import is_url
from sluiceway.wsgi.body import WsgiBody, expected_digests
from sluiceway.wsgi.watched import file_progress

__all__ = ["publish", "uploads"]

SITE_SETTINGS = ["to", *DestinationArguments.__annotations__]  # in settings.py, after SLUICEWAY_
# Memory for one request: what one fast transfer fills at most. The budget of a whole server would
# be lent to each.
BUDGET = "16MiB"
DRAFTED = "_sluiceway_drafted"  # the attribute of a request with its DraftedFiles

View = TypeVar("View", bound=Callable[..., Any])
To = Places | Callable[[HttpRequest | None], Any] | None


@overload
def uploads(view: View) -> View: ...
@overload
def uploads(
    *, to: To = None, **options: Unpack[DestinationArguments]
) -> Callable[[View], View]: ...
def uploads(
    view: View | None = None, *, to: To = None, **options: Unpack[DestinationArguments]
) -> View | Callable[[View], View]:
    """A decorator: the files of the view's form are stored while they arrive.

    They are published when the view has looked at `request.FILES` and answers with a status below
    400: all of them or none. If it answers otherwise, raises, or Django's CSRF check refuses, they
    are discarded. A destination that is another server needs the CSRF token in the header
    X-CSRFToken, because it hears of a file before a field behind it is read.

    Args:
        view: The view, if the decorator is used without arguments.
        to: A folder, another server, a bucket, or several; or a function that gets the request and
            returns one. Without it the site's setting SLUICEWAY_TO.
        options: As the site's settings SLUICEWAY_…: `key_template`, `max_size`, `relay_url` ….

    Raises:
        BadOrder: The decorated view: a middleware or decorator outside read the form before.
        BadSetting: The decorated view: no destination, or one that cannot be used.
        Exists, NoSpace, Refused, PeerFailed: The decorated view: the files cannot be published.
        BodyCut, BadForm, TooLarge, LengthRequired: Reading `request.FILES`, as what storing
            raises.

    Example:
        @uploads(to="/srv/books", max_size="10GiB")
        def book(request):
            Book.objects.create(file=request.FILES["file"].key)
            return redirect("books")
    """

    def decorate(view: View) -> View:
        checked = view if getattr(view, "csrf_exempt", False) else csrf_protect(view)

        @wraps(view)
        def with_uploads(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            view_settings = _settings(request, to, options)
            handler = _UploadHandler(request, view_settings)
            try:
                request.upload_handlers = [handler]
            except AttributeError:
                raise BadOrder(
                    "The form was read before this view: a middleware or a decorator outside of "
                    "@uploads looked at request.POST"
                ).for_operator() from None
            if _passes_on(view_settings):
                request.POST = QueryDict()  # for the CSRF check, which then knows the header alone
            try:
                response: HttpResponseBase = checked(request, *args, **kwargs)
                drafted = handler.drafted
                if drafted is not None and drafted.looked_at and response.status_code < 400:
                    drafted.publish()
                return response
            finally:
                if handler.drafted is not None:
                    handler.drafted.discard()

        # the CSRF check runs inside, when the upload handler is in its place
        return cast("View", csrf_exempt(with_uploads))

    return decorate if view is None else decorate(view)


def publish(request: HttpRequest) -> list[Entry]:
    """Publish the files of a view with @uploads now, before it answers.

    They stay, whatever the view answers.

    Args:
        request: The view's request, whose `FILES` were read.

    Returns:
        The destination's description of each file, in the order of the form.

    Raises:
        BadOrder: There are no files: no @uploads, or `request.FILES` was not read.
        Exists, NoSpace, Refused, PeerFailed: The files cannot be published.

    Example:
        file = request.FILES["file"]
        publish(request)
        return JsonResponse({"url": file.url})
    """
    drafted: DraftedFiles | None = getattr(getattr(request, "_request", request), DRAFTED, None)
    if drafted is None:
        raise BadOrder(
            "There are no files to publish: decorate the view with @uploads and read "
            "request.FILES first"
        ).for_operator()
    return drafted.publish()


class _UploadHandler(FileUploadHandler):
    """Reads the form instead of Django's parser, which takes a cut body for a whole one."""

    def __init__(self, request: HttpRequest, settings: Settings) -> None:
        super().__init__(request)
        self._settings = settings
        self.drafted: DraftedFiles | None = None
        headers = request.META
        if (
            not headers.get("CONTENT_LENGTH")
            and "chunked" in str(headers.get("HTTP_TRANSFER_ENCODING", "")).lower()
        ):
            raise LengthRequired(
                "Django takes a chunked body for an empty one; send the form with "
                "Content-Length, or have the view read sluiceway.django.parts(request)"
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
            # Django notes that the body is being read: after an error the rest is not a form
            input_data.read(0)
        else:  # a body that Django or a middleware has stored already
            environ = {**META, "wsgi.input": input_data, "wsgi.input_terminated": True}
        body = WsgiBody(environ, ends_itself=True)
        form = LimitedForm(
            body.take,
            META["CONTENT_TYPE"],
            body.length,
            changed(form_limits(), coded=False),
            expected=expected_digests(META),
            watched=file_progress(META),
        )
        request = self.request
        query = {} if request is None else {name: str(v) for name, v in request.GET.items()}
        self.drafted = DraftedFiles(form, self._settings, query, body.length)
        setattr(request, DRAFTED, self.drafted)
        fields = QueryDict(mutable=True)
        for name, value in form.fields:
            fields.appendlist(name, value)
        fields._mutable = False
        return fields, RequestFiles(self.drafted)


def _settings(request: HttpRequest, to: To, options: Mapping[str, Any]) -> Settings:
    known = {name: getattr(settings, f"SLUICEWAY_{name.upper()}", None) for name in SITE_SETTINGS}
    values = {
        "memory_budget": BUDGET,
        **{name: value for name, value in known.items() if value is not None},
        **options,
    }
    place = values.pop("to", None) if to is None else to
    values.pop("to", None)
    if callable(place):
        place = place(request)
    if not place:
        raise BadSetting(
            "SLUICEWAY_TO names no destination; set it to a folder or to the URL of another server"
        )
    places = [place] if isinstance(place, str | os.PathLike) else list(place)
    return Settings(to=tuple(os.fspath(one) for one in places), **values)


def _passes_on(settings: Settings) -> bool:
    """Whether another server hears of a file while it arrives."""
    return any(
        is_url(place.removeprefix("required:").removeprefix("best-effort:"))
        for place in settings.to
    )
