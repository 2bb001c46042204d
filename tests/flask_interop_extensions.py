"""Flask apps that use extensions: forms, CSRF, logins, limits, parsers of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import flask_limiter
import flask_login
import flask_restful
import flask_restful.reqparse
import flask_restx
import flask_restx.reqparse
import flask_wtf
import flask_wtf.file
import marshmallow
import webargs.fields
import webargs.flaskparser
import wtforms
import wtforms_json
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect, generate_csrf
from werkzeug.datastructures import FileStorage
from wtforms.validators import DataRequired, Length

__all__ = ["APPS"]

request: Any = flask.request
APPS: dict[str, Callable[[flask.Flask], None]] = {}
LARGEST = 300 << 20  # bytes, for FileSize


def app(make: Callable[[flask.Flask], None]) -> Callable[[flask.Flask], None]:
    APPS[make.__name__] = make
    return make


def seen(file: Any) -> dict[str, Any]:
    size = 0
    while piece := file.read(64 << 10):
        size += len(piece)
    return {"filename": file.filename, "size": size, "type": file.mimetype}


def with_token(app: flask.Flask) -> None:
    @app.get("/token")
    def token() -> str:
        found: str = generate_csrf()
        return found


@app
def flask_wtf_form(app: flask.Flask) -> None:
    """FlaskForm with FileField, FileRequired, FileAllowed and FileSize, and its CSRF field."""

    class Book(flask_wtf.FlaskForm):  # type: ignore[misc]
        title = wtforms.StringField(validators=[DataRequired(), Length(max=20)])
        file = flask_wtf.file.FileField(
            validators=[
                flask_wtf.file.FileRequired(),
                flask_wtf.file.FileAllowed(["bin"]),
                flask_wtf.file.FileSize(LARGEST),
            ]
        )
        submit = wtforms.SubmitField()

    @app.post("/")
    def view() -> Any:
        form = Book()
        if not form.validate_on_submit():
            return dict(form.errors), 422
        return {"title": form.title.data, "submit": form.submit.data, **seen(form.file.data)}

    with_token(app)


@app
def flask_wtf_many(app: flask.Flask) -> None:
    class Books(flask_wtf.FlaskForm):  # type: ignore[misc]
        files = flask_wtf.file.MultipleFileField()

    @app.post("/")
    def view() -> Any:
        form = Books(meta={"csrf": False})
        return [seen(file) for file in form.files.data] if form.validate_on_submit() else "no"


@app
def csrf_by_field(app: flask.Flask) -> None:
    CSRFProtect(app)

    @app.post("/")
    def view() -> Any:
        return seen(request.files["file"])

    with_token(app)


@app
def csrf_by_header(app: flask.Flask) -> None:
    csrf_by_field(app)


@app
def login(app: flask.Flask) -> None:
    manager = flask_login.LoginManager(app)

    class Reader(flask_login.UserMixin):  # type: ignore[misc]
        id = "1"

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(user_id: str) -> Reader:
        return Reader()

    @app.get("/login")
    def enter() -> str:
        flask_login.login_user(Reader())
        return "in"

    @app.post("/")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def view() -> Any:
        return {"user": flask_login.current_user.id, **seen(request.files["file"])}


@app
def limiter(app: flask.Flask) -> None:
    limits = flask_limiter.Limiter(get_remote_address, app=app, storage_uri="memory://")

    @app.post("/")
    @limits.limit("2 per hour")
    def view() -> Any:
        return seen(request.files["file"])


@app
def json_form(app: flask.Flask) -> None:
    """WTForms-JSON: no files, but the same app may have views with files."""
    wtforms_json.init()

    class Title(wtforms.Form):  # type: ignore[misc]
        title = wtforms.StringField(validators=[DataRequired()])

    @app.post("/")
    def view() -> Any:
        form = Title.from_json(request.get_json())
        return form.data if form.validate() else (form.errors, 422)


@app
def restx(app: flask.Flask) -> None:
    api = flask_restx.Api(app, doc=False)
    parser = flask_restx.reqparse.RequestParser()
    parser.add_argument("file", location="files", type=FileStorage, required=True)
    parser.add_argument("title", location="form", required=True)

    @api.route("/")
    class Upload(flask_restx.Resource):  # type: ignore[misc]
        def post(self) -> Any:
            given = parser.parse_args()
            return {"title": given["title"], **seen(given["file"])}


@app
def restful(app: flask.Flask) -> None:
    api = flask_restful.Api(app)
    parser = flask_restful.reqparse.RequestParser()
    parser.add_argument("file", location="files", type=FileStorage, required=True)

    class Upload(flask_restful.Resource):  # type: ignore[misc]
        def post(self) -> Any:
            return seen(parser.parse_args()["file"])

    api.add_resource(Upload, "/")


@app
def arguments(app: flask.Flask) -> None:
    """webargs with marshmallow."""

    class Given(marshmallow.Schema):
        class Meta:
            unknown = marshmallow.EXCLUDE

        title = webargs.fields.Str(required=True)

    @app.post("/")
    @webargs.flaskparser.use_args(Given, location="form")
    @webargs.flaskparser.use_kwargs({"file": webargs.fields.Raw(required=True)}, location="files")
    def view(given: dict[str, str], file: Any) -> Any:
        return {**given, **seen(file)}
