"""A FastAPI app whose views can be watched. BACKEND and FOLDER come from the environment."""

from __future__ import annotations

import os
from typing import Annotated

import httpx
import requests
from fastapi import Depends, FastAPI, HTTPException, Request, Response

import sluiceway
from sluiceway.starlette import LiveUpload, add, parts

BACKEND = os.environ["BACKEND"]


def login(request: Request) -> None:
    """A global dependency: it decides for all of the app's routes."""
    if "x-stranger" in request.headers:
        raise HTTPException(401, "log in")


async def may_watch(request: Request, upload: str) -> bool:
    return "x-shut-out" not in request.headers


app = FastAPI(dependencies=[Depends(login)])
add(app, may_watch=may_watch)


@app.get("/uploads/{name}")
async def own(name: str) -> str:
    """A route of the app below the same path."""
    return f"the app's own {name}"


@app.post("/relay")
async def relay(file: LiveUpload) -> Response:
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"Content-Length": str(file.size)}
        answer = await client.post(BACKEND, content=file, headers=headers)
    return Response(answer.content, answer.status_code)


@app.post("/relay-form")
async def relay_form(file: LiveUpload) -> Response:
    form = sluiceway.Form({"title": "T"}).file("file", file)
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(BACKEND, content=aiter(form), headers=form.headers)
    return Response(answer.content, answer.status_code)


@app.post("/relay-def")
def relay_def(file: LiveUpload) -> Response:
    """In a thread, with a library that blocks."""
    answer = requests.post(BACKEND, data=file.file, timeout=60)
    return Response(answer.content, answer.status_code)


@app.post("/relay-stream")
async def relay_stream(request: Request) -> Response:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(BACKEND, content=request.stream())
    return Response(answer.content, answer.status_code)


@app.post("/save")
async def save(file: LiveUpload) -> str:
    await file.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return "saved"


@app.post("/copy")
async def copy(file: LiveUpload, to: str) -> str:
    return str((await sluiceway.acopy(file, to)).size)


@app.post("/kept")
async def kept(file: LiveUpload) -> str:
    count = 0
    while await file.read(100_000):
        count += 1
        if count % 2:
            file.kept()
    return "kept"


@app.post("/read")
async def read(request: Request, status: int = 200, fails: bool = False) -> Response:
    """Reads the parts, and ends in the way that the query names."""
    async for part in parts(request):
        if isinstance(part, LiveUpload):
            async for _ in part:
                pass
    if fails:
        raise LookupError("no such book")
    return Response(status_code=status)


@app.post("/swallow")
async def swallow(file: LiveUpload) -> str:
    """A view that takes a cut form for a whole one."""
    try:
        async for _ in file:
            pass
    except sluiceway.SluiceError:
        pass
    return "fine"


@app.post("/spooled")
async def spooled(file: Annotated[LiveUpload, "as FastAPI has files"]) -> str:
    await file.spool()
    return str(file.size)
