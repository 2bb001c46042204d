"""A framework's own limits apply to forms that are still arriving, too.

Errors reach the client, the operator or both.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from fastapi import Depends, FastAPI
from starlette.requests import Request

import django_site
import sluiceway.flask
from sluiceway.errors import SluiceError, TooLarge
from sluiceway.starlette import Parts, answered, parts

FIELD = b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FILE = b'--B\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nfile\r\n'
END = b"--B--\r\n"
FORM = "multipart/form-data; boundary=B"
Answer = tuple[int, dict[str, Any] | list[str] | str]


def ask(
    app: Callable[..., Any], path: str, body: bytes, *, chunked: bool = False, type: str = FORM
) -> Answer:
    """POST to a WSGI app. Returns the status, and the JSON or text."""
    framing = (
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        if chunked
        else {"CONTENT_LENGTH": str(len(body))}
    )
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": path, "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http", "wsgi.input": BytesIO(body), "wsgi.errors": BytesIO(),
        "CONTENT_TYPE": type,
        **framing,
    }  # fmt: skip
    begun: list[str] = []
    response = app(environ, lambda status, headers, exc_info=None: begun.append(status))
    text = b"".join(response).decode()
    if hasattr(response, "close"):
        response.close()
    return int(begun[0].split()[0]), json.loads(text) if text.startswith(("{", "[")) else text


def flask_app(strict: bool = False, **config: Any) -> flask.Flask:
    app = flask.Flask("limited")
    sluiceway.flask.Sluiceway(app, strict=strict)
    app.config.update(config)

    @app.post("/form")
    def form() -> dict[str, Any]:
        names = [(file.name, len(file.read())) for file in flask.request.files.getlist("f")]
        return {"fields": len(flask.request.form.to_dict()), "files": names}

    @app.post("/raw")
    def raw() -> dict[str, Any]:
        return {"size": len(flask.request.stream.read())}

    @app.post("/own")
    def own() -> dict[str, Any]:
        flask.request.max_form_memory_size = 50
        return form()

    return app


def refused(response: Answer, limit_name: str | None = None) -> bool:
    status, content = response
    assert isinstance(content, dict)
    return (status, content["code"], content.get("limit_name")) == (413, "too-large", limit_name)


def test_flasks_limits_apply() -> None:
    """MAX_FORM_MEMORY_SIZE, MAX_FORM_PARTS and MAX_CONTENT_LENGTH.

    Flask's default of 500,000 bytes for a field is tested at its edge.
    """
    usual = flask_app()
    assert ask(usual, "/form", FIELD % (b"a", b"x" * 500_000) + FILE + END)[0] == 200
    assert refused(
        ask(usual, "/form", FIELD % (b"a", b"x" * 500_001) + FILE + END), "max_field_bytes"
    )

    small = flask_app(MAX_FORM_MEMORY_SIZE=100, MAX_FORM_PARTS=3, MAX_CONTENT_LENGTH=2000)
    assert ask(small, "/form", FIELD % (b"a", b"x" * 100) + FILE * 2 + END) == (
        200,
        {"fields": 1, "files": [["f", 4]] * 2},
    )
    assert refused(ask(small, "/form", FIELD % (b"a", b"x" * 101) + FILE + END), "max_field_bytes")
    assert refused(ask(small, "/form", FILE * 4 + END), "max_parts")
    assert refused(ask(small, "/own", FIELD % (b"a", b"x" * 51) + FILE + END), "max_field_bytes")
    for chunked in (False, True):
        assert refused(
            ask(small, "/form", FILE[:-6] + b"x" * 2000 + b"\r\n" + END, chunked=chunked)
        )
        assert refused(ask(small, "/raw", b"x" * 2001, chunked=chunked, type="text/plain"))

    large = flask_app(MAX_FORM_MEMORY_SIZE=3 << 20, MAX_FORM_PARTS=5000)
    assert ask(large, "/form", FIELD % (b"a", b"x" * (3 << 20)) + FILE * 4000 + END)[0] == 200
    endless = flask_app(MAX_FORM_MEMORY_SIZE=None, MAX_FORM_PARTS=None)
    assert refused(
        ask(endless, "/form", FIELD % (b"a", b"x" * ((1 << 20) + 1)) + END), "max_field_bytes"
    )  # our own limit


def names_and_values(size: int) -> bytes:
    """Two fields of `size` bytes as Django counts: names, values, and two more for each."""
    return FIELD % (b"a", b"x" * 10) + FIELD % (b"b", b"x" * (size - 16))


LIMITED = {
    "DATA_UPLOAD_MAX_MEMORY_SIZE": 100,
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": 3,
    "DATA_UPLOAD_MAX_NUMBER_FILES": 2,
}
BEYOND = [
    (names_and_values(101) + FILE + END, "max_values_bytes"),
    (FIELD % (b"a", b"") * 4 + FILE + END, "max_fields"),
    (FILE * 3 + END, "max_files"),
]


@override_settings(**LIMITED)
@pytest.mark.parametrize(("body", "limit_name"), BEYOND)
def test_djangos_limits_apply(body: bytes, limit_name: str) -> None:
    """413 with the middleware, Django's own 400 without it."""
    assert refused(ask(django_site.application, "/walk", body), limit_name)
    with override_settings(MIDDLEWARE=[]):
        assert ask(WSGIHandler(), "/walk", body)[0] == 400


