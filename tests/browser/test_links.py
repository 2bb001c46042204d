"""A link in a browser: the page offers what the link allows, and <sluice-drop link=…> uploads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

import sluiceway
from browser.conftest import OpenPage
from fix_server import Serve
from sluiceway.server.access.link_keys import add_key, first_key

pytestmark = pytest.mark.chromium


def test_the_page_shows_what_a_link_allows(
    serve: Serve, visit: OpenPage, tmp_path: Path, make_file: Callable[[str, int], Path]
) -> None:
    """One that uploads has no list; one that reads has no place to drop files. The element of
    another origin's page takes a link alone."""
    keys = tmp_path / "keys"
    add_key(str(keys))
    server = serve("--link-key-file", str(keys), "--token", "the-token-of-the-admin")

    def link(method: str = "POST") -> str:
        return sluiceway.link(server.url, first_key(str(keys)), prefix="inbox/", method=method)

    page = visit(link().rstrip("/"))
    expect(page.page.locator("#intake")).to_be_visible()
    expect(page.page.locator("#stored")).to_be_hidden()
    expect(page.page.locator(".foot")).to_be_hidden()
    page.page.locator("#files").set_input_files(make_file("photo.jpg", 1000))
    expect(page.page.locator('.row[data-state="done"]')).to_have_count(1)
    expect(page.page.locator(".receipt .link")).to_be_hidden()
    assert [key.startswith("inbox/") for key in server.stored()] == [True]

    page = visit(link("GET").rstrip("/"))
    expect(page.page.locator("#intake")).to_be_hidden()
    expect(page.page.locator("#stored")).to_be_visible()
    expect(page.page.get_by_role("button", name="Delete")).to_have_count(0)
