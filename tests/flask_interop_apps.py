"""Small Flask apps of the kinds that people have: `application` has each twice.

`/plain/NAME/` is the app as Flask runs it, `/live/NAME/` the same app with Sluiceway. The header
X-Way says what became of the files. FOLDER and BACKEND come from the environment.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import openpyxl
import requests
from flask import redirect, session
from flask.views import MethodView
from PIL import Image
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.utils import secure_filename

import flask_interop_extensions
from sluiceway.flask import Sluiceway, spooled

__all__ = ["APPS", "application"]

request: Any = flask.request
FOLDER = Path(os.environ.get("FOLDER", "."))
APPS: dict[str, Callable[[flask.Flask], None]] = dict(flask_interop_extensions.APPS)
PIECE = 64 << 10


def app(make: Callable[[flask.Flask], None]) -> Callable[[flask.Flask], None]:
    APPS[make.__name__] = make
    return make


def digest(pieces: Any) -> str:
    running = hashlib.sha256()
    for piece in pieces:
        running.update(piece)
    return running.hexdigest()


def saved(file: Any) -> dict[str, Any]:
    """What the app has on its disk, and what it knows of the file."""
    path = FOLDER / secure_filename(file.filename)
    file.save(path)
    with path.open("rb") as written:
        found = {"sha-256": digest(iter(lambda: written.read(PIECE), b""))}
    path.unlink()
    return {
        **found,
        "names": [file.filename, file.name, repr(file), bool(file)],
        "type": [file.mimetype, file.mimetype_params, file.content_length],
        "headers": file.headers.to_wsgi_list(),
    }


@app
def save(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return {**saved(request.files["file"]), "title": request.form["title"]}


@app
def the_guide(app: flask.Flask) -> None:
    """The view of Flask's own page about uploads."""

    @app.post("/")
    def view() -> Any:
        if "file" not in request.files:
            flask.flash("No file part")
            return redirect(request.url)
        file = request.files["file"]
        if file.filename == "":
            return "No selected file"
        if file and file.filename.rsplit(".", 1)[1].lower() in ("bin", "txt"):
            return saved(file)
        return "This kind is not allowed", 400


