"""URLs on other kinds of ASGI servers, and below the mounts of other apps.

The service decides by the bytes that the server passes on.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message

from sluiceway import Sluiceway

pytestmark = pytest.mark.anyio

HALF = "/files/caf" + chr(0xDCE9)  # a byte that is not UTF-8, with surrogateescape


async def asked(
    app: ASGIApp, method: str, path: str, raw: bytes | None, **more: Any
) -> tuple[int, str]:
    """Status and code of the response to a scope as some server would build it."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
    }
    scope |= {
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    scope |= {"headers": [(b"host", b"localhost"), (b"content-length", b"0")], **more}
    if raw is not None:
        scope["raw_path"] = raw
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)["code"] if sent[0]["status"] >= 400 else ""


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("/files/caf\ufffd", b"/files/caf%E9", 400),
        ("/files/caf\ufffd", b"/files/caf%EF%BF%BD", 201),
        ("/files/caf\ufffd", None, 400),  # nothing tells whether it was sent so
        (HALF, None, 400),
        (HALF, b"/files/caf%C3%A9", 400),
        ("/files/caf\u00e9", None, 201),
        ("/files/caf\u00e9", "/files/caf\u00e9".encode(), 201),
        ("/files/a", b"/files/a?x=%E9", 201),  # some servers leave the query there
    ],
)
async def test_a_path_is_judged_by_its_bytes_where_there_are_any(
    path: str, raw: bytes | None, status: int
) -> None:
    assert (await asked(Sluiceway(to="memory:"), "PUT", path, raw))[0] == status


async def test_a_query_of_bytes_beyond_ascii_is_read_as_utf_8() -> None:
    app = Sluiceway(to="memory:")
    assert await asked(
        app, "GET", "/files", b"/files", query_string="prefix=caf\u00e9".encode()
    ) == (200, "")
    assert await asked(app, "GET", "/files", b"/files", query_string=b"prefix=caf\xe9") == (
        400,
        "bad-name",
    )


@pytest.mark.parametrize("key", ["r\n", "r\r", "\x01r", "r\x7f"])
async def test_below_a_mount_a_control_character_names_no_other_object(key: str) -> None:
    """Never the neighbouring object.

    Starlette answers 404 itself when its pattern stops at a line feed in the middle.
    """
    inner = Sluiceway(to="memory:")
    app = Starlette(routes=[Mount("/drop", app=inner)])
    assert (await asked(app, "PUT", "/drop/files/r", b"/drop/files/r"))[0] == 201
    for method in ("PUT", "GET", "DELETE"):
        raw = b"/drop/files/" + "".join(f"%{ord(one):02X}" for one in key).encode()
        assert await asked(app, method, f"/drop/files/{key}", raw) == (400, "bad-name")
    assert [entry.key for entry in (await inner.upload_service.store.list()).entries] == ["r"]
    await inner.aclose()
