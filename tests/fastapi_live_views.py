"""A FastAPI app whose views take LiveUpload, with `add(app)` unless ADDED=no.

FOLDER and BACKEND come from the environment.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import zipfile
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Form, UploadFile
from pydantic import BaseModel
from starlette.datastructures import UploadFile as AnyUpload
from starlette.responses import StreamingResponse

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
    out, live = io.BytesIO(), file.live
    shutil.copyfileobj(file.file, out)
    found = hashlib.sha256(out.getvalue()).hexdigest()
    return {"live": live, "number": number, "sha256": found}


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
async def background(file: LiveUpload, tasks: BackgroundTasks) -> bool:
    async def later() -> None:
        with open(os.path.join(os.environ["FOLDER"], "later"), "w") as out:
            out.write(await digest(file))

    tasks.add_task(later)
    return file.live


@app.post("/echo")
async def echo(file: LiveUpload) -> StreamingResponse:
    return StreamingResponse(file)


@app.post("/save", status_code=201)
async def save(title: Annotated[str, Form()], file: LiveUpload) -> str:
    await file.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return title


sub = FastAPI()


@sub.post("/book")
async def sub_book(title: Annotated[str, Form()], file: LiveUpload) -> dict[str, Any]:
    return await book(title, file)


app.mount("/sub", sub)
