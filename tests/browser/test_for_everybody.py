"""The page works by keyboard, with a screen reader, on a phone, in dark mode and without motion."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenPage
from browser.slow_destination import SlowServer
from browser.uploads_page import UploadsPage
from fix_server import Serve
from fix_taking import TORTURE

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Slow = Callable[..., SlowServer]

# Every visible text with its contrast to the ground it stands on (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, style, .unseen") || !element.checkVisibility()) continue;
    const [one, two] = [light(rgba(getComputedStyle(element).color)), light(ground(element))];
    found.push([text.slice(0, 40), (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)]);
  }
  return found;
}"""

# Everything that can be reached with Tab must have a name; a screen reader would say just "button".
NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, [role]")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.textContent).trim())
  .filter((one) => !one.matches("[role=status]"))
  .map((one) => one.outerHTML)"""

NARROW_TARGETS = """() => [
  ...document.querySelectorAll("button, .receipt a, .stored-row a, summary, .places a")]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
  .filter(([, box]) => box.height < 43.5)
  .map(([html, box]) => `${html} ${box.height}`)"""


def every_state(page: UploadsPage, make_file: MakeFile) -> None:
    """One row in each state that a person may see, at the same time."""
    page.choose(make_file("a done one.txt", 1000))
    page.wait_for("a done one.txt", "done")
    page.choose(make_file("too large.iso", 90_000_000))
    page.wait_for("too large.iso", "failed", 30)
    name = (
        "a film with a name that is much longer than any screen is wide, "
        "and goes on and on, to the very end.mp4"
    )
    page.choose(
        make_file(name, 30_000_000),
        make_file("second.mp4", 30_000_000),
        make_file("waiting.txt", 10),
    )
    page.page.get_by_role("button", name="Cancel waiting.txt").click()
    page.choose(make_file("waiting too.txt", 10))
    expect(page.status("a film")).to_have_text(re.compile(r"^arrived at the destination: [1-9]"))
    for name in ("a done one.txt", "a film"):
        page.unfold(name)


@pytest.mark.torture
def test_every_text_has_enough_contrast(
    visit: OpenPage, slow: Slow, make_file: MakeFile, tmp_path: Path
) -> None:
    """Every visible text has 4.5 : 1, in both color schemes and all states of a row.

    A person must judge the screenshots of the long proofs.
    """
    page = visit(slow(rate=2e6, limit=80_000_000).url)
    every_state(page, make_file)

    for scheme in ("light", "dark"):
        page.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        contrasts = page.page.evaluate(CONTRASTS)
        if TORTURE:
            page.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        assert len(contrasts) > 30
        low = [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5]
        assert low == [], scheme


def test_a_phone_shows_everything_without_scrolling_sideways(
    visit: OpenPage, slow: Slow, make_file: MakeFile, tmp_path: Path
) -> None:
    """At 360 px nothing overflows, and every control is at least 44 px high."""
    page = visit(slow(rate=2e6, limit=80_000_000).url)
    page.page.set_viewport_size({"width": 360, "height": 740})
    every_state(page, make_file)

    if TORTURE:
        page.page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    out = "() => [...document.querySelectorAll('main *')].filter((one) => one.checkVisibility() && "
    out += "one.getBoundingClientRect().right > 361 && !one.closest('.row-name, pre'))"
    out += ".map((one) => one.outerHTML.slice(0, 80))"
    assert page.page.evaluate(out) == []
    assert page.page.evaluate(NARROW_TARGETS) == []


def test_the_keyboard_alone_is_enough(serve: Serve, visit: OpenPage, make_file: MakeFile) -> None:
    """Tab and Enter choose and send a file, reach its link, digest and details, and delete it with
    two presses.

    The focus is never lost.
    """
    server = serve()
    page = visit(server.url)
    keys = page.page.keyboard
    focused = (
        "() => document.activeElement.getAttribute('aria-label')"
        " ?? [...document.activeElement.childNodes].filter((one) => !one.ariaHidden)"
        ".map((one) => one.textContent).join('').replace(/\\s+/g, ' ').trim()"
    )
    keys.press("Tab")
    assert page.page.evaluate(focused) == "Choose files"
    with page.page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(str(make_file("a.txt", 1000)))
    page.wait_for("a.txt", "done")
    expect(page.stored).to_have_count(1)

    order = []
    for _ in range(20):
        keys.press("Tab")
        order.append(page.page.evaluate(focused))
        if order[-1] == "Delete a.txt":
            break
    assert [re.sub(r" · time: \d+ % .*", "", name) for name in order] == [
        "Choose a folder",
        "Clear finished",
        "Open a.txt",
        "Copy sha-256 of a.txt",
        "Dismiss a.txt",
        "Details of a.txt",
        "Search",
        "Order",
        "Select all that are shown",
        "Select a.txt",
        "a.txt",
        "Download a.txt",
        "Copy link to a.txt",
        "Rename a.txt",
        "Delete a.txt",
    ]

    keys.press("Enter")
    expect(page.announcer).to_contain_text("Press again to delete a.txt")
    assert server.stored() != {}
    keys.press("Escape")
    assert page.page.evaluate(focused) == "Delete a.txt"
    keys.press("Enter")
    keys.press("Space")
    expect(page.stored).to_have_count(0)
    assert server.stored() == {}
    assert page.page.evaluate(focused) == "Stored files"


def test_the_focus_stays_near_when_a_button_goes_away(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Cancel by keyboard, then remove.

    The focus goes to Retry, then to the next row, never back to the top.
    """
    page = visit(slow(rate=2e6).url)
    page.choose(make_file("a.mp4", 30_000_000), make_file("b.mp4", 30_000_000))
    page.wait_for("b.mp4", "sending")
    focused = "() => document.activeElement.getAttribute('aria-label')"
    page.page.get_by_role("button", name="Cancel a.mp4").focus()
    page.page.keyboard.press("Enter")

    page.wait_for("a.mp4", "cancelled")
    assert page.page.evaluate(focused) == "Retry a.mp4"
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    expect(page.row("a.mp4")).to_have_count(0)
    assert page.page.evaluate(focused) == "Cancel b.mp4"