@override_settings(**LIMITED)
@pytest.mark.parametrize(
    "body", [names_and_values(100) + FILE * 2 + END, FIELD % (b"a", b"") * 3 + END]
)
def test_a_form_at_djangos_limits_is_read(body: bytes) -> None:
    """A form with exactly as many bytes, fields and files."""
    assert ask(django_site.application, "/walk", body)[0] == 200


def test_our_limits_apply_where_django_sets_none() -> None:
    """For Django None means no limit, but a field is still held in memory."""
    with override_settings(**dict.fromkeys(LIMITED)):
        assert refused(
            ask(django_site.application, "/walk", FIELD % (b"a", b"x" * ((1 << 20) + 1)) + END),
            "max_field_bytes",
        )
        assert ask(django_site.application, "/walk", FILE * 150 + END)[0] == 200
    assert (
        ask(django_site.application, "/walk", FIELD % (b"a", b"x" * (2 << 20)) + END)[0] == 200
    )  # Django's usual 2.5 MB


async def post(app: Callable[..., Awaitable[None]], body: bytes, query: bytes = b"") -> Answer:
    """POST to an ASGI app."""
    headers = [(b"content-type", FORM.encode()), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": query,
    }
    scope |= {
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("a", 80),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def test_starlettes_limits_can_be_set() -> None:
    """As in request.form(); clients of FastAPI cannot set them in the query."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            found = [
                part.name
                async for part in parts(request, max_files=2, max_fields=2, max_part_size=10)
            ]
            await answered_with(found)(scope, receive, send)
        except TooLarge as error:
            await (await answered(request, error))(scope, receive, send)

    assert await post(app, FIELD % (b"a", b"x" * 10) * 2 + FILE * 2 + END) == (
        200,
        ["a", "a", "f", "f"],
    )
    assert refused(await post(app, FIELD % (b"a", b"x" * 11) + END), "max_field_bytes")
    assert refused(await post(app, FIELD % (b"a", b"") * 3 + END), "max_fields")
    assert refused(await post(app, FILE * 3 + END), "max_files")

    api = FastAPI()
    api.add_exception_handler(SluiceError, answered)

    @api.post("/")
    async def view(form: Parts = Depends(Parts)) -> list[str]:
        return [part.name async for part in form]

    assert refused(
        await post(api, FILE * 1001 + END, b"limits=5000&max_files=5000&max_parts=5000"),
        "max_parts",
    )


def answered_with(content: list[str]) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(content)


def test_a_mistake_of_a_view_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The advice is for the view's author; clients see no function, file or line of ours."""
    status, content = ask(django_site.application, "/late", FILE + END)
    assert status in (403, 500)
    app = flask_app(strict=True)

    @app.post("/late")
    def late() -> str:
        file = flask.request.files["f"]
        return f"{file.name} {flask.request.form['title']}"

    status, content = ask(app, "/late", FILE + FIELD % (b"title", b"T") + END)
    assert isinstance(content, dict)
    assert (status, content["code"]) == (422, "wrong-order")
    assert "fields before files" in content["detail"]
    assert ".py" not in str(content)
    assert "line" not in content
    assert f"{__file__}:" in caplog.text
