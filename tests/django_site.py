"""A Django project in one file.

`application` for WSGI servers, `asgi` for ASGI ones, and manage.py when it is run.

The environment has BACKEND (where views relay to), FOLDER (where they save) and STORE (where
@uploads stores).
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

from sluiceway.django import (
    DjangoFile,
    FormField,
    StoredFile,
    csrf_by_header,
    parts,
    publish,
    uploads,
)
from sluiceway.errors import MissingField
from sluiceway.server.app import Sluiceway

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of these tests",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["sluiceway.django.Problems", "django.middleware.csrf.CsrfViewMiddleware"],
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
    if not isinstance(file, DjangoFile):
        raise MissingField("Send a file")
    file.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return JsonResponse(
        {"filename": file.filename, "type": file.content_type, "size": file.size, "title": title}
    )


@csrf_exempt
def walk(request: HttpRequest) -> HttpResponse:
    """Every part, in order; every second file is skipped."""
    walked: list[list[object]] = []
    for part in parts(request):
        if isinstance(part, FormField):
            walked.append([part.name, part.value])
        elif len(walked) % 2 and isinstance(part, DjangoFile):
            walked.append(
                [
                    part.name,
                    part.filename,
                    hashlib.sha256(b"".join(part.chunks(100_000))).hexdigest(),
                ]
            )
        else:
            walked.append([part.name, part.filename])
    return JsonResponse(walked, safe=False)


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


def stored_files(request: HttpRequest) -> HttpResponse:
    """Answers with the fields and the places of the files.

    ?answer= is the status; ?publish= publishes the files before.
    """
    found = [(name, file) for name, several in request.FILES.lists() for file in several]
    if "publish" in request.GET:
        publish(request)
    files: list[list[object]] = []
    for name, file in found:
        assert isinstance(file, StoredFile)
        files.append(
            [name, file.name, file.size, file.content_type, file.key, file.sha256, file.url]
        )
    status = int(request.GET.get("answer", "201"))
    if status == 999:
        raise ValueError("a view that fails")
    return JsonResponse({"fields": dict(request.POST.lists()), "files": files}, status=status)


stored_with_token = uploads(stored_files)
stored = uploads(csrf_exempt(stored_files))
stored_by_header = csrf_by_header(stored)


@uploads(key_template="one/{filename}")
@csrf_exempt
def stored_under_one_key(request: HttpRequest) -> HttpResponse:
    return stored_files(request)


@uploads
def behind_a_login(request: HttpRequest) -> HttpResponse:
    """Redirects anonymous users to a login page, without a look at their files."""
    return HttpResponse(status=302, headers={"Location": "/login"})


def elsewhere(request: HttpRequest | None) -> str:
    """The next server; a field is a part of its address."""
    return os.environ["BACKEND"].rpartition("/")[0] + "/{title}"


@uploads(to=elsewhere, relay_body="raw")
@csrf_exempt
def forwarded(request: HttpRequest) -> HttpResponse:
    if request.FILES:
        publish(request)
    return stored_files(request)


@uploads(to=elsewhere, relay_body="same")
@csrf_exempt
def forwarded_as_form(request: HttpRequest) -> HttpResponse:
    return stored_files(request)


@uploads(to=elsewhere, relay_body="raw")
def forwarded_with_token(request: HttpRequest) -> HttpResponse:
    return stored_files(request)


def both(request: HttpRequest | None) -> list[str]:
    """A folder for each user and the next server; both follow from the request."""
    assert request is not None
    server = os.environ["BACKEND"].rpartition("/")[0]
    return [
        os.path.join(os.environ["STORE"], request.GET["who"]),
        f"{server}/{request.GET['place']}",
    ]


@uploads(to=both, relay_body="raw")
@csrf_exempt
def several(request: HttpRequest) -> HttpResponse:
    publish(request) if request.FILES else None
    return stored_files(request)


@uploads
@csrf_exempt
def read_again(request: HttpRequest) -> HttpResponse:
    file: Any = request.FILES["file"]
    return HttpResponse(b"".join(file.chunks()))


@csrf_exempt
def looked_before(request: HttpRequest) -> HttpResponse:
    """Reads the form first, as a middleware or a decorator outside of @uploads may do."""
    _ = request.POST
    answer: HttpResponse = stored(request)
    return answer


@uploads
@csrf_exempt
def broken(request: HttpRequest) -> HttpResponse:
    """A view that catches the error and looks at the form again."""
    try:
        request.FILES.get("file")
    except Exception as error:
        return JsonResponse(
            {"error": type(error).__name__, "then": [len(request.POST), len(request.FILES)]}
        )
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
    path("stored-with-token", stored_with_token),
    path("behind-a-login", behind_a_login),
    path("stored-under-one-key", stored_under_one_key),
    path("stored-by-header", stored_by_header),
    path("forwarded", forwarded),
    path("forwarded-as-form", forwarded_as_form),
    path("forwarded-with-token", forwarded_with_token),
    path("several", several),
    path("read-again", read_again),
    path("looked-before", looked_before),
    path("broken", broken),
    path("threads", threads),
]

application = get_wsgi_application()

pages = get_asgi_application()
sluice = Sluiceway(to=os.environ.get("STORE", "uploads"))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """The same as in docs/django.md."""
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
