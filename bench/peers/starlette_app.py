"""Peer: Starlette under uvicorn.

Raw body to a file, form() copied to a file, FileResponse; FSYNC=1 adds fsync of the file,
FSYNC=folder of file and folder.

Writes happen on the event loop: the shortest code and, for one upload, the fastest this peer can
be.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

__all__ = ["app"]

TO = Path(os.environ["BENCH_TO"])
FSYNC = os.environ.get("FSYNC", "") != ""
FOLDER = os.environ.get("FSYNC") == "folder"
COPY_BLOCK = 1 << 20  # shutil's own 64 KiB is slower here


async def raw(request: Request) -> Response:
    with (TO / request.path_params["name"]).open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
        if FSYNC:
            file.flush()
            await asyncio.to_thread(sync, file.fileno())
    return PlainTextResponse("kept\n", status_code=201)


def sync(descriptor: int) -> None:
    os.fsync(descriptor)
    if FOLDER:
        folder = os.open(TO, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def copy(upload: UploadFile) -> None:
    with (TO / Path(upload.filename or "unnamed").name).open("wb") as file:
        shutil.copyfileobj(upload.file, file, COPY_BLOCK)
        if FSYNC:
            file.flush()
            sync(file.fileno())


async def form(request: Request) -> Response:
    async with request.form() as fields:
        upload = fields["file"]
        if not isinstance(upload, UploadFile):
            return PlainTextResponse("file must be a file\n", status_code=400)
        await asyncio.to_thread(copy, upload)
    return PlainTextResponse("kept\n", status_code=201)


async def download(request: Request) -> Response:
    return FileResponse(TO / request.path_params["name"])


app = Starlette(
    routes=[
        Route("/raw/{name}", raw, methods=["PUT"]),
        Route("/form", form, methods=["POST"]),
        Route("/{name}", download, methods=["GET"]),
    ]
)
