"""A Flask app whose views can be watched. BACKEND and FOLDER come from the environment."""

from __future__ import annotations

import os
from typing import Any

import flask
import requests

import sluiceway
from sluiceway.flask import Sluiceway
from sluiceway.wsgi import watched

app = flask.Flask(__name__)
watched.BEGIN_TIMEOUT = 1.5  # an upload on a busy machine begins within it
request: Any = flask.request


def may_watch(upload: str) -> bool:
    """The app's own callable: a client may be shut out by a header."""
    return "X-Shut-Out" not in request.headers


Sluiceway(app, may_watch=may_watch)


@app.before_request
def login() -> flask.Response | None:
    """The app's own hook decides as for its other views."""
    return flask.Response("log in", 401) if "X-Stranger" in request.headers else None


@app.get("/uploads/<name>")
def own(name: str) -> str:
    """A route of the app below the same path, as in Flask's own documentation."""
    return f"the app's own {name}"


@app.post("/relay")
def relay() -> tuple[str, int]:
    """Unchanged view code."""
    answer = requests.post(os.environ["BACKEND"], data=request.files["file"], timeout=60)
    return answer.text, answer.status_code


@app.post("/relay-form")
def relay_form() -> tuple[str, int]:
    form = sluiceway.Form({"title": "T"}).file("book", request.files["file"])
    answer = requests.post(os.environ["BACKEND"], data=form, headers=form.headers, timeout=60)
    return answer.text, answer.status_code


@app.post("/relay-spooled")
def relay_spooled() -> tuple[str, int]:
    """Asks for the whole file first."""
    file = request.files["file"]
    file.seek(0, os.SEEK_END)
    file.seek(0)
    return relay()


@app.post("/relay-stream")
def relay_stream() -> tuple[str, int]:
    answer = requests.post(os.environ["BACKEND"], data=request.stream, timeout=60)
    return answer.text, answer.status_code


@app.post("/copy")
def copy() -> str:
    """To the server or the file that the query names."""
    to = request.args.get("to", os.environ["BACKEND"])
    return str(sluiceway.copy(request.files["file"], to, force=True).size)


@app.post("/save")
def save() -> str:
    request.files["file"].save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return "saved"


@app.post("/kept")
def kept() -> str:
    """Keeps bytes in a way of its own, and says so of every second piece."""
    file, count = request.files["file"], 0
    while file.read(100_000):
        count += 1
        if count % 2:
            file.kept()
    return "kept"


@app.post("/read")
def read() -> tuple[str, int]:
    """Reads the file, and ends in the way that the query names."""
    file = request.files["file"]
    while file.read(100_000):
        pass
    if request.args.get("fails"):
        raise LookupError("no such book")
    return "", int(request.args.get("status", "200"))


@app.post("/swallow")
def swallow() -> str:
    """A view that takes a cut form for a whole one."""
    try:
        while request.files["file"].read(100_000):
            pass
    except sluiceway.SluiceError:
        pass
    return "fine"
