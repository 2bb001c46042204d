"""The app of starlette_views.py for FastAPI: the form is a dependency."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from sluiceway import Sluiceway
from sluiceway.errors import SluiceError
from sluiceway.starlette import Parts, answered
from starlette_views import saved, walked

app = FastAPI(exception_handlers={SluiceError: answered})
app.mount("/drop", Sluiceway(to=os.environ["STORE"]))


@app.post("/walk")
async def walk(form: Annotated[Parts, Depends(Parts)]) -> list[list[object]]:
    return await walked(form)


@app.post("/save", status_code=201)
async def save(form: Annotated[Parts, Depends(Parts)]) -> list[tuple[str, str]]:
    return await saved(form)
