"""The frameworks check a digest of a whole form before a view can read its last file to the end."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from django.test import override_settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from werkzeug.test import Client

import django_site
import sluiceway.flask
from sluiceway.errors import SluiceError
from sluiceway.pipe.hashes import digest_of
from sluiceway.starlette import LiveUpload, answered, parts

FORM = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%s\r\n--B--\r\n'
BODY = FORM % (b"bytes " * 100_000)
TYPE = "multipart/form-data; boundary=B"


def digest(body: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def checksum(body: bytes) -> dict[str, str]:
    return {"X-Checksum-Crc64nvme": digest_of("crc64nvme", body).hex()}


RIGHT, WRONG, UNKNOWN = digest(BODY), digest(BODY[:-1]), {"Digest": "unixsum=30637"}
ASKED = [
    (RIGHT, None),
    (WRONG, "digest-mismatch"),
    (UNKNOWN, "bad-digest"),
    (checksum(BODY), None),
    (checksum(BODY[:-1]), "digest-mismatch"),
]


def flask_app(folder: Path) -> flask.Flask:
    app = flask.Flask("whole")
    sluiceway.flask.Sluiceway(app)

    @app.post("/read")
    def read() -> dict[str, Any]:
        return {"size": len(flask.request.files["file"].read())}

    @app.post("/save")
    def save() -> dict[str, Any]:
        flask.request.files["file"].save(folder / "saved")
        return {}

    @app.post("/walk")
    def walk() -> dict[str, Any]:
        # LiveRequest has it
        return {"names": [part.name for part in flask.request.parts]}  # type: ignore[attr-defined]

    return app


@pytest.mark.parametrize(("headers", "code"), ASKED)
@pytest.mark.parametrize("view", ["read", "save", "walk"])
def test_flask_checks_the_digest_of_a_form(
    view: str, headers: dict[str, str], code: str | None, tmp_path: Path
) -> None:
    """Also if the view reads only the file; a file is saved only if the digest matches."""
    response = Client(flask_app(tmp_path)).post(
        f"/{view}", data=BODY, content_type=TYPE, headers=headers
    )

    assert response.status_code == (400 if code else 200), response.text
    assert (response.json or {}).get("code") == code
    assert [path.name for path in tmp_path.iterdir()] == (
        ["saved"] if view == "save" and not code else []
    )


@pytest.mark.parametrize(("headers", "code"), ASKED)
@pytest.mark.parametrize("path", ["/stored", "/walk"])
def test_django_checks_the_digest_of_a_form(
    path: str, headers: dict[str, str], code: str | None, tmp_path: Path
) -> None:
    """On a mismatch @uploads publishes nothing, and reading the parts raises."""
    with override_settings(SLUICEWAY_TO=tmp_path):
        response = Client(django_site.application).post(
            path, data=BODY, content_type=TYPE, headers=headers
        )

    assert response.status_code == (400 if code else 201 if path == "/stored" else 200), (
        response.text
    )
    assert not code or (response.json or {})["code"] == code
    assert any(tmp_path.rglob("x")) == (path == "/stored" and not code)


@pytest.mark.parametrize(("headers", "code"), ASKED)
async def test_starlette_checks_the_digest_of_a_form(
    headers: dict[str, str], code: str | None
) -> None:
    """The last file ends only when the body has ended."""
    ended: list[int] = []

    async def view(request: Request) -> Response:
        async for part in parts(request):
            assert isinstance(part, LiveUpload)
            ended.append(len(await part.read()))
        return JSONResponse({})

    app = Starlette(
        routes=[Route("/", view, methods=["POST"])], exception_handlers={SluiceError: answered}
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        response = await client.post("/", content=BODY, headers={"Content-Type": TYPE, **headers})

    assert (response.status_code, response.json().get("code")) == (400 if code else 200, code)
    assert ended == ([] if code else [600_000])
