"""Our app and its peer in one: a Flask view that forwards a form's file with requests.

LIVE=1 adds one line, Sluiceway(app). The view is identical. Without the line Flask first stores the
whole file: two steps.
"""

from __future__ import annotations

import os
from typing import Any

import requests
from flask import Flask, request

__all__ = ["app"]

SINK = f"http://127.0.0.1:{os.environ['BENCH_SINK']}/take"

app: Any = Flask(__name__)
if os.environ.get("LIVE") == "1":
    from sluiceway.flask import Sluiceway

    Sluiceway(app)


def book() -> tuple[str, int]:
    f = request.files["file"]
    answer = requests.post(SINK, data=f, timeout=600)
    return answer.text, answer.status_code


app.add_url_rule("/books", view_func=book, methods=["POST"])
