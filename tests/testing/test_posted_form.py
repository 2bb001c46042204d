"""Forms of test clients, in any order."""

from __future__ import annotations

import io
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sluiceway.errors import BadRequest
from sluiceway.flask import FlaskFile, Sluiceway, request
from sluiceway.testing import form

PARTS: dict[str, Any] = {
    "title": "Emma ü",
    "file": (io.BytesIO(b"123"), 'a "b" ü.txt'),
    "tags": ["1", "2"],
    "raw": (b"4", "raw", "image/x-raw"),
}
SENT = {
    "title": ["title", "Emma ü"],
    "file": ["file", 'a "b" ü.txt', "text/plain", 3],
    "raw": ["raw", "raw", "image/x-raw", 1],
}


def walked(order: list[str]) -> list[list[object]]:
    """What a view sees, in the order in which it came."""
    app = flask.Flask("walks")
    Sluiceway(app)

    @app.post("/")
    def view() -> list[object]:
        return [
            [part.name, part.filename, part.mimetype, len(part.read())]
            if isinstance(part, FlaskFile)
            else [part.name, part.value]
            for part in request.parts
        ]

    PARTS["file"][0].seek(0)
    answer = app.test_client().post("/", **form(PARTS, order))
    seen: list[list[object]] = answer.get_json()
    return seen


def test_parts_come_in_the_order_that_is_asked_for() -> None:
    tags = [["tags", "1"], ["tags", "2"]]
    title, file, raw = SENT["title"], SENT["file"], SENT["raw"]
    assert walked([]) == [title, file, *tags, raw]
    assert walked(["file", "raw"]) == [file, raw, title, *tags]


def test_a_name_that_is_no_part_and_a_value_of_another_kind_are_refused() -> None:
    with pytest.raises(BadRequest, match="'fiel'"):
        form({"file": "1"}, ["fiel"])
    with pytest.raises(BadRequest, match="binary file"):
        form({"file": (io.StringIO("1"), "a")})


async def test_other_clients_take_it() -> None:
    async def view(sent: Request) -> JSONResponse:
        async with sent.form() as got:
            return JSONResponse([name for name, _ in got.multi_items()])

    app = Starlette(routes=[Route("/", view, methods=["POST"])])
    sent = form({"title": "T", "file": (b"1", "a")}, ["file"])
    kind = {"Content-Type": sent["content_type"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        answer = await client.post("/", content=sent["data"], headers=kind)
    assert answer.json() == ["file", "title"]
