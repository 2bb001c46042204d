"""A FastAPI app whose views take LiveUpload, with `add(app)` unless ADDED=no.

FOLDER and BACKEND come from the environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import shutil
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Form, UploadFile
from pydantic import BaseModel
from starlette.datastructures import UploadFile as AnyUpload
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sluiceway.starlette import Live, LiveUpload, add

if os.environ.get("LOGGED"):
    logging.basicConfig(filename=os.environ["LOGGED"], level=logging.DEBUG)

app = FastAPI()
if os.environ.get("ADDED") != "no":
    add(app)


async def digest(file: AnyUpload) -> str:
    found = hashlib.sha256()
    while piece := await file.read(50_000):
        found.update(piece)
    return found.hexdigest()


class Digest(io.RawIOBase):
    """A file that keeps nothing."""

    def __init__(self) -> None:
        self.found = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.found.update(data)
        return len(data)


@app.post("/book")
async def book(title: Annotated[str, Form()], file: LiveUpload) -> dict[str, Any]:
    live = file.live
    return {
        "title": title,
        "filename": file.filename,
        "type": file.content_type,
        "live": live,
        "sha256": await digest(file),
    }


@app.post("/headers")
def headers(file: LiveUpload) -> dict[str, str]:
    return dict(file.headers)


@app.post("/forward")
async def forward(title: Annotated[str, Form()], file: LiveUpload) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.put(f"{os.environ['BACKEND']}/{title}", content=file)
    return {"status": answer.status_code}


@app.post("/sniffed")
async def sniffed(file: LiveUpload, seek: int = 0, first: int = 16) -> dict[str, Any]:
    """Look at the first bytes, go back, read all."""
    begin = await file.read(first)
    await file.seek(seek)
    return {"begin": len(begin), "sha256": await digest(file)}


@app.post("/zip")
async def names(file: LiveUpload) -> list[str]:
    await file.spool()
    with zipfile.ZipFile(file.file) as archive:
        return archive.namelist()


@app.post("/sync")
def sync(file: LiveUpload, number: Annotated[int, Form()] = 1) -> dict[str, Any]:
    """A view with plain `def` runs in a thread and reads `file.file`."""
    out, live = Digest(), file.live
    shutil.copyfileobj(file.file, out)
    return {"live": live, "number": number, "sha256": out.found.hexdigest()}


@app.post("/lines")
def lines(file: LiveUpload) -> int:
    return sum(1 for _ in file.file)


@app.post("/blocking")
async def blocking(file: LiveUpload) -> int:
    return len(file.file.read())


@app.post("/optional")
async def optional(file: LiveUpload | None = None, note: Annotated[str, Form()] = "-") -> list[Any]:
    return [note, None if file is None else [file.live, await digest(file)]]


@app.post("/many")
async def many(files: list[LiveUpload]) -> list[list[Any]]:
    return [[file.filename, file.live, await digest(file)] for file in files]


@app.post("/two")
async def two(a: LiveUpload, b: LiveUpload) -> list[list[Any]]:
    return [[file.filename, file.live, await digest(file)] for file in (a, b)]


@app.post("/beside")
async def beside(cover: UploadFile, file: LiveUpload) -> list[list[Any]]:
    return [[type(cover).__name__, len(cover.file.read())], [file.live, await digest(file)]]


@app.post("/first")
async def first(
    title: Annotated[str, Form()],
    file: Annotated[LiveUpload, Live(fields_first=True)],
    note: Annotated[str, Form()] = "-",
) -> list[Any]:
    return [title, note, file.live, await digest(file)]


class Book(BaseModel):
    title: str
    pages: int = 1


async def owner(key: Annotated[str, Form()]) -> str:
    return key.upper()


async def cover(cover: LiveUpload, who: Annotated[str, Depends(owner)]) -> list[Any]:
    return [who, cover.live, await digest(cover)]


router = APIRouter(prefix="/shelf")


@router.post("/model")
async def model(
    book: Annotated[Book, Form()], file: Annotated[LiveUpload, Live(fields_first=True)]
) -> list[Any]:
    return [book.title, book.pages, file.live, await digest(file)]


@router.post("/depends")
async def depends(found: Annotated[list[Any], Depends(cover)]) -> list[Any]:
    return found


app.include_router(router)
outer = APIRouter(prefix="/again", dependencies=[Depends(owner)])
outer.include_router(router)
app.include_router(outer)


@app.post("/background")
async def background(file: LiveUpload, tasks: BackgroundTasks, name: str = "later") -> str:
    async def later() -> None:
        found = await digest(file)
        with open(os.path.join(os.environ["FOLDER"], name), "w") as out:
            out.write(found)

    tasks.add_task(later)
    return "soon"


@app.post("/echo")
async def echo(file: LiveUpload) -> StreamingResponse:
    return StreamingResponse(file)


@app.post("/digests")
async def digests(file: LiveUpload) -> StreamingResponse:
    """Answers while the file arrives."""

    async def each() -> AsyncIterator[str]:
        while piece := await file.read(1 << 20):
            yield hashlib.sha256(piece).hexdigest()

    return StreamingResponse(each())


@app.post("/paced")
async def paced(file: LiveUpload, name: str = "left") -> StreamingResponse:
    """Answers slower than the file arrives, and then for as long as somebody listens."""

    async def each() -> AsyncIterator[str]:
        try:
            while piece := await file.read(5000):
                await asyncio.sleep(0.002)
                yield hashlib.sha256(piece).hexdigest()
            while True:
                yield "."
                await asyncio.sleep(0.01)
        finally:
            with open(os.path.join(os.environ["FOLDER"], name), "w"):
                pass

    return StreamingResponse(each())


@app.post("/save", status_code=201)
async def save(title: Annotated[str, Form()], file: LiveUpload) -> str:
    await file.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return title


@app.post("/stock")
async def stock(title: Annotated[str, Form()], file: UploadFile) -> list[Any]:
    """A view that was there before."""
    await file.seek(0)
    return [title, type(file).__name__, await digest(file)]


@app.post("/form")
async def form(request: Request) -> list[Any]:
    """Starlette's own form, of a view that was there before."""
    async with request.form() as found:
        file = found["file"]
        return [found["title"], await digest(file) if isinstance(file, AnyUpload) else file]


class Timed(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers["X-Timed"] = "yes"
        return response


stacked = FastAPI()
stacked.add_middleware(GZipMiddleware, minimum_size=1)
stacked.add_middleware(CORSMiddleware, allow_origins=["https://app.example"])
stacked.add_middleware(Timed)


@stacked.post("/book")
async def stacked_book(title: Annotated[str, Form()], file: LiveUpload) -> dict[str, Any]:
    return await book(title, file)


app.mount("/stacked", stacked)
sub = FastAPI()


@sub.post("/book")
async def sub_book(title: Annotated[str, Form()], file: LiveUpload) -> dict[str, Any]:
    return await book(title, file)


app.mount("/sub", sub)
