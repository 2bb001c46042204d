"""A Django project in one file: `application` for WSGI servers, `asgi` for ASGI ones, and manage.py when it is run.

BACKEND, FOLDER and STORE come from the environment: where views relay to, where they save, where the upload handler stores.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import django
import requests
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from sluiceway.django import File, LiveField, StoredFile, UploadHandler, csrf_by_header, parts
from sluiceway.errors import MissingField
from sluiceway.server.app import Sluiceway

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of these tests",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["sluiceway.django.Problems", "django.middleware.csrf.CsrfViewMiddleware"],
        FILE_UPLOAD_HANDLERS=["sluiceway.django.UploadHandler"],
        SLUICEWAY_TO=Path(os.environ.get("STORE", "uploads")),
        SLUICEWAY_MAX_SIZE="100MiB",
        LOGGING_CONFIG=None,
    )
    django.setup()


@csrf_exempt
def relay(request: HttpRequest) -> HttpResponse:
    form = parts(request)
    title, file = form.field("title") or "", form.file("file")
    answer = requests.post(os.environ["BACKEND"], data=file, headers={"X-Title": title}, timeout=30)
    return HttpResponse(answer.content, status=answer.status_code)


@csrf_exempt
def save(request: HttpRequest) -> HttpResponse:
    form = parts(request)
    title, file = form.field("title"), form.file("file")
    if not isinstance(file, File):
        raise MissingField("Send a file")
    file.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return JsonResponse({"filename": file.filename, "type": file.content_type, "size": file.size, "title": title})


@csrf_exempt
def walk(request: HttpRequest) -> HttpResponse:
    """Every part, in order; every second file is skipped."""
    told: list[list[object]] = []
    for part in parts(request):
        if isinstance(part, LiveField):
            told.append([part.name, part.value])
        elif len(told) % 2 and isinstance(part, File):
            told.append([part.name, part.filename, hashlib.sha256(b"".join(part.chunks(100_000))).hexdigest()])
        else:
            told.append([part.name, part.filename])
    return JsonResponse(told, safe=False)


@csrf_exempt
def twice(request: HttpRequest) -> HttpResponse:
    """Looks at Django's mappings in the middle of the form."""
    first = next(iter(parts(request)))
    return JsonResponse([first.name, len(request.POST), len(request.FILES)], safe=False)


def late(request: HttpRequest) -> HttpResponse:
    """Django's CSRF check has read the form already."""
    return JsonResponse([part.name for part in parts(request)], safe=False)


@csrf_by_header
def headed(request: HttpRequest) -> HttpResponse:
    return JsonResponse([part.name for part in parts(request)], safe=False)


def told(request: HttpRequest) -> HttpResponse:
    """What an upload handler left: fields, and where the files are."""
    files: list[list[object]] = []
    for name, several in request.FILES.lists():
        for file in several:
            assert isinstance(file, StoredFile)
            files.append([name, file.name, file.size, file.content_type, file.key, file.sha256, file.url])
    return JsonResponse({"fields": dict(request.POST.lists()), "files": files}, status=201)


@csrf_exempt
def stored(request: HttpRequest) -> HttpResponse:
    return told(request)


@csrf_by_header
def stored_by_header(request: HttpRequest) -> HttpResponse:
    return told(request)


@csrf_exempt
def forwarded(request: HttpRequest) -> HttpResponse:
    """To the next server, its address made of a field."""
    to = os.environ["BACKEND"].rpartition("/")[0] + "/{title}"
    request.upload_handlers = [UploadHandler(request, to=to, relay_body=request.GET.get("body", "raw"))]
    return told(request)


@csrf_exempt
def several(request: HttpRequest) -> HttpResponse:
    """To a folder for each user and to the next server; both follow from the request."""

    def to(asked: HttpRequest | None) -> list[str]:
        server = os.environ["BACKEND"].rpartition("/")[0]
        return [os.path.join(os.environ["STORE"], request.GET["who"]), f"{server}/{request.GET['place']}"]

    request.upload_handlers = [UploadHandler(request, to=to, relay_body="raw")]
    return told(request)


@csrf_exempt
def read_again(request: HttpRequest) -> HttpResponse:
    file: Any = request.FILES["file"]
    return HttpResponse(b"".join(file.chunks()))


@csrf_exempt
def not_alone(request: HttpRequest) -> HttpResponse:
    request.upload_handlers.insert(0, UploadHandler(request))
    return told(request)


@csrf_exempt
def broken(request: HttpRequest) -> HttpResponse:
    """A view that catches what went wrong and looks at the form once more."""
    try:
        request.FILES.get("file")
    except Exception as error:
        return JsonResponse({"error": type(error).__name__, "then": [len(request.POST), len(request.FILES)]})
    return HttpResponse("whole")


def threads(request: HttpRequest) -> HttpResponse:
    import threading

    return JsonResponse([thread.name for thread in threading.enumerate()], safe=False)


urlpatterns = [
    path("relay", relay),
    path("save", save),
    path("walk", walk),
    path("twice", twice),
    path("late", late),
    path("headed", headed),
    path("stored", stored),
    path("stored-with-token", told),
    path("stored-by-header", stored_by_header),
    path("forwarded", forwarded),
    path("several", several),
    path("read-again", read_again),
    path("not-alone", not_alone),
    path("broken", broken),
    path("threads", threads),
]

application = get_wsgi_application()

pages = get_asgi_application()
sluice = Sluiceway(to=os.environ.get("STORE", "uploads"))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """As docs/django.md has it."""
    root = scope.get("root_path", "") + "/drop"
    if scope["type"] == "lifespan":
        await sluice(scope, receive, send)
    elif scope["path"].startswith(root + "/"):
        await sluice({**scope, "root_path": root}, receive, send)
    else:
        await pages(scope, receive, send)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
