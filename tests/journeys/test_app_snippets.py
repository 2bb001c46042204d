"""The snippets of docs/starlette.md and docs/mount.md run as they are printed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fix_gateway import takes
from fix_taking import noise
from fork_programs import IN_A_FORK
from rude_peer import Peer

DOCS = Path(__file__).parents[2] / "docs"
DATA = noise(1_200_003)


def snippets(page: str) -> list[str]:
    """Every block of Python that is a whole program: those that import."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    return [block for block in blocks if re.search(r"^from sluiceway", block, re.MULTILINE)]


def find(page: str, word: str) -> str:
    (found,) = [block for block in snippets(page) if word in block]
    return found


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(takes) as running_peer:
        yield running_peer


async def post(app: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post("/books", data={"title": "T"}, files={"file": ("a", DATA)})


async def test_fastapi_sends_the_file_on(peer: Peer) -> None:
    run: dict[str, Any] = {}
    text = find("starlette.md", "file: LiveUpload)").replace("https://api.example", peer.url)
    exec(text, run)  # a program of our own docs
    answer = await post(run["app"])
    assert (answer.status_code, answer.json()) == (200, 201)
    assert hashlib.sha256(peer.seen[0].body).digest() == hashlib.sha256(DATA).digest()


async def test_starlette_walks_the_parts() -> None:
    run: dict[str, Any] = {}
    exec(find("starlette.md", "parts(request)"), run)
    answer = await post(run["app"])
    assert (answer.status_code, answer.json()) == (201, {"title": "T", "file": 16})


async def test_fastapi_mounts_the_service_with_functions(tmp_path: Path) -> None:
    run: dict[str, Any] = {}
    exec(find("mount.md", "on_kept").replace("/srv/files", str(tmp_path)), run)
    app = run["app"]
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        key = {"X-Key": "secret-of-ann"}
        assert (await client.put("/drop/files/k", content=DATA, headers=key)).status_code == 201
        refused = await client.put("/drop/files/k", content=DATA)
    assert (refused.status_code, refused.json()["detail"]) == (401, "Log in first")
    assert (tmp_path / "ann" / "k").read_bytes() == DATA


ASKED = {
    "starlette": """
from fastapi.testclient import TestClient
answer = TestClient(app, base_url="http://localhost").get("/drop/")
assert "<!doctype html>" in answer.text
""",
    "flask": """
answer = app.test_client().get("/drop/")
assert b"<!doctype html>" in answer.data
answer.close()
""",
    "django": """
from django.conf import settings
import django, sys
sys.modules["urls"] = sys.modules["__main__"]
settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of these tests",
    ROOT_URLCONF="urls",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()
from django.test import Client
answer = Client().get("/drop/")
assert answer.status_code == 302 and answer["Location"].startswith("/accounts/login")
from django.contrib.auth.models import AnonymousUser
AnonymousUser.is_authenticated = True
answer = Client().get("/drop/")
assert b"<!doctype html>" in b"".join(answer.streaming_content)
""",
}


@pytest.mark.parametrize("home", ASKED)
def test_the_first_snippet_of_each_framework_serves_the_page(home: str, tmp_path: Path) -> None:
    text = next(block for block in snippets("mount.md") if f"from sluiceway.{home}" in block)
    text = text.replace("/srv/uploads", str(tmp_path / "uploads")) + ASKED[home]
    run = subprocess.run(
        [sys.executable, "-c", IN_A_FORK + text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
