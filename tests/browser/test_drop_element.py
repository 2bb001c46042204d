"""<sluice-drop> by itself: how it invites, what it shows, and how it fits into a form."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import NewPage
from browser.other_app import OtherApp, other_app
from browser.uploads_page import Complaints, catch_choosers

pytestmark = pytest.mark.chromium

HEAD = '<!doctype html><html {html}><title>App</title><script type="module" src="/page/sluice.js">'
SEND = """(files) => document.querySelector("sluice-drop").send(
  files.map(([name, type]) => new File(["hello"], name, { type })))"""
# A drag with a file, from outside of the page, over the element and back out.
DRAG = """(kind) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File(["hello"], "a.txt"));
  const options = { bubbles: true, cancelable: true, composed: true, dataTransfer: transfer };
  document.querySelector("sluice-drop").dispatchEvent(new DragEvent(kind, options));
}"""


@pytest.fixture(scope="module")
def app() -> Iterator[OtherApp]:
    with other_app() as running:
        yield running


class Site:
    """A page of the app, opened with some HTML."""

    def __init__(self, app: OtherApp, new_page: NewPage) -> None:
        self.app, self.new_page, self.complaints = app, new_page, Complaints()
        app.status, app.location = 200, ""

    def show(self, body: str, html: str = 'lang="en"') -> Page:
        self.app.page = HEAD.format(html=html) + "</script><body>" + body
        page = self.new_page(self.app.url)
        self.complaints.listen(page)
        catch_choosers(page)
        page.goto(self.app.url + "/")
        page.wait_for_function("() => customElements.get('sluice-drop')")
        return page


@pytest.fixture
def site(app: OtherApp, new_page: NewPage) -> Iterator[Site]:
    opened = Site(app, new_page)
    yield opened
    assert opened.complaints.found == []


DROP = '<sluice-drop endpoint="/take" {}><h2>Emma</h2></sluice-drop>'


def test_it_looks_droppable_and_says_so_while_files_are_over_it(site: Site) -> None:
    """An outline, an icon and a hint; a drag over it covers it with words, and a state to style.

    The page's own rules change outline and colours.
    """
    style = "<style>sluice-drop { --sluice-accent: rgb(1, 2, 3); --sluice-radius: 3px }</style>"
    page = site.show(style + DROP.format(""))
    element = page.locator("sluice-drop")
    expect(element).to_have_css("border-top-style", "dashed")
    expect(element).to_have_css("border-top-left-radius", "3px")
    expect(element.locator(".icon")).to_have_css("stroke", "rgb(1, 2, 3)")
    expect(element.locator(".hint")).to_have_text("Drop a file here")
    expect(element.locator(".over")).to_be_hidden()

    page.evaluate(DRAG, "dragover")
    expect(element.locator(".over")).to_have_text("Let go to send")
    assert page.locator("sluice-drop:state(over)").count() == 1
    page.evaluate(DRAG, "dragleave")
    expect(element.locator(".over")).to_be_hidden()
    assert page.locator("sluice-drop:state(over)").count() == 0


def test_it_shows_the_name_and_links_the_result(site: Site) -> None:
    """One file by its name, with a link that opens it; several by their number, each with a link.

    A link to another host says whose page it opens.
    """
    page = site.show(DROP.format("multiple"))
    element = page.locator("sluice-drop")
    site.app.location = "/books/42"
    page.evaluate(SEND, [["emma.epub", ""]])
    expect(element.locator(".name")).to_have_text("emma.epub")
    link = element.get_by_role("link", name="Open emma.epub")
    expect(link).to_have_attribute("href", site.app.url + "/books/42")
    expect(link).to_have_text("Open")
    assert page.locator("sluice-drop:state(done)").count() == 1

    site.app.location = "https://files.example.com/1"
    page.evaluate(SEND, [["one.txt", ""], ["two.txt", ""]])
    expect(element.locator(".name")).to_have_text("2 files")
    expect(element.get_by_role("link", name="Open one.txt at files.example.com")).to_be_visible()
    expect(element.get_by_role("link")).to_have_count(2)


def test_a_retry_is_offered_only_where_it_can_help(site: Site) -> None:
    """A file that is refused for what it is, or for what its sender may do, is refused again."""
    page = site.show(DROP.format(""))
    element = page.locator("sluice-drop")
    retry, status = element.get_by_role("button", name="Retry"), element.locator(".status")
    for code in (400, 403, 404, 413, 415, 422, 501):
        site.app.status = code
        page.evaluate(SEND, [[f"{code}.epub", ""]])
        expect(element.locator(".name")).to_have_text(f"{code}.epub")
        expect(element.locator(".progress")).to_have_attribute("data-state", "failed")
        expect(retry).to_be_hidden()
        expect(element.get_by_role("button", name="Add a file")).to_be_visible()
    for code in (401, 408, 409, 412, 429, 500, 502, 503, 507):
        site.app.status = code
        page.evaluate(SEND, [[f"{code}.epub", ""]])
        expect(element.locator(".name")).to_have_text(f"{code}.epub")
        expect(retry).to_be_visible()
        site.app.status = 200
        retry.click()
        expect(status).to_contain_text("stored, finished in")


def test_it_takes_only_what_accept_lets_in(site: Site) -> None:
    """A drop knows `accept` as a chooser does: endings, types and whole families of types."""
    page = site.show(DROP.format('accept=".epub, image/*, text/plain"'))
    status = page.locator("sluice-drop .status")
    sent = len(site.app.requests)
    for name, kind in (("a.exe", ""), ("epub", ""), ("a.html", "text/html")):
        page.evaluate(SEND, [[name, kind]])
        expect(status).to_have_text("Files of this kind cannot be added here.")
    assert len(site.app.requests) == sent
    for name, kind in (("A.EPUB", ""), ("b", "image/png"), ("c", "text/plain")):
        page.evaluate(SEND, [[name, kind]])
        expect(page.locator("sluice-drop .name")).to_have_text(name)
        expect(status).to_contain_text("stored, finished in")


FORM = '<form action="/"><fieldset>' + DROP + "</fieldset><button>Save</button></form>"
VALUES = "() => new FormData(document.forms[0]).getAll('text')"
VALID = "() => document.forms[0].checkValidity()"


def test_it_is_a_field_of_the_form_around_it(site: Site) -> None:
    """Required, busy, stored, reset: the form sends the stored file's address, and waits for it."""
    page = site.show(FORM.format('name="text" required'))
    element = page.locator("sluice-drop")
    assert page.evaluate(VALID) is False
    page.get_by_role("button", name="Save").click()
    expect(element.get_by_role("button", name="Add a file")).to_be_focused()

    site.app.location = "/books/42"
    site.app.gate.clear()
    page.evaluate(SEND, [["emma.epub", ""]])
    expect(element.get_by_role("button", name="Cancel")).to_be_visible()
    assert page.evaluate(VALID) is False
    assert page.evaluate(VALUES) == []
    site.app.gate.set()
    expect(element.locator(".status")).to_contain_text("stored, finished in")
    assert page.evaluate(VALID) is True
    assert page.evaluate(VALUES) == [site.app.url + "/books/42"]

    page.evaluate("() => document.forms[0].reset()")
    expect(element.locator(".progress")).to_be_hidden()
    assert (page.evaluate(VALUES), page.evaluate(VALID)) == ([], False)