@app
def a_field_behind_the_file(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        title = request.form["title"]
        return {"title": title, **saved(request.files["file"])}


@app
def all_fields_first(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        fields = request.form.to_dict()
        return {"fields": fields, "form": str(request.form), **saved(request.files["file"])}


@app
def a_later_file_first(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        second = request.files["second"]
        return [saved(second), saved(request.files["file"])]


@app
def pieces(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        found = digest(iter(lambda: file.read(PIECE), b""))
        return {"sha-256": found, "again": file.read(PIECE).decode(), "at": file.tell()}


@app
def lines(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return {"lines": sum(1 for line in request.files["file"] if line.endswith(b"\n"))}


@app
def text_and_csv(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        first = file.readline()
        with io.TextIOWrapper(file, "utf-8", newline="") as text:
            rows = sum(1 for row in csv.reader(text) if row)
        return {"first": first.decode(), "rows": rows, "closed": file.closed}


@app
def sniff_and_rewind(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        kind = file.read(2048)[:8].hex()
        file.seek(0)
        return {"kind": kind, **saved(file)}


@app
def size_by_seeking(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        file.seek(0, os.SEEK_END)
        size = file.tell()
        file.seek(0)
        return {"size": size, **saved(file)}


@app
def all_of_it_then_again(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        size = len(file.read())
        file.stream.seek(0)
        return {"size": size, **saved(file)}


@app
def many_files(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return [saved(file) for file in request.files.getlist("files")]


@app
def every_name(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return [[name, saved(file)] for name, file in request.files.items()]


@app
def a_zip(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        with zipfile.ZipFile(request.files["file"]) as archive:
            return [[one.filename, one.file_size] for one in archive.infolist()]


@app
def a_picture(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        file = request.files["file"]
        Image.open(file).verify()
        file.seek(0)
        with Image.open(file) as picture:
            corner = picture.crop((0, 0, 8, 8)).tobytes()
            return {"size": picture.size, "format": picture.format, "corner": corner.hex()}


@app
def a_workbook(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        book = openpyxl.load_workbook(request.files["file"], read_only=True)
        return {sheet.title: [list(row) for row in sheet.values] for sheet in book.worksheets}


@app
def passed_on(app: flask.Flask) -> None:
    """To another server, with requests: it asks the file for its length."""

    @app.post("/")
    def view() -> Any:
        answer = requests.post(os.environ["BACKEND"], data=request.files["file"], timeout=60)
        return {"status": answer.status_code}


@app
def not_read(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return f"{secure_filename(request.files['file'].filename)} is not wanted", 409


@app
def the_raw_body(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        raw = request.get_data()
        return {"raw": len(raw), **saved(request.files["file"]), "title": request.form["title"]}


@app
def values_and_query(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        return {"q": request.values["q"], "title": request.values.get("title"),
                **saved(request.files["file"])}  # fmt: skip


@app
def missing_names(app: flask.Flask) -> None:
    @app.post("/")
    def view() -> Any:
        none = request.files.get("nothing")
        return {"none": none, "value": request.form["nothing"]}


@app
def a_class_of_views(app: flask.Flask) -> None:
    class Upload(MethodView):
        def post(self) -> Any:
            return saved(request.files["file"])

    app.add_url_rule("/", view_func=Upload.as_view("upload"))


@app
def an_async_view(app: flask.Flask) -> None:
    @app.post("/")
    async def view() -> Any:
        return saved(request.files["file"])


@app
def a_session(app: flask.Flask) -> None:
    @app.before_request
    def count() -> None:
        session["count"] = session.get("count", 0) + 1

    @app.post("/")
    def view() -> Any:
        return {"count": session["count"], **saved(request.files["file"])}


@app
def too_large(app: flask.Flask) -> None:
    """The app's own page of 413, and a view that catches the error."""
    app.config["MAX_CONTENT_LENGTH"] = 1000

    @app.errorhandler(413)
    def page(error: Any) -> Any:
        return f"own page: {error.code} {error.name}", error.code

    @app.post("/")
    def view() -> Any:
        return saved(request.files["file"])


@app
def broken_views(app: flask.Flask) -> None:
    """A view that fails after it has read a part, and the app's own page of 500."""

    @app.errorhandler(500)
    def page(error: Any) -> Any:
        return f"own page: {type(error.original_exception).__name__}", 500

    @app.post("/")
    def view() -> Any:
        return {"size": len(request.files["file"].read(1000)) / 0}


@app
def a_spooled_view(app: flask.Flask) -> None:
    """Goes back in a file of any size."""

    @app.post("/")
    @spooled
    def view() -> Any:
        file = request.files["file"]
        first = digest(iter(lambda: file.read(PIECE), b""))
        file.seek(0)
        return {"first": first, **saved(file)}


def made(name: str, live: bool) -> flask.Flask:
    app = flask.Flask(name)
    app.config.update(SECRET_KEY="secret", MAX_FORM_MEMORY_SIZE=500_000)

    @app.after_request
    def way(response: flask.Response) -> flask.Response:
        reading = request.__dict__.get("reading")
        if live and reading is not None:
            files = list(reading.files.arrived_so_far())
            spools = any(file.stream.spooled for file in files)
            response.headers["X-Way"] = "spooled" if spools else "streamed"
        return response

    if live:
        Sluiceway(app)
    APPS[name](app)
    return app


class Mounts(DispatcherMiddleware):
    """A path that no app has is answered 404: the test waits for that."""

    def __init__(self) -> None:
        mounts: Any = {
            f"/{way}/{name}": made(name, way == "live")
            for name in APPS
            for way in ("plain", "live")
        }
        super().__init__(flask.Flask("nothing"), mounts)


application = Mounts()
