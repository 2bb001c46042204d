"""A view that reads the parts of a form itself, while the client still sends.

Knows Django's request and its CSRF check; files and fields are those of `wsgi/streaming_form.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar, cast

from django.http import HttpRequest, QueryDict
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sluiceway.django.limits import LimitedForm, form_limits
from sluiceway.errors import BadOrder, BadRequest
from sluiceway.wsgi.body import WsgiBody, expected_digests
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm
from sluiceway.wsgi.watched import file_progress

__all__ = ["DjangoFile", "csrf_by_header", "parts"]

View = TypeVar("View", bound=Callable[..., Any])


class DjangoFile(LiveFile):
    """A file of a form that `parts` reads, as a binary file whose bytes come from the client.

    `name` is its field, `filename` the name that the client sent: it is not a safe path. All else
    is LiveFile's: `read`, `save`, `size`, `content_type`, and iteration.
    """

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The bytes as they arrive.

        Args:
            chunk_size: Bytes of each piece but the last; None for pieces as they come.

        Raises:
            BodyCut: The client sent less than the whole form.
            BadForm: The form is malformed.
        """
        return iter(self) if chunk_size is None else iter(lambda: self.read(chunk_size), b"")


def parts(request: HttpRequest, max_size: int | None = None) -> LiveForm:
    """The parts of the form while it arrives.

    From then on `request.POST` and `request.FILES` are empty.

    Args:
        request: Django's request, or that of Django REST framework, under WSGI.
        max_size: Most bytes of the body; None for no limit. The site's own limits on fields hold.

    Returns:
        A form to iterate over, FormField and DjangoFile in the order the client sent them, or to
        ask: `.file(name)`, `.field(name)`. Reading raises BodyCut, BadForm, TooLarge.

    Raises:
        BadOrder: Django has read the body already, or runs under ASGI.
        BadRequest: The body is not a form.
        LengthRequired: The server hides where a chunked body ends.
        TooLarge: The body is longer than `max_size`.

    Example:
        @csrf_by_header
        def book(request):
            form = parts(request)
            answer = requests.post(url, data=form.file("file"))
            return HttpResponse(answer.content, status=answer.status_code)
    """
    # Django REST framework's request has Django's inside
    request = getattr(request, "_request", request)
    environ = request.META
    if "wsgi.input" not in environ:
        raise BadOrder(
            "Under ASGI Django stores the whole body before it calls the view; mount "
            "sluiceway.Sluiceway beside Django in asgi.py, or run this view under WSGI"
        ).for_operator()
    if (
        getattr(request, "_read_started", False)
        or hasattr(request, "_body")
        or hasattr(request, "_files")
    ):
        raise BadOrder(
            "The body was read before parts(request). request.POST, request.FILES and "
            "request.body read it, and so does Django's CSRF check of a POST, also when the "
            "token is in the header: put @csrf_by_header before the view"
        ).for_operator()
    if request.content_type != "multipart/form-data":
        raise BadRequest("This view takes a form; send multipart/form-data")
    body = WsgiBody(environ, max_size, ends_itself=True)
    form = LimitedForm(
        body.take,
        environ["CONTENT_TYPE"],
        body.length,
        form_limits(),
        kind=DjangoFile,
        expected=expected_digests(environ),
        watched=file_progress(environ),
    )
    # Django notes that the body is being read, and does not take the rest of it for a form
    request.read(0)
    return form


def csrf_by_header(view: View) -> View:
    """A decorator for a view that reads the form itself: its CSRF token comes in a header.

    The header X-CSRFToken is checked before any byte of the body is read. Django's own check looks
    for a field first, and so reads all of a POST, even when the header is there.

    Args:
        view: The view. It needs no other CSRF decorator.

    Example:
        @csrf_by_header
        def book(request):
            for part in parts(request):
                ...
    """

    def unmarked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The view without the mark that @csrf_exempt and @uploads leave on it: Django's check
        would let a marked one pass."""
        return view(request, *args, **kwargs)

    checked = csrf_protect(unmarked)

    @wraps(view)
    def with_empty_form(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(request, "_files"):  # without a form there is only the header to look at
            request.POST = QueryDict()
        return checked(request, *args, **kwargs)

    return cast("View", csrf_exempt(with_empty_form))