def test_a_disabled_one_takes_nothing(site: Site) -> None:
    """By its own attribute, or by the fieldset around it."""
    page = site.show(FORM.format("disabled"))
    sent = len(site.app.requests)
    button = page.get_by_role("button", name="Add a file")
    expect(button).to_be_disabled()
    page.evaluate("() => document.querySelector('sluice-drop').removeAttribute('disabled')")
    expect(button).to_be_enabled()
    page.evaluate("() => { document.querySelector('fieldset').disabled = true; }")
    expect(button).to_be_disabled()
    page.evaluate(DRAG, "dragover")
    expect(page.locator("sluice-drop .over")).to_be_hidden()
    page.evaluate(SEND, [["emma.epub", ""]])
    page.evaluate(DRAG, "drop")
    assert len(site.app.requests) == sent


def test_each_one_speaks_the_language_of_its_place(site: Site) -> None:
    """Two languages on one page, one from right to left; a page that changes its own language."""
    two = '<div lang="ar">' + DROP.format('id="a"') + "</div>" + DROP.format('id="b"')
    page = site.show(two, 'lang="fr"')
    expect(page.locator("#a .hint")).to_have_text("أفلت ملفًا هنا")
    expect(page.locator("#a .panel")).to_have_css("direction", "rtl")
    expect(page.locator("#b .hint")).to_have_text("Déposez un fichier ici")
    expect(page.locator("#b .panel")).to_have_css("direction", "ltr")
    page.evaluate("() => { document.documentElement.lang = 'ja'; }")
    expect(page.locator("#b .hint")).to_have_text("ここにファイルをドロップ")
    expect(page.locator("#a .hint")).to_have_text("أفلت ملفًا هنا")
    page.evaluate("() => { document.querySelector('#b').lang = 'de-CH'; }")
    expect(page.get_by_role("button", name=re.compile("Datei hinzufügen"))).to_be_visible()

    page = site.show(DROP.format(""), "")
    expect(page.locator(".hint")).to_have_text("Drop a file here")
