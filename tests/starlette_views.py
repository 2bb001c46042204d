"""A Starlette app that reads forms while they arrive, with the whole service under /drop.

FOLDER and STORE come from the environment.
"""

from __future__ import annotations

import hashlib
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from sluiceway import Sluiceway
from sluiceway.errors import SluiceError
from sluiceway.starlette import FormField, Parts, answered, parts


async def walked(form: Parts) -> list[list[object]]:
    """Every part in order; every second one is skipped if it is a file."""
    found: list[list[object]] = []
    async for part in form:
        if isinstance(part, FormField):
            found.append([part.name, part.value])
        elif len(found) % 2:
            digest = hashlib.sha256(await part.read(10))
            async for piece in part:
                digest.update(piece)
            found.append([part.name, part.filename, digest.hexdigest()])
        else:
            found.append([part.name, part.filename, part.size])
    return found


async def saved(form: Parts) -> list[tuple[str, str]]:
    """Save the file. Returns the fields."""
    async for part in form:
        if not isinstance(part, FormField):
            await part.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return form.fields


async def walk(request: Request) -> JSONResponse:
    return JSONResponse(await walked(parts(request)))


async def save(request: Request) -> JSONResponse:
    return JSONResponse(await saved(parts(request)), 201)


app = Starlette(
    routes=[
        Route("/walk", walk, methods=["POST"]),
        Route("/save", save, methods=["POST"]),
        Mount("/drop", app=Sluiceway(to=os.environ["STORE"])),
    ],
    exception_handlers={SluiceError: answered},
)
