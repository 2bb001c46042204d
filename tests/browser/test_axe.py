"""axe finds nothing on page, list, dialogs and <sluice-drop>, in both colour schemes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import OpenPage
from browser.other_app import other_app
from browser.slow_destination import SlowServer
from browser.test_for_everybody import every_state
from browser.test_list import payload
from fix_npm import npm_package
from fix_server import Serve
from fix_taking import TORTURE

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
# All rules of WCAG 2.0 to 2.2, A and AA, and axe's own good practices.
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    `${id}: ${html.slice(0, 160)} ${failureSummary}`));
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    return (npm_package("axe-core") / "axe.min.js").read_text("utf-8")


@pytest.fixture
def check(axe: str) -> Callable[[Page], None]:
    """Run axe on what a page shows now, in both colour schemes."""

    def run(page: Page) -> None:
        page.evaluate(axe)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = page.evaluate(RUN)
            assert found == [], scheme + "\n" + "\n".join(found)

    return run


def test_axe_finds_nothing_on_the_page_and_its_list(
    visit: OpenPage,
    slow: Callable[..., SlowServer],
    make_file: MakeFile,
    check: Callable[[Page], None],
) -> None:
    """Rows in every state with their details, files in the list; then the list alone, in Arabic."""
    server = slow(rate=2e6, limit=80_000_000)
    page = visit(server.url)
    if TORTURE:
        check(page.page)
    requests.put(f"{server.url}/files/a/b/report.pdf", data=b"1", timeout=20)
    requests.put(f"{server.url}/files/notes.txt", data=b"1", timeout=20)
    every_state(page, make_file)
    check(page.page)
    page.page.goto(f"{server.url}/?lang=ar")
    expect(page.stored.first).to_be_visible()
    check(page.page)


def test_axe_finds_nothing_on_the_dialogs(
    serve: Serve, visit: OpenPage, check: Callable[[Page], None]
) -> None:
    """A taken name, a new name, and whether to delete what is selected."""
    server = serve("--key-template", "{path}")
    for name in ("one.txt", "two.txt"):
        requests.put(f"{server.url}/files/{name}", data=b"1", timeout=20)
    page = visit(server.url).page
    shown = page.locator("dialog[open]")
    page.locator("#select-all").check()
    check(page)
    page.locator("#selection-delete").click()
    expect(shown).to_have_count(1)
    check(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Rename one.txt").click()
    expect(shown).to_have_count(1)
    check(page)
    page.keyboard.press("Escape")
    page.locator("#files").set_input_files([payload("one.txt")])
    expect(page.locator("#conflict-dialog")).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)


def test_axe_finds_nothing_on_the_element(
    context: BrowserContext, check: Callable[[Page], None]
) -> None:
    """Waiting for files, with a stored file, with a refusal, disabled."""
    with other_app() as app:
        app.page = (
            '<!doctype html><html lang="en"><head><title>Shelf</title>'
            '<meta name="color-scheme" content="light dark">'
            "<style>html { background: Canvas; color: CanvasText }</style>"
            '<script type="module" src="/page/sluice.js"></script></head><body><main><h1>Shelf</h1>'
            '<sluice-drop id="a" endpoint="/take"><h2>Emma</h2></sluice-drop>'
            '<sluice-drop id="b" endpoint="/take" multiple><h2>Persuasion</h2></sluice-drop>'
            "</main></body></html>"
        )
        page = context.new_page()
        page.goto(app.url + "/")
        send = "(id) => document.querySelector(id).send([new File(['hello'], 'a.txt')])"
        expect(page.get_by_role("button", name="Add a file")).to_be_visible()
        check(page)
        app.location = "/books/42"
        page.evaluate(send, "#a")
        expect(page.locator("#a .link")).to_be_visible()
        app.status = 422
        page.evaluate(send, "#b")
        expect(page.locator("#b .progress")).to_have_attribute("data-state", "failed")
        check(page)
        page.close()
