"""The app of mount_hooks.py in FastAPI: the user is in the state that a middleware sets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import mount_hooks
from mount_hooks import OwnError
from sluiceway.starlette import EndedUpload, KeptUpload, StartedUpload, add, mount
from sluiceway.stores.contract import Entry

app = FastAPI()
add(app)


class Users(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        request.state.user = request.headers.get("X-User", "nobody")
        return await call_next(request)


app.add_middleware(Users)
app.add_middleware(
    CORSMiddleware,
    allow_origins=["https://app.example"],
    allow_methods=["*"],
    allow_headers=["*"],
)


@app.exception_handler(OwnError)
async def own(request: Request, error: OwnError) -> Response:
    return PlainTextResponse("own", 455)


def place(request: Request) -> str:
    if request.state.user == "nobody":
        raise HTTPException(401, "Log in first")
    return mount_hooks.place(request.state.user)


def start(upload: StartedUpload, request: Request) -> None:
    mount_hooks.started(upload, request.state.user)


def kept(upload: KeptUpload, request: Request) -> None:
    mount_hooks.kept(upload, request.state.user)


def published(entry: Entry, request: Request) -> None:
    mount_hooks.published(entry, request.state.user)


def end(upload: EndedUpload, request: Request) -> None:
    mount_hooks.ended(upload, request.state.user)


async def later_place(request: Request) -> str:
    return place(request)


async def later_start(upload: StartedUpload, request: Request) -> None:
    start(upload, request)


async def later_kept(upload: KeptUpload, request: Request) -> None:
    kept(upload, request)


async def later_published(entry: Entry, request: Request) -> None:
    published(entry, request)


async def later_end(upload: EndedUpload, request: Request) -> None:
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
