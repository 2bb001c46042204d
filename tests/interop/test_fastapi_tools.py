"""FastAPI's own tools with LiveUpload: TestClient, ASGITransport, generated clients, the start."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import requests
from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.routing import APIRoute

from fix_taking import noise
from fix_uvicorn import UvicornApp, uvicorn
from raw_http import form_body, form_head
from sluiceway.errors import SluiceError
from sluiceway.starlette import Live, LiveUpload, Parts, add, answered, mount

DATA = noise(1_500_007)
SHA = hashlib.sha256(DATA).hexdigest()
TYPE = form_head(1).decode().partition("Content-Type: ")[2].partition("\r\n")[0]


def small_app(*, added: bool = True) -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/shelf")

    @router.post("/book")
    async def book(
        title: Annotated[str, Form()],
        file: Annotated[LiveUpload, Live(fields_first=True)],
        request: Request,
    ) -> dict[str, Any]:
        live = file.live
        found = hashlib.sha256()
        async for piece in file:
            found.update(piece)
        url = str(request.url_for("book"))
        return {"title": title, "live": live, "sha256": found.hexdigest(), "url": url}

    app.include_router(router)
    if added:
        add(app)
    return app


@pytest.mark.filterwarnings("ignore:Using `httpx`")  # of the test client itself
@pytest.mark.parametrize("added", [True, False])
def test_the_test_client_sends_it(added: bool) -> None:
    from fastapi.testclient import TestClient

    with TestClient(small_app(added=added)) as client:
        for _ in range(2):
            answer = client.post(
                "/shelf/book", data={"title": "T"}, files={"file": ("a.bin", DATA)}
            )
            assert answer.json()["sha256"] == SHA
            assert answer.json()["live"] is added
        assert client.post("/shelf/book", data={"title": "T"}).status_code == 422


async def test_the_asgi_transport_of_httpx_sends_it_piece_by_piece() -> None:
    """Without a lifespan, with chunks, below a root path."""
    body = form_body(("title", None, b"T"), ("file", "a.bin", DATA))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 10_000):
            yield body[at : at + 10_000]

    transport = httpx.ASGITransport(small_app(), root_path="/proxy")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post(
            "/proxy/shelf/book", content=pieces(), headers={"Content-Type": TYPE}
        )
    assert (answer.json()["live"], answer.json()["sha256"]) == (True, SHA)
    assert answer.json()["url"] == "http://localhost/proxy/shelf/book"


async def test_openapi_may_be_asked_before_the_app_starts() -> None:
    """FastAPI builds its routes then; they become live all the same."""
    app = small_app()
    assert "/shelf/book" in app.openapi()["paths"]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post(
            "/shelf/book", data={"title": "T"}, files={"file": ("a.bin", DATA)}
        )
    assert answer.json()["live"] is True


class TimedRoute(APIRoute):
    """A route class as FastAPI's docs have it: with a request of its own."""

    def get_route_handler(self) -> Any:
        handler = super().get_route_handler()

        async def timed(request: Request) -> Any:
            return await handler(Request(request.scope, request.receive))

        return timed


