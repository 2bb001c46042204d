"""The details below a row show where the time went, in parts whose sum is the whole.

They work by sight, screen reader and keyboard.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from browser.conftest import OpenPage
from browser.slow_destination import SlowServer
from fix_server import Serve

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Slow = Callable[..., SlowServer]
PARTS = ["wait-for-client", "decode", "queue", "destination", "wait-for-answer"]


def seconds(text: str) -> float:
    """A time as the table shows it."""
    found = re.search(r"([\d.]+) (m?)s", text)
    return float(found[1]) / (1000 if found[2] else 1) if found else 0.0


def cells(table: Locator) -> dict[str, list[str]]:
    """The rows of the table, by their headings."""
    lines: dict[str, list[str]] = table.evaluate(
        """(table) => Object.fromEntries([...table.querySelectorAll("tbody tr")].map((line) => [
          (line.querySelector("code") ?? line.querySelector("th")).textContent,
          [...line.querySelectorAll("td")].map((cell) => cell.textContent),
        ]))"""
    )
    return lines


def test_the_parts_are_named_and_sum_up_to_the_whole(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """The destination writes for a second and confirms a second later.

    Both parts show it, and the verdict is the destination's share.
    """
    page = visit(slow(rate=3e6, yes=1).url)
    page.choose(make_file("film.mp4", 3_000_000))
    page.wait_for("film.mp4", "done", 30)
    shown = cells(page.unfold("film.mp4").locator("table"))

    assert list(shown) == [*PARTS, "all of it"]
    whole = seconds(shown["all of it"][0])
    assert seconds(shown["wait-for-answer"][0]) >= 1
    assert seconds(shown["destination"][0]) >= 0.5
    assert (
        abs(sum(seconds(shown[part][0]) for part in PARTS) - whole) <= 0.25
    )  # each is rounded, to 0.1 s at most
    shares = [float(re.findall(r"\d+", shown[part][1])[0]) for part in PARTS]
    assert abs(sum(shares) - 100) <= 5
    verdict = page.row("film.mp4").locator(".verdict")
    expect(verdict).to_have_text(re.compile(r"time: \d+ % disk$"))
    percent = int(re.findall(r"\d+", verdict.inner_text())[0])
    assert abs(percent - sum(shares[-2:])) <= 2


def test_a_failed_upload_shows_its_times_too(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """A refusal has details if the response has the times."""
    page = visit(serve("--max-size", "1MB").url)
    page.choose(make_file("big.iso", 3_000_000))
    page.wait_for("big.iso", "failed")

    assert list(cells(page.unfold("big.iso").locator("table"))) == [*PARTS, "all of it"]
    expect(page.row("big.iso").locator(".verdict")).to_have_text(
        re.compile(r"time: \d+ % (client|sluiceway|destination)$")
    )


def test_the_keyboard_unfolds_them_and_they_stay_unfolded(
    visit: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Tab from Cancel, then Enter: the counters.

    After the upload, the times are in the same place and the focus has not moved.
    """
    page = visit(slow(rate=4e6).url)
    page.choose(make_file("film.mp4", 12_000_000))
    expect(page.status("film.mp4")).to_have_text(re.compile(r"^arrived at the destination: [1-9]"))
    page.page.get_by_role("button", name="Cancel film.mp4").focus()
    page.page.keyboard.press("Tab")
    focused = (
        "() => document.activeElement.matches('summary')"
        " && [...document.activeElement.children].filter((one) => !one.ariaHidden)"
        ".map((one) => one.textContent).join('')"
    )
    assert page.page.evaluate(focused) == "Details of film.mp4"

    details = page.row("film.mp4").locator(".details")
    expect(details.locator(".folded")).to_be_hidden()
    page.page.keyboard.press("Enter")
    for word in (
        "left this browser",
        "arrived at the server",
        "handed to the destination",
        "arrived at the destination",
    ):
        expect(details.locator(".counters")).to_contain_text(word)
    expect(details.locator(".kept-by")).to_have_text(
        "The destination has acknowledged this. It is kept when the file is complete."
    )
    page.wait_for("film.mp4", "done", 30)
    expect(details.locator(".counters")).to_be_hidden()
    expect(details.get_by_role("table", name="Where the time went")).to_be_visible()
    expect(
        details.get_by_role("rowheader", name="wait-for-answer the destination had all")
    ).to_be_visible()
    assert re.match(r"Details of film\.mp4 · time: \d+ % ", page.page.evaluate(focused))
    page.page.keyboard.press("Space")
    expect(details.get_by_role("table")).to_be_hidden()


def test_a_row_without_details_cannot_be_unfolded(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """There is no Server-Timing, as from another server or through a proxy that drops it.

    The row has no empty details.
    """
    page = visit(serve().url)

    def drop_timing(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        kept = {name: value for name, value in answer.headers.items() if name != "server-timing"}
        route.fulfill(response=answer, headers=kept)  # type: ignore[attr-defined]

    page.page.route("**/files?upload=*", drop_timing)
    page.choose(make_file("a.txt", 1000))
    page.wait_for("a.txt", "done")
    expect(page.row("a.txt").locator(".details")).to_be_hidden()
