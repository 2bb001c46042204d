"""A Starlette app that mounts the service with a token file, for uvicorn."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.routing import Mount

import sluiceway

app: Starlette = Starlette(
    routes=[
        Mount(
            "/drop",
            sluiceway.Sluiceway(to=os.environ["FOLDER"], token_file=os.environ["TOKENS"]),
        )
    ]
)
