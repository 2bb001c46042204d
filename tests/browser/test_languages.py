"""The page and the element speak the reader's language, from left or from right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from browser.uploads_page import Complaints, UploadsPage
from fix_server import RunningServer, start_server
from fix_taking import TORTURE

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]

# What stands out of the page sideways, and what English letters stand in a text of the page itself.
OVERFLOWING = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("languages") / "root", "--max-size", "2MB")
    yield server
    server.stop()


class Visitor:
    """A browser that asks for a language, and the languages that it loaded."""

    def __init__(self, browser: Browser, locale: str) -> None:
        self.context = browser.new_context(viewport={"width": 900, "height": 900}, locale=locale)
        self.complaints, self.loaded = Complaints(), list[str]()

    def open(self, url: str) -> UploadsPage:
        page = self.context.new_page()
        self.complaints.listen(page)
        page.on("request", lambda request: self._note(request.url))
        page.goto(url)
        page.locator("main").wait_for()
        return UploadsPage(page)

    def _note(self, url: str) -> None:
        if found := re.search(r"/languages/(\w+)\.js", url):
            self.loaded.append(found[1])


# What each language calls the first button, and an upload that is done.
WORDS = {
    "en-US": ("Choose files", "1 file stored"),
    "de-AT": ("Dateien auswählen", "1 Datei gespeichert"),
    "es-MX": ("Elegir archivos", "1 archivo guardado"),
    "fr-CA": ("Choisir des fichiers", "1 fichier enregistré"),
    "zh-CN": ("选择文件", "已保存 1 个文件"),
    "ja-JP": ("ファイルを選択", "1 件のファイルを保存しました"),
    "ar-EG": ("اختيار ملفات", "حُفظ ملف واحد"),
    "sv-SE": ("Choose files", "1 file stored"),
}


# One without spaces, one from right to left, and one that the page has not.
QUICK = ("ja-JP", "ar-EG", "sv-SE")


@pytest.mark.parametrize(
    "locale",
    [one if one in QUICK else pytest.param(one, marks=pytest.mark.torture) for one in WORDS],
)
def test_the_page_speaks_the_browsers_language(
    chromium: Browser, server: RunningServer, make_file: MakeFile, locale: str, tmp_path: Path
) -> None:
    """A file is stored and one refused, all in one language; only that language is loaded.

    Nothing runs out of the page, also at 360 px. A language that the page has not is English. A
    person must judge the screenshot of the long proofs.
    """
    visitor = Visitor(chromium, locale)
    page = visitor.open(server.url)
    language = locale[:2] if locale != "sv-SE" else "en"
    html = page.page.locator("html")
    expect(html).to_have_attribute("lang", language)
    expect(html).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    choose, stored = WORDS[locale]
    with page.page.expect_file_chooser() as chooser:
        page.page.get_by_role("button", name=choose, exact=True).click()
    chooser.value.set_files(str(make_file("قصة a.txt", 1000)))
    page.wait_for("a.txt", "done")
    expect(page.summary).to_have_text(stored)
    page.page.locator("#files").set_input_files(str(make_file("large.iso", 3_000_000)))
    page.wait_for("large.iso", "failed")
    if TORTURE:
        page.page.screenshot(path=tmp_path / f"{locale}.png", full_page=True)

    assert visitor.loaded == [language]
    assert visitor.complaints.found == []
    assert page.page.evaluate(OVERFLOWING) == 0
    page.page.set_viewport_size({"width": 360, "height": 740})
    expect(page.stored.first).to_be_visible()
    assert page.page.evaluate(OVERFLOWING) == 0, "the page of a phone"
    if language not in ("en", "de"):
        shown = page.page.locator("main").inner_text()
        left = re.findall(
            r"\b(?:stored|kept|file|delete|retry|server|open)\b", shown, re.IGNORECASE
        )
        assert left == []
    visitor.context.close()


def test_the_address_chooses_a_language_and_a_wrong_one_is_ignored(
    chromium: Browser, server: RunningServer
) -> None:
    """?lang=ar comes before the browser's language; what is no language changes nothing."""
    visitor = Visitor(chromium, "de-DE")
    page = visitor.open(server.url + "/?lang=ar")
    expect(page.page.locator("html")).to_have_attribute("dir", "rtl")
    code = page.page.locator("code", has_text="-u :TOKEN")
    expect(code).to_have_css("direction", "ltr")
    expect(code).to_have_css("white-space", "nowrap")
    intake = page.page.locator(".section-head").nth(1)
    title, buttons = intake.locator("h2").bounding_box(), page.page.locator("h1").bounding_box()
    assert title is not None
    assert buttons is not None
    assert title["x"] + title["width"] > 600, "the headings stand at the right"
    wrong_ones = ("../../evil", "de_DE", "xx", "%00", "en-")
    for wrong in wrong_ones if TORTURE else wrong_ones[:2]:
        page = visitor.open(f"{server.url}/?lang={wrong}")
        expect(page.page.locator("html")).to_have_attribute("lang", "de")
    assert visitor.complaints.found == []
    visitor.context.close()
