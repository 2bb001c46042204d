"""A Starlette app that reads forms while they arrive. FOLDER comes from the environment."""

from __future__ import annotations

import hashlib
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sluiceway.errors import SluiceError
from sluiceway.starlette import LiveField, answered, parts


async def walk(request: Request) -> JSONResponse:
    """Every part, in order; every second one is skipped when it is a file."""
    told: list[list[object]] = []
    async for part in parts(request):
        if isinstance(part, LiveField):
            told.append([part.name, part.value])
        elif len(told) % 2:
            digest = hashlib.sha256(await part.read(10))
            async for piece in part:
                digest.update(piece)
            told.append([part.name, part.filename, digest.hexdigest()])
        else:
            told.append([part.name, part.filename, part.size])
    return JSONResponse(told)


async def save(request: Request) -> JSONResponse:
    form = parts(request)
    async for part in form:
        if not isinstance(part, LiveField):
            await part.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return JSONResponse(form.fields, 201)


app = Starlette(
    routes=[Route("/walk", walk, methods=["POST"]), Route("/save", save, methods=["POST"])],
    exception_handlers={SluiceError: answered},
)
