"""The app of flask_views.py with one more view: it forwards a raw body to BACKEND as it arrives.

Forms are forwarded by `/relay`, or by `/relay-chunked` if their length is unknown. The whole
service is at `/drop`.
"""

from __future__ import annotations

import os
from typing import Any

import flask
import requests

from flask_views import app
from sluiceway.flask import mount

__all__ = ["app"]

PIECE = 64 << 10
request: Any = flask.request
mount(app, "/drop", to=os.path.join(os.environ["FOLDER"], "..", "dropped"))


@app.post("/relay-raw")
def relay_raw() -> tuple[str, int]:
    """An iterator: requests walks a file line by line, and a line may be as long as the file."""
    stream = request.stream  # a refusal comes before any request to the backend
    answer = requests.post(
        os.environ["BACKEND"], data=iter(lambda: stream.read(PIECE), b""), timeout=30
    )
    return answer.text, answer.status_code
