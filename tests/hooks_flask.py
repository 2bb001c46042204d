"""The app of mount_hooks.py in Flask: the user is in `flask.g`, of the request's context."""

from __future__ import annotations

from typing import Any

import flask
from flask_cors import CORS

import mount_hooks
from mount_hooks import OwnError
from sluiceway.flask import EndedUpload, KeptUpload, StartedUpload, mount
from sluiceway.stores.contract import Entry

app = flask.Flask(__name__)
CORS(app, origins=["https://app.example"])


@app.before_request
def user() -> None:
    flask.g.user = flask.request.headers.get("X-User", "nobody")


@app.errorhandler(OwnError)
def own(error: OwnError) -> tuple[str, int]:
    return "own", 455


def place(request: flask.Request) -> str:
    if flask.g.user == "nobody":
        flask.abort(401, "Log in first")
    assert request is flask.request._get_current_object()  # type: ignore[attr-defined]
    return mount_hooks.place(flask.g.user)


def start(upload: StartedUpload, request: flask.Request) -> None:
    mount_hooks.started(upload, flask.g.user)


def kept(upload: KeptUpload, request: flask.Request) -> None:
    mount_hooks.kept(upload, flask.g.user)


def published(entry: Entry, request: flask.Request) -> None:
    mount_hooks.published(entry, flask.g.user)


def end(upload: EndedUpload, request: flask.Request) -> None:
    mount_hooks.ended(upload, flask.g.user)


async def later_place(request: flask.Request) -> str:
    return place(request)


async def later_start(upload: StartedUpload, request: flask.Request) -> None:
    start(upload, request)


async def later_kept(upload: KeptUpload, request: flask.Request) -> None:
    kept(upload, request)


async def later_published(entry: Entry, request: flask.Request) -> None:
    published(entry, request)


async def later_end(upload: EndedUpload, request: flask.Request) -> None:
    end(upload, request)


HOOKS: Any = {"on_start": start, "on_kept": kept, "on_published": published, "on_end": end}
mount(app, "/drop", place, **HOOKS, max_size="1MiB")
mount(
    app,
    "/later",
    later_place,
    on_start=later_start,
    on_kept=later_kept,
    on_published=later_published,
    on_end=later_end,
    allow_origin="https://other.example",
)
