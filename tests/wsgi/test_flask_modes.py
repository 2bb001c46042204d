"""Live, strict and spooled views: marks on views, classes, blueprints, and what errors become."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask.views import MethodView
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from sluiceway.errors import BadForm, SluiceError
from sluiceway.flask import FlaskFile, LiveRequest, Sluiceway, live, mount, spooled
from sluiceway.testing import form
from sluiceway.wsgi.replay_window import WINDOW

request: Any = flask.request
LONG = bytes(WINDOW + 1)
FILE_FIRST = [("file", (LONG, "a.bin")), ("title", "T")]


def is_live() -> str:
    return "live" if isinstance(request.files["file"], FlaskFile) else "spooled"


def view() -> Callable[[], str]:
    """A view of its own: marks are kept on the function."""
    return lambda: is_live()


def hides(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that does not say what it wraps."""
    return lambda *args: view(*args)


def wraps(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapped(*args: Any) -> Any:
        return view(*args)

    return wrapped


def way(app: flask.Flask, path: str) -> str:
    return app.test_client().post(path, **form({"file": (LONG, "a")})).text


def test_marks_count_wherever_decorators_stand() -> None:
    app = flask.Flask("marks")
    Sluiceway(app)

    @app.post("/below")
    @spooled
    def below() -> str:
        return is_live()

    @spooled
    @app.post("/above")
    def above() -> str:
        return is_live()

    @app.post("/under-another")
    @wraps
    @spooled
    def under() -> str:
        return is_live()

    @app.post("/under-one-that-hides", endpoint="hidden")
    @hides
    @spooled
    def hidden() -> str:
        return is_live()

    @app.post("/async")
    @spooled
    async def waits() -> str:
        return is_live()

    @spooled
    class Files(MethodView):
        def post(self) -> str:
            return is_live()

    class Others(MethodView):
        @spooled
        def post(self) -> str:
            return is_live()

    class Decorated(MethodView):
        decorators = [spooled]  # noqa: RUF012

        def post(self) -> str:
            return is_live()

    for kind in (Files, Others, Decorated):
        app.add_url_rule(f"/{kind.__name__}", view_func=kind.as_view(kind.__name__))
    app.post("/unmarked")(is_live)
    rules = [rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    found = {rule: way(app, rule) for rule in rules}
    assert found.pop("/unmarked") == "live"
    assert set(found.values()) == {"spooled"}, found


def test_live_views_of_an_app_that_is_not() -> None:
    app = flask.Flask("one")
    Sluiceway(app, live=False)
    app.post("/live")(live(view()))
    app.post("/other", endpoint="other")(view())

    assert (way(app, "/live"), way(app, "/other")) == ("live", "spooled")


def test_a_blueprint_is_live_alone_and_its_views_may_differ() -> None:
    app, blueprint, inner = (
        flask.Flask("app"), flask.Blueprint("books", "books"), flask.Blueprint("inner", "inner")
    )  # fmt: skip
    Sluiceway(blueprint)
    spooled(inner)
    blueprint.post("/live")(view())
    blueprint.post("/spooled", endpoint="whole")(spooled(view()))
    inner.post("/")(view())
    blueprint.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(blueprint, url_prefix="/books")
    app.post("/")(view())

    paths = ("/books/live", "/books/spooled", "/books/inner/", "/")
    assert [way(app, path) for path in paths] == ["live", "spooled", "spooled", "spooled"]


STRICT = {
    "a field behind the file": (lambda: request.form["title"], 422, "wrong-order"),
    "a seek to the end": (lambda: str(request.files["file"].seek(0, 2)), 500, "bad-order"),
    "all fields": (lambda: request.form.to_dict(), 422, "wrong-order"),
}


@pytest.mark.parametrize("case", STRICT)
def test_strict_refuses_and_names_the_line_in_the_log_only(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = flask.Flask("strict")
    Sluiceway(app, strict=True)
    view, status, code = STRICT[case]
    app.post("/", endpoint="view")(view)
    answer = app.test_client().post("/", **form(FILE_FIRST))

    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert ".py" not in answer.text
    assert f"{__file__}:{view.__code__.co_firstlineno}" in caplog.text


def limited(**handlers: Any) -> flask.Flask:
    app = flask.Flask("limited")
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.post("/")(is_live)
    return app


def too_large(app: flask.Flask) -> tuple[int, str]:
    answer = app.test_client().post("/", **form(FILE_FIRST))
    return answer.status_code, answer.text


@pytest.mark.parametrize("kind", [413, RequestEntityTooLarge, HTTPException])
def test_the_apps_own_page_for_a_form_beyond_its_limit(kind: Any) -> None:
    app = limited()
    app.register_error_handler(kind, lambda error: (f"own {error.code}", error.code))
    Sluiceway(app)

    assert too_large(app) == (413, "own 413")


def test_a_view_may_catch_the_error_of_werkzeug() -> None:
    app = flask.Flask("catches")
    Sluiceway(app)

    @app.post("/")
    def view() -> Any:
        request.max_content_length = 100
        try:
            return is_live()
        except RequestEntityTooLarge as error:
            return f"caught {error.code}"

    assert too_large(app) == (200, "caught 413")


@pytest.mark.parametrize("before", [True, False])
def test_an_error_handler_of_the_app_for_our_errors_stays(before: bool) -> None:
    app = flask.Flask("own")
    if not before:
        Sluiceway(app)
    app.register_error_handler(SluiceError, lambda error: (f"own {type(error).__name__}", 418))
    if before:
        Sluiceway(app)
    app.post("/")(lambda: request.files["file"].read())
    sent = form({"file": (LONG, "a")})
    answer = app.test_client().post("/", data=sent["data"][:-50], content_type=sent["content_type"])

    assert (answer.status_code, answer.text) == (418, f"own {BadForm.__name__}")


def test_an_app_that_receives_files_in_its_own_way_keeps_it() -> None:
    class Own(flask.Request):
        def _get_file_stream(self, *args: Any, **kwargs: Any) -> Any:
            stream = super()._get_file_stream(*args, **kwargs)
            flask.g.own = True
            return stream

    app = flask.Flask("own")
    app.request_class = Own
    Sluiceway(app)
    app.post("/")(lambda: f"{is_live()} {flask.g.own}")

    assert issubclass(app.request_class, LiveRequest)
    assert way(app, "/") == "spooled True"


def test_a_response_may_be_made_of_a_file_that_still_arrives() -> None:
    app = flask.Flask("echo")
    Sluiceway(app)
    app.post("/")(lambda: flask.Response(request.files["file"].chunks()))

    assert app.test_client().post("/", **form({"file": (LONG, "a")})).data == LONG


def test_the_service_in_a_blueprint_with_a_prefix(tmp_path: Any) -> None:
    app, blueprint = flask.Flask("app"), flask.Blueprint("drop", "drop")
    mount(blueprint, "/box", to=str(tmp_path), no_auth=True)
    app.register_blueprint(blueprint, url_prefix="/users/<user>")
    client = app.test_client()

    assert client.put("/users/ann%20b/box/files/a/b.txt", data=b"123").status_code == 201
    assert client.get("/users/ann%20b/box/files/a/b.txt").data == b"123"
    assert client.get("/users/x/box/").status_code == 200
