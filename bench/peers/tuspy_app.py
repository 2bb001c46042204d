"""tuspyserver in FastAPI, on uvicorn. It calls no fsync."""

from __future__ import annotations

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

__all__ = ["app"]

app = FastAPI()
app.include_router(
    create_tus_router(prefix="files", files_dir=os.environ["BENCH_TO"], max_size=1 << 40)
)
