"""An ordinary Flask app, with one line for Sluiceway.

BACKEND and FOLDER come from the environment.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import requests

import sluiceway
from sluiceway.flask import Sluiceway, needs
from sluiceway.wsgi import body as wsgi_body

app = flask.Flask(__name__)
wsgi_body.SILENCE_TIMEOUT = float(os.environ.get("SILENCE", wsgi_body.SILENCE_TIMEOUT))
Sluiceway(app)
app.config["MAX_FORM_MEMORY_SIZE"] = 500_000
request: Any = flask.request


@app.post("/relay")
def relay() -> tuple[str, int]:
    """Unchanged view code."""
    f = request.files["file"]
    answer = requests.post(
        os.environ["BACKEND"],
        data=f,
        headers={"X-Title": request.form.get("title", "")},
        timeout=30,
    )
    return answer.text, answer.status_code


@app.post("/relay-alone")
def relay_alone() -> tuple[str, int]:
    answer = requests.post(os.environ["BACKEND"], data=request.files["file"], timeout=30)
    return answer.text, answer.status_code


@app.post("/save-alone")
def save_alone() -> str:
    request.files["file"].save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return "saved"


@app.post("/relay-chunked")
def relay_chunked() -> tuple[str, int]:
    answer = requests.post(os.environ["BACKEND"], data=request.files["file"].chunks(), timeout=30)
    return answer.text, answer.status_code


@app.post("/relay-form")
def relay_form() -> tuple[str, int]:
    form = sluiceway.Form().file("book", request.files["file"])
    answer = requests.post(os.environ["BACKEND"], data=form, headers=form.headers, timeout=30)
    return answer.text, answer.status_code


@app.post("/save")
def save() -> dict[str, Any]:
    f = request.files["file"]
    f.save(os.path.join(os.environ["FOLDER"], "saved.bin"))
    return {
        "filename": f.filename,
        "type": f.mimetype,
        "head": f.headers["content-type"],
        "size": f.size,
        "title": request.form["title"],
    }


@app.post("/parts")
def parts() -> list[list[object]]:
    """Every part, in order; every second file is skipped."""
    walked: list[list[object]] = []
    for part in request.parts:
        if not hasattr(part, "filename"):
            walked.append([part.name, part.value])
        elif len(walked) % 2:
            walked.append([part.name, part.filename, hashlib.sha256(b"".join(part)).hexdigest()])
        else:
            walked.append([part.name, part.filename])
    return walked


@app.post("/mapping")
def mapping() -> dict[str, Any]:
    """The methods that code for Werkzeug's mappings uses."""
    return {
        "fields": request.form.to_dict(),
        "list": request.form.getlist("n", int),
        "typed": request.form.get("n", type=int),
        "items": list(request.form.items(multi=True)),
        "values": request.values.get("q"),
        "any": bool(request.files),
        "files": [[name, f.filename, len(f.read())] for name, f in request.files.items()],
        "none": request.files.get("nothing"),
    }


strict = flask.Blueprint("strict", __name__)
Sluiceway(strict, strict=True)


@app.post("/late")
@strict.post("/strict/late")
def late() -> dict[str, object]:
    f = request.files["file"]
    title: str = request.form["title"]  # the test sends it behind the file
    return {"title": title, "sha-256": hashlib.sha256(f.read()).hexdigest()}


app.register_blueprint(strict)


@app.post("/needs")
@needs("title")
def wants() -> str:
    return f"{request.form['title']} {len(request.files['file'].read())}"


@app.post("/in-a-thread")
def in_a_thread() -> dict[str, object]:
    """As boto3 and other libraries read: in threads that have no app context."""
    f = request.files["file"]
    with ThreadPoolExecutor(1) as threads:
        data = threads.submit(f.read).result()
    return {"sha-256": hashlib.sha256(data).hexdigest()}


@app.post("/stream-first")
def stream_first() -> dict[str, Any]:
    """A form that the view has read as a raw body is empty."""
    size = len(request.stream.read())
    return {"size": size, "form": [*request.form], "files": [*request.files]}


@app.route("/raw", methods=["PUT", "POST"])
def raw() -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    while piece := request.stream.read(100_000):
        digest.update(piece)
        count += len(piece)
    return {"size": count, "sha-256": digest.hexdigest()}


@app.post("/relay-stream")
def relay_stream() -> tuple[str, int]:
    answer = requests.post(os.environ["BACKEND"], data=request.stream, timeout=30)
    return answer.text, answer.status_code


@app.post("/json")
def plain() -> Any:
    return [request.json, request.mimetype]


@app.post("/urlencoded")
def urlencoded() -> Any:
    return request.form.to_dict()


@app.post("/debug")
def debug() -> list[str]:
    flask.current_app.debug = True
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            request.get_data()
    finally:
        flask.current_app.debug = False
    return [str(one.message) for one in caught]
