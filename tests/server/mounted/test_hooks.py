"""The functions of an app around the service, where the destination decides what can be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fix_gateway import takes
from rude_peer import Exchange, Peer
from sluiceway import Sluiceway
from sluiceway.errors import UploadRefused
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload
from sluiceway.stores.contract import Entry


async def put(app: Sluiceway, key: str, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.put(f"/files/{key}", content=b"123", **more)


def refuses(entry: Entry, request: Request) -> None:
    raise UploadRefused("Not this one", 422)


async def test_what_another_server_has_taken_is_named_in_the_answer() -> None:
    """It cannot be taken back there; the answer is the app's all the same."""
    ends: list[EndedUpload] = []

    def end(upload: EndedUpload, request: Request) -> None:
        ends.append(upload)

    with Peer(takes) as peer:
        app = Sluiceway(to=peer.url, on_published=refuses, on_end=end)
        answer = await put(app, "k")
        await app.aclose()
    problem = answer.json()
    assert (answer.status_code, problem["detail"]) == (422, "Not this one")
    assert len(problem["already_taken"]) == 1
    assert [(one.outcome, one.entries) for one in ends] == [("refused", ())]


def refuses_409(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(409, body=b"no")


async def test_a_refusal_of_the_other_server_ends_as_refused() -> None:
    ends: list[EndedUpload] = []

    def end(upload: EndedUpload, request: Request) -> None:
        ends.append(upload)

    with Peer(refuses_409) as peer:
        app = Sluiceway(to=peer.url, on_end=end)
        assert (await put(app, "k")).status_code == 409
        await app.aclose()
    assert [one.outcome for one in ends] == ["refused"]


async def test_all_destinations_of_a_fan_out_take_it_back(tmp_path: Path) -> None:
    app = Sluiceway(to=[tmp_path / "one", tmp_path / "two"], on_published=refuses)
    assert (await put(app, "k")).status_code == 422
    assert not list(tmp_path.rglob("k"))
    await app.aclose()


async def test_a_refusal_leaves_the_file_that_was_replaced(tmp_path: Path) -> None:
    """In one request and in pieces; a key that was free is free again."""
    app = Sluiceway(to=tmp_path)
    assert (await put(app, "old")).status_code == 201
    await app.aclose()
    tag = (tmp_path / "old").stat().st_ino
    app = Sluiceway(to=tmp_path, on_published=refuses)
    for pieces in ({}, {"Content-Range": "bytes 0-2/3"}):
        for key in ("old", "new"):
            assert (await put(app, key, headers=pieces)).status_code == 422
        assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["old"]
        assert (tmp_path / "old").stat().st_ino == tag
    await app.aclose()


async def test_alone_the_service_answers_errors_of_functions_itself(tmp_path: Path) -> None:
    def start(upload: StartedUpload, request: Request) -> None:
        if upload.key == "teapot":
            raise HTTPException(418, "short and stout")
        raise ZeroDivisionError("secret")

    app = Sluiceway(to=tmp_path, on_start=start)
    answer = await put(app, "teapot")
    assert (answer.status_code, answer.json()["detail"]) == (418, "short and stout")
    answer = await put(app, "other")
    assert (answer.status_code, answer.json()["code"]) == (500, "hook-failed")
    assert "secret" not in answer.text
    await app.aclose()


@pytest.mark.parametrize("value", ["two\nlines", "x" * 9000])
async def test_metadata_that_no_store_keeps_is_a_fault_of_the_app(
    tmp_path: Path, value: str
) -> None:
    def start(upload: StartedUpload, request: Request) -> None:
        upload.metadata["owner"] = value

    app = Sluiceway(to=tmp_path, on_start=start)
    answer = await put(app, "k")
    assert (answer.status_code, answer.json()["code"]) == (500, "store-failed")
    assert not (tmp_path / "k").exists()
    await app.aclose()


async def test_an_error_of_on_end_changes_nothing(tmp_path: Path) -> None:
    async def end(upload: EndedUpload, request: Request) -> None:
        raise ZeroDivisionError

    app = Sluiceway(to=tmp_path, on_end=end)
    assert (await put(app, "k")).status_code == 201
    await app.aclose()


async def test_a_condition_of_the_client_is_not_about_a_key_of_the_app(tmp_path: Path) -> None:
    def start(upload: StartedUpload, request: Request) -> None:
        upload.key = "other"

    app = Sluiceway(to=tmp_path, on_start=start)
    assert (await put(app, "k")).headers["Location"] == "/files/other"
    again = await put(app, "k", headers={"If-None-Match": "*"})
    assert again.status_code in (409, 412)
    assert (tmp_path / "other").read_bytes() == b"123"
    await app.aclose()
