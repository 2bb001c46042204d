"""Peer: Flask under gunicorn gthread.

request.stream to a file, request.files saved to a file; FSYNC=1 adds fsync.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from flask import Flask, request

__all__ = ["app"]

TO = Path(os.environ["BENCH_TO"])
FSYNC = os.environ.get("FSYNC") == "1"
COPY_BLOCK = 1 << 20  # Werkzeug's default of 16 KiB is slower here

app: Any = Flask(__name__)


def keep(source: Any, name: str) -> tuple[str, int]:
    with (TO / Path(name).name).open("wb") as file:
        shutil.copyfileobj(source, file, COPY_BLOCK)
        if FSYNC:
            file.flush()
            os.fsync(file.fileno())
    return "kept\n", 201


def raw(name: str) -> tuple[str, int]:
    return keep(request.stream, name)


def form() -> tuple[str, int]:
    upload = request.files["file"]
    return keep(upload.stream, upload.filename or "unnamed")


app.add_url_rule("/raw/<name>", view_func=raw, methods=["PUT"])
app.add_url_rule("/form", view_func=form, methods=["POST"])
