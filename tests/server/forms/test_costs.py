"""The cost of form fields: memory from the budget, one deadline for all, configurable limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from sluiceway.pipe import budget
from sluiceway.server.app import Sluiceway
from sluiceway.server.forms import costs as field_reading
from sluiceway.server.forms.costs import FIELDS_FREE
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.wire.forms.decoder import FormLimits

Message = MutableMapping[str, Any]
HEAD = b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
FILE = b'--B\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nfile\r\n'
END = b"--B--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return HEAD % name + value + b"\r\n"


async def post(
    app: Sluiceway, receive: Callable[[], Awaitable[Message]]
) -> tuple[int, dict[str, Any]]:
    """POST a form to /files. Returns the status and the JSON."""
    headers = [
        (b"content-type", b"multipart/form-data; boundary=B"),
        (b"transfer-encoding", b"chunked"),
        (b"host", b"localhost"),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/files",
        "raw_path": b"/files",
        "root_path": "",
        "headers": headers,
    }
    scope |= {
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def given(*pieces: bytes) -> Callable[[], Awaitable[Message]]:
    left = list(pieces)

    async def receive() -> Message:
        data = left.pop(0)
        return {"type": "http.request", "body": data, "more_body": bool(left)}

    return receive


async def test_fields_count_in_the_budget_until_the_form_is_answered() -> None:
    """Also as text, which may be four times as large; an ordinary form is not counted."""
    app = Sluiceway(to="memory:", memory_budget="64MiB")
    rest, asked = asyncio.Event(), asyncio.Event()
    pieces = [
        field(b"a", b"x" * 500_000),
        field(b"b", "🦋".encode() + b"x" * 500_000) + FILE[:5],
        FILE[5:] + END,
    ]

    async def receive() -> Message:
        if len(pieces) == 1:
            asked.set()
            await rest.wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    posting = asyncio.create_task(post(app, receive))
    await asked.wait()
    assert app.budget.used > 500_000 + 4 * 500_000 - FIELDS_FREE
    rest.set()
    status, content = await posting

    assert status == 201
    assert len(content["fields"]["b"][0]) == 500_001
    assert app.budget.used == 0
    await app.aclose()


async def test_fields_wait_for_memory_and_are_refused_readably(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 with Retry-After. The memory is released, and a small form passes meanwhile."""
    monkeypatch.setattr(budget, "MEMORY_TIMEOUT", 0.05)
    app = Sluiceway(to="memory:", memory_budget="4MiB")
    _ = app.upload_service
    assert app.budget.acquire(app.budget.limit)

    status, content = await post(app, given(field(b"a", b"x" * 100_000), FILE + END))
    small, _ = await post(app, given(field(b"a", b"x" * 1000) + END))

    assert (status, content["code"]) == (503, "unavailable")
    assert "--" not in content["detail"]
    assert small == 422  # it has no file, and was read to its end
    assert app.budget.used == app.budget.limit
    app.budget.release(app.budget.limit)
    await app.aclose()


async def test_all_fields_together_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow trickle cannot keep a form open for ever; the time of its files does not count."""
    monkeypatch.setattr(field_reading, "FIELDS_TIME", 1.0)
    monkeypatch.setattr(field_reading, "FIELDS_RATE", 1 << 30)  # bytes earn no time here
    app = Sluiceway(to="memory:")
    slow = field(b"a", b"x") * 100 + FILE + END

    async def trickle() -> Message:
        await asyncio.sleep(0.02)
        trickle.at += 20  # type: ignore[attr-defined]
        at: int = trickle.at  # type: ignore[attr-defined]
        return {"type": "http.request", "body": slow[at - 20 : at], "more_body": at < len(slow)}

    trickle.at = 0  # type: ignore[attr-defined]
    status, content = await post(app, trickle)
    assert (status, content["code"]) == (408, "too-slow")
    assert trickle.at < len(slow)  # type: ignore[attr-defined]

    pieces = [field(b"a", b"x") + FILE[:-2], *[b"y"] * 20, b"\r\n" + END]

    async def slow_file() -> Message:
        await asyncio.sleep(0.06 if len(pieces) < 22 else 0)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    status, content = await post(app, slow_file)
    assert (status, content["files"][0]["size"]) == (201, 24)
    await app.aclose()


@pytest.mark.parametrize(
    ("body", "limit_name", "limit"),
    [
        (FILE * 4 + END, "max_parts", 3),
        (field(b"a", b"x" * 1001) + FILE + END, "max_field_bytes", 1000),
    ],
)
async def test_a_configured_limit_is_named_in_the_error(
    body: bytes, limit_name: str, limit: int
) -> None:
    """413 names the limit and the remedy, but no option."""
    app = Sluiceway(to="memory:", max_parts=3, max_field_size="1000")
    status, content = await post(app, given(body))

    assert (status, content["code"], content["limit_name"], content["limit"]) == (
        413,
        "too-large",
        limit_name,
        limit,
    )
    assert str(limit) in content["detail"]
    assert "send" in content["detail"]
    assert "--" not in content["detail"]
    await app.aclose()


async def test_limits_can_be_raised() -> None:
    """To 1,500 files in a form and a field of 2 MiB."""
    app = Sluiceway(to="memory:", max_parts=2000, max_field_size="3MiB")
    status, content = await post(app, given(FILE * 1500 + field(b"a", b"x" * (2 << 20)) + END))

    assert (status, len(content["files"]), len(content["fields"]["a"][0])) == (201, 1500, 2 << 20)
    await app.aclose()


@pytest.mark.parametrize(
    "setting",
    [
        {"max_parts": 0},
        {"max_parts": 1_000_000},
        {"max_field_size": "0"},
        {"max_field_size": "17MiB"},
        {"max_field_size": "x"},
    ],
)
def test_limits_beyond_the_budget_are_refused(setting: dict[str, Any]) -> None:
    """Fields are held in memory, so the budget limits them."""
    with pytest.raises(BadSetting, match="max-"):
        Settings(**setting)


def test_limits_grow_together() -> None:
    """1,000 more parts need memory for their heads; longer fields need memory for several."""
    usual = FormLimits()
    assert FormLimits.of(1000, 1 << 20) == usual
    assert FormLimits.of(2000, 1 << 20).max_fields_bytes == usual.max_fields_bytes + 1000 * 512
    assert FormLimits.of(10, 2 << 20).max_fields_bytes == 8 << 20
