"""The page with an operator's own name, logo, colour and language, as its visitors see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenPage
from browser.test_for_everybody import CONTRASTS
from fix_server import Serve

pytestmark = pytest.mark.chromium

LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="40">'
    '<rect width="80" height="40" fill="#e60073"/></svg>'
)


def test_the_page_shows_the_operators_name_logo_colour_and_language(
    serve: Serve, visit: OpenPage, tmp_path: Path
) -> None:
    """Markup in the name is text; the colour can be read in both schemes.

    A person must judge the screenshots.
    """
    (tmp_path / "logo.svg").write_text(LOGO)
    name = 'Ärzte <img src=x onerror="document.title=1">'
    options = ("--page-title", name, "--page-logo", str(tmp_path / "logo.svg"))
    server = serve(*options, "--page-color", "#e60073", "--page-language", "de")
    page = visit(server.url)
    expect(page.page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.page).to_have_title(name)
    expect(page.page.locator("html")).to_have_attribute("lang", "de")
    assert page.page.evaluate("() => document.querySelector('.top img').naturalWidth") == 80
    for scheme in ("light", "dark"):
        page.page.emulate_media(color_scheme=scheme)
        page.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        contrasts = page.page.evaluate(CONTRASTS)
        assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []

    page.page.goto(server.url + "/?lang=en")
    expect(page.page.get_by_role("button", name="Choose files")).to_be_visible()