@pytest.mark.parametrize("kind", ["route class", "added twice"])
async def test_unusual_apps_work_as_before(kind: str) -> None:
    app = FastAPI()
    sub = FastAPI()
    if kind == "route class":
        sub.router.route_class = TimedRoute
    else:
        add(sub)

    @sub.post("/book")
    async def book(title: Annotated[str, Form()], file: LiveUpload) -> list[Any]:
        return [title, file.live, hashlib.sha256(await file.read()).hexdigest()]

    app.mount("/sub", sub)
    add(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post(
            "/sub/book", data={"title": "T"}, files={"file": ("a.bin", DATA)}
        )
    assert answer.json() == ["T", kind == "added twice", SHA]


async def form(parts: Annotated[Parts, Depends(Parts)]) -> Parts:
    """A dependency of a dependency."""
    return parts


def wrong_app(kind: str, *, added: bool = True) -> FastAPI:
    """Views that take Parts, and let FastAPI read the form before."""
    app = FastAPI()
    if added:
        add(app)

    if kind == "form":

        @app.post("/")
        async def one(
            parts: Annotated[Parts, Depends(Parts)], title: Annotated[str, Form()]
        ) -> int:
            return len([part async for part in parts])

    elif kind == "file":

        @app.post("/")
        async def two(
            parts: Annotated[Parts, Depends(form)], file: Annotated[bytes | None, File()] = None
        ) -> int:
            return len([part async for part in parts])

    else:
        router = APIRouter()

        @router.post("/")
        async def three(parts: Annotated[Parts, Depends(form)], file: UploadFile) -> int:
            return len([part async for part in parts])

        sub = FastAPI()
        sub.include_router(router)
        app.mount("/", sub)
    return app


@pytest.mark.parametrize("kind", ["form", "file", "mounted"])
async def test_parts_beside_a_form_are_refused_at_the_start(kind: str) -> None:
    """The server reads the reason from the lifespan, and does not start."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    await asyncio.wait_for(wrong_app(kind)(scope, receive, send), 10)

    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    text = sent[0]["message"]
    assert f"{Path(__file__).name}:" in text
    assert "form.field(name)" in text
    assert "LiveUpload" in text


@pytest.mark.parametrize("kind", ["form", "file", "mounted"])
async def test_parts_beside_a_form_never_hang(kind: str) -> None:
    """Neither with the line, where there is no lifespan, nor without it."""
    body = form_body(("title", None, b"T"), ("file", "a.bin", b"123"))
    for added in (True, False):
        app = wrong_app(kind, added=added)
        for each in (app, *(getattr(route, "app", None) for route in app.routes)):
            if isinstance(each, FastAPI) and not added:
                each.add_exception_handler(SluiceError, answered)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await asyncio.wait_for(
                client.post("/", content=body, headers={"Content-Type": TYPE}), 10
            )
        assert answer.status_code == 500
        if not added:
            assert answer.json()["code"] == "bad-order"
            assert "UploadFile" not in answer.text


def test_a_handler_of_the_apps_own_stays() -> None:
    app = FastAPI()

    async def own(request: Request, error: Exception) -> Any:
        raise AssertionError

    app.add_exception_handler(SluiceError, own)
    add(app)
    assert app.exception_handlers[SluiceError] is own


async def test_a_mounted_service_closes_with_the_app(tmp_path: Path) -> None:
    """The lifespan of the app itself still runs, and sees the service open."""
    app = FastAPI()
    service = mount(app, "/drop", lambda request: tmp_path / "place", no_auth=True)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.put("/drop/files/k", content=b"1")).status_code == 201
        assert service._places._places
    assert not service._places._places
    assert [path.name for path in tmp_path.rglob("k")] == ["k"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UvicornApp]:
    with uvicorn("fastapi_live_views:app", tmp_path_factory.mktemp("tools")) as running:
        yield running


@pytest.mark.torture
def test_a_generated_client_sends_it(app: UvicornApp, tmp_path: Path) -> None:
    """openapi-python-client makes a package of the description; its own types are used."""
    if importlib.util.find_spec("openapi_python_client") is None:
        pytest.skip("openapi-python-client is not installed")
    described = requests.get(f"{app.url}/openapi.json", timeout=10).json()
    wanted = {path: described["paths"][path] for path in ("/book", "/many")}
    (tmp_path / "api.json").write_text(json.dumps({**described, "paths": wanted}))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", "api.json", "--output-path", "made_client"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr + run.stdout
    program = f"""
import io
from made_client import Client
from made_client.api.default import book_book_post, many_many_post
from made_client.models import BodyBookBookPost, BodyManyManyPost
from made_client.types import File
client = Client(base_url={app.url!r})
data = open("data", "rb").read()
book = BodyBookBookPost(title="T", file=File(io.BytesIO(data), "a.bin", "text/x"))
found = book_book_post.sync(client=client, body=book)
assert found["live"] is True and found["sha256"] == {SHA!r}, found
files = [File(io.BytesIO(data), name, "text/x") for name in ("a", "b")]
many = many_many_post.sync(client=client, body=BodyManyManyPost(files=files))
assert [one[0] for one in many] == ["a", "b"], many
"""
    (tmp_path / "data").write_bytes(DATA)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