def test_beginnings_and_endings_are_announced_and_percents_are_not(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """The live region announces the start, the success and the failure.

    It is silent in between.
    """
    page = visit(slow(rate=4e6, limit=50_000_000).url)
    page.page.evaluate(
        """() => {
          window.announced = [];
          const region = document.querySelector("[aria-live=polite]");
          new MutationObserver(() => window.announced.push(region.textContent))
            .observe(region, { childList: true });
        }"""
    )
    page.choose(make_file("film.mp4", 6_000_000))
    page.wait_for("film.mp4", "done", 30)
    expect(page.announcer).to_have_text("film.mp4 stored")
    page.choose(make_file("big.iso", 60_000_000))
    page.wait_for("big.iso", "failed")
    expect(page.announcer).to_contain_text("failed")

    announced = page.page.evaluate("() => window.announced")
    assert announced[0] == "1 file added. film.mp4 being sent"
    assert announced[1] == "film.mp4 stored"
    assert "big.iso failed: This file is 60 MB; the server takes up to 50 MB" in announced[-1]
    assert len(announced) <= 4


@pytest.mark.torture
def test_everything_has_a_name_and_the_bar_a_value_in_words(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Landmarks, headings, names for all controls, and a progress bar that says what its number
    means."""
    page = visit(slow(rate=2e6, limit=80_000_000).url)
    every_state(page, make_file)

    assert page.page.evaluate(NAMELESS) == []
    bar = page.row("a film").get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuemin", "0")
    expect(bar).to_have_attribute("aria-valuemax", "100")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^\d{1,2}$"))
    expect(bar).to_have_attribute(
        "aria-valuetext", re.compile(r"^arrived at the destination: .* of 30 MB, at the server: .*")
    )
    expect(bar).to_have_attribute("aria-label", re.compile("^Progress of a film"))
    for role in ("banner", "main", "contentinfo"):
        expect(page.page.get_by_role(role)).to_have_count(1)
    expect(page.page.get_by_role("heading", level=1)).to_have_text("Sluiceway")
    expect(page.page.locator("html")).to_have_attribute("lang", "en")


def test_the_title_shows_the_progress_of_all_uploads(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """A tab in the background shows the progress, and in the end that all is done."""
    page = visit(slow(rate=4e6).url)
    page.choose(make_file("film.mp4", 8_000_000), make_file("small.txt", 10))

    expect(page.page).to_have_title(re.compile(r"^[1-9]\d? % · 1 of 2 – Sluiceway$"))
    expect(page.page).to_have_title("2 files stored – Sluiceway", timeout=30_000)


def test_reduced_motion_is_respected(serve: Serve, visit: OpenPage, make_file: MakeFile) -> None:
    """prefers-reduced-motion: the layers jump instead of gliding."""
    page = visit(serve().url)
    page.choose(make_file("a.txt", 10))
    page.wait_for("a.txt", "done")
    moves = "() => getComputedStyle(document.querySelector('.layer.kept')).transitionDuration"

    assert page.page.evaluate(moves) != "0s"
    page.page.emulate_media(reduced_motion="reduce")
    assert page.page.evaluate(moves) == "0s"
