"""A Django site whose views can be watched: `application` for WSGI, `asgi` for ASGI servers.

BACKEND and FOLDER come from the environment.
"""

from __future__ import annotations

import os
from typing import Any

import django
import requests
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import UploadedFile
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from sluiceway.django import DjangoFile, parts, progress_urls

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of these watched tests",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "sluiceway.django.WatchedUploads",
            "sluiceway.django.Problems",
            f"{__name__}.shut_out_strangers",
        ],
        STORAGES={
            "default": {
                "BACKEND": "sluiceway.django.Storage",
                "OPTIONS": {"to": os.environ.get("FOLDER", "media")},
            },
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        },
        FILE_UPLOAD_HANDLERS=["sluiceway.django.UploadHandler"],
        LOGGING_CONFIG=None,
    )
    django.setup()


def shut_out_strangers(get_response: Any) -> Any:
    """The site's own middleware decides as for its other views."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "X-Stranger" in request.headers:
            return HttpResponse("log in", status=401)
        response: HttpResponse = get_response(request)
        return response

    return middleware


def may_watch(request: HttpRequest, upload: str) -> bool:
    return "X-Shut-Out" not in request.headers


@csrf_exempt
def relay(request: HttpRequest) -> HttpResponse:
    file = parts(request).file("file")
    answer = requests.post(os.environ["BACKEND"], data=file, timeout=60)
    return HttpResponse(answer.content, status=answer.status_code)


@csrf_exempt
def kept(request: HttpRequest) -> HttpResponse:
    file, count = parts(request).file("file"), 0
    assert isinstance(file, DjangoFile)
    while file.read(100_000):
        count += 1
        if count % 2:
            file.kept()
    return HttpResponse("kept")


@csrf_exempt
def read(request: HttpRequest) -> HttpResponse:
    """An ordinary Django view; it ends in the way that the query names."""
    file = request.FILES["file"]
    assert isinstance(file, UploadedFile)
    for _ in file.chunks():
        pass
    if "fails" in request.GET:
        raise LookupError("no such book")
    return HttpResponse(status=int(request.GET.get("status", "200")))


@csrf_exempt
def swallow(request: HttpRequest) -> HttpResponse:
    """Takes a cut form for a whole one."""
    try:
        for part in parts(request):
            if isinstance(part, DjangoFile):
                for _ in part.chunks():
                    pass
    except Exception:
        pass
    return HttpResponse("fine")


urlpatterns = [
    path("uploads/", include(progress_urls(may_watch))),
    path("relay", relay),
    path("kept", kept),
    path("read", read),
    path("swallow", swallow),
]
application = get_wsgi_application()
asgi = get_asgi_application()

__all__ = ["application", "asgi"]
