"""FastAPI's own /docs sends a LiveUpload: a file chooser, "Execute", and the view has the bytes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from fix_taking import noise
from fix_uvicorn import UvicornApp, uvicorn

pytestmark = pytest.mark.chromium

DATA = noise(1_500_007)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UvicornApp]:
    with uvicorn("fastapi_live_views:app", tmp_path_factory.mktemp("docs")) as running:
        yield running


@pytest.fixture
def swagger() -> Path:
    """The files that /docs loads from a CDN, as fastapi-offline brings them."""
    found = importlib.util.find_spec("fastapi_offline")
    if found is None or found.origin is None:
        pytest.skip("fastapi-offline is not installed")
    return Path(found.origin).parent / "static"


def test_the_docs_page_offers_a_file_and_sends_it(
    app: UvicornApp, swagger: Path, context: BrowserContext, tmp_path: Path
) -> None:
    file = tmp_path / "book.bin"
    file.write_bytes(DATA)

    def from_cdn(route: Route) -> None:
        asset = swagger / route.request.url.rpartition("/")[2]
        route.fulfill(path=asset) if asset.exists() else route.abort()

    context.route(lambda url: not url.startswith(app.url), from_cdn)
    page = context.new_page()
    page.goto(f"{app.url}/docs")
    view = page.locator("#operations-default-book_book_post")
    view.click()
    view.get_by_role("button", name="Try it out").click()
    view.locator('input[type="text"]').fill("The book")
    view.locator('input[type="file"]').set_input_files(file)
    view.get_by_role("button", name="Execute").click()

    answer = view.locator(".live-responses-table .response-col_description pre").first
    expect(answer).to_contain_text(hashlib.sha256(DATA).hexdigest())
    expect(answer).to_contain_text('"live": true')
    expect(answer).to_contain_text('"title": "The book"')
