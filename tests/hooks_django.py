"""The app of mount_hooks.py in Django: the user is an attribute that a middleware sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

import mount_hooks
from mount_hooks import OwnError
from sluiceway.django import EndedUpload, KeptUpload, StartedUpload, mount
from sluiceway.stores.contract import Entry

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of these tests",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "corsheaders.middleware.CorsMiddleware",
            "hooks_django.Users",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        INSTALLED_APPS=["corsheaders"],
        CORS_ALLOWED_ORIGINS=["https://app.example"],
        LOGGING_CONFIG=None,
    )
    django.setup()


class Users:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        request.member = request.headers.get("X-User", "nobody")
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return HttpResponse("own", status=455) if isinstance(error, OwnError) else None


def place(request: Any) -> str:
    if request.member == "nobody":
        raise PermissionDenied("Log in first")
    return mount_hooks.place(request.member)


def start(upload: StartedUpload, request: Any) -> None:
    mount_hooks.started(upload, request.member)


def kept(upload: KeptUpload, request: Any) -> None:
    mount_hooks.kept(upload, request.member)


def published(entry: Entry, request: Any) -> None:
    mount_hooks.published(entry, request.member)


def end(upload: EndedUpload, request: Any) -> None:
    mount_hooks.ended(upload, request.member)


async def later_place(request: Any) -> str:
    return place(request)


async def later_start(upload: StartedUpload, request: Any) -> None:
    start(upload, request)


async def later_kept(upload: KeptUpload, request: Any) -> None:
    kept(upload, request)


async def later_published(entry: Entry, request: Any) -> None:
    published(entry, request)


async def later_end(upload: EndedUpload, request: Any) -> None:
    end(upload, request)


HOOKS: Any = {"on_start": start, "on_kept": kept, "on_published": published, "on_end": end}
LATER: Any = {"on_start": later_start, "on_kept": later_kept, "on_end": later_end}
LATER["on_published"] = later_published
LATER["allow_origin"] = "https://other.example"

urlpatterns = [
    mount("drop/", place, **HOOKS, max_size="1MiB"),
    path("", include([mount("later/", later_place, **LATER)])),
]
app = get_wsgi_application()
