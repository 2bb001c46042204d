"""The bar follows the destination, and shows 100 % only after the server's success response."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from browser.conftest import OpenPage
from browser.slow_destination import SlowServer
from browser.uploads_page import Sample
from fix_server import Serve

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Slow = Callable[..., SlowServer]
GIB = 1 << 30


@pytest.fixture
def recorded(visit: OpenPage) -> OpenPage:
    """Open the page with a recorder that samples every frame and every change of the document."""
    return partial(visit, recorded=True)


def full(sample: Sample) -> bool:
    """Whether this sample claims completeness, to the eye or to a screen reader."""
    texts = (sample.percent, sample.words, sample.title)
    return (
        any(re.search(r"\b100 ?%|^all ", text) for text in texts)
        or sample.value >= 100
        or max(sample.kept, sample.arrived) > 0.9999
        or sample.status.startswith("stored")
    )


def test_the_bar_is_never_full_before_the_servers_answer(
    recorded: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """A slow destination that confirms late: the test checks every frame.

    The bar is full only after the answer.
    """
    page = recorded(slow(rate=8e6, yes=1.5).url)
    page.choose(make_file("film.mp4", 12_000_000))
    page.wait_for("film.mp4", "done", 30)
    page.page.wait_for_timeout(500)  # the layers glide to their end

    samples = page.samples()
    before = [sample for sample in samples if not sample.answered]
    assert len(before) > 20  # frames; a busy machine draws few
    assert [sample for sample in before if full(sample)] == []
    assert full(samples[-1])
    assert samples[-1].percent == "100 %"
    assert samples[-1].kept > 0.9999


def test_the_bar_shows_kept_bytes_and_arrived_bytes(
    recorded: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Kept grows step by step, never shrinks and never exceeds arrived. The text shows both."""
    page = recorded(slow(rate=3e6).url)  # 5 s, so that a browser that stalls sees four
    page.choose(make_file("film.mp4", 15_000_000))
    page.wait_for("film.mp4", "done", 30)

    live = [
        sample
        for sample in page.samples()
        if sample.status.startswith("arrived at the destination: ")
    ]
    values = [sample.value for sample in live]
    assert len(set(values)) >= 4
    assert values == sorted(values)
    assert all(sample.kept <= sample.arrived + 0.001 for sample in live)
    ahead = 0.0
    for sample in live:
        kept, arrived = (
            float(number)
            for number in re.findall(r"(?:destination|server): ([\d.]+) [kM]?B", sample.words)
        )
        if "kB" not in sample.words and " B" not in sample.words:
            assert abs(sample.value - 100 * kept / 15) <= 1.4, (
                sample
            )  # the words are rounded to 0.1 MB
            ahead = max(ahead, arrived - kept)
    assert ahead > 0.2  # and what arrived is not what is kept
    assert any(
        re.search(
            r"^arrived at the destination: [\d.]+ MB of 15 MB · at the server: [\d.]+ MB",
            sample.status,
        )
        for sample in live
    )
    assert any(re.search(r"MB/s · .* left$", sample.status) for sample in live)
    assert any(
        re.search(
            r"^arrived at the destination: [\d.]+ MB of 15 MB, at the server: [\d.]+ MB$",
            sample.words,
        )
        for sample in live
    )


def test_after_the_last_byte_the_row_says_what_is_missing(
    recorded: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Everything has arrived, and the destination has not confirmed.

    The row says so; the bar is not full.
    """
    page = recorded(slow(yes=1.5).url)
    page.choose(make_file("film.mp4", 3_000_000))
    page.wait_for("film.mp4", "finishing")

    expect(page.status("film.mp4")).to_have_text(re.compile("arrived – |sent all|being checked"))
    page.wait_for("film.mp4", "done")
    statuses = {sample.status for sample in page.samples()}
    waiting = re.compile("destination is still writing|waiting for the destination|being checked")
    assert any(waiting.search(text) for text in statuses), statuses


def test_arrived_counts_only_bytes_that_the_server_has(
    recorded: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """Megabytes that left the browser stay in network buffers for seconds.

    They are not "arrived" until the server has them.
    """
    page = recorded(slow(rate=6e6).url)
    page.choose(make_file("film.mp4", 15_000_000))
    page.wait_for("film.mp4", "done", 30)

    finishing = [sample for sample in page.samples() if sample.state == "finishing"]
    on_the_way = [
        sample for sample in finishing if sample.status.startswith("arrived at the destination: ")
    ]
    claimed = [
        sample for sample in finishing if sample.status.startswith("arrived – the destination")
    ]
    assert on_the_way  # else this machine has no such buffers and the test shows nothing
    assert all(sample.words.endswith("at the server: 15 MB") for sample in claimed)


def test_an_empty_file_is_stored_and_full_only_then(
    recorded: OpenPage, slow: Slow, make_file: MakeFile
) -> None:
    """A file without bytes must not be full early, or cause a division by zero."""
    page = recorded(slow(yes=0.6).url)
    page.choose(make_file("empty.txt", 0))
    row = page.wait_for("empty.txt", "done")

    expect(row.locator(".percent")).to_have_text("100 %")
    assert [sample for sample in page.samples() if not sample.answered and full(sample)] == []


def test_without_server_reports_the_bar_shows_only_sent_bytes(
    recorded: OpenPage, context: BrowserContext, slow: Slow, make_file: MakeFile
) -> None:
    """Neither the event stream nor polling works.

    The bar shows the bytes sent, calls them "sent", and stays below full.
    """
    context.route(re.compile(r"//[^/]+/uploads/"), lambda route: route.abort())
    page = recorded(slow(rate=8e6, yes=0.5).url)
    page.choose(make_file("film.mp4", 12_000_000))
    page.wait_for("film.mp4", "done", 30)

    before = [
        sample
        for sample in page.samples()
        if not sample.answered and sample.state in ("sending", "finishing")
    ]
    assert any(re.search(r"\d % sent", sample.percent) for sample in before)
    assert all(sample.value == 0 and sample.kept == 0 for sample in before)
    assert all("kept" not in sample.status and "kept" not in sample.words for sample in before)
    assert [sample for sample in before if full(sample)] == []


def test_the_page_polls_where_a_proxy_buffers_the_stream(
    recorded: OpenPage, context: BrowserContext, slow: Slow, make_file: MakeFile
) -> None:
    """The page replaces a silent stream by one request a second.

    The bar shows kept all the same.
    """

    def hold_back(route: Route) -> None:
        if "text/event-stream" not in route.request.headers.get("accept", ""):
            # the others hang, as behind a proxy that gathers an answer before it passes it on
            route.continue_()

    context.route(re.compile(r"//[^/]+/uploads/"), hold_back)
    page = recorded(slow(rate=2e6).url)
    page.choose(make_file("film.mp4", 20_000_000))

    expect(page.status("film.mp4")).to_have_text(
        re.compile(r"^arrived at the destination: [1-9]"), timeout=15_000
    )
    page.page.get_by_role("button", name="Cancel film.mp4").click()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("size", "shown", "values"),
    [(GIB // 32, "33.6 MB", 1), pytest.param(2 * GIB, "2.1 GB", 5, marks=pytest.mark.torture)],
    ids=["32 MiB", "2 GiB"],
)
def test_a_large_file_is_stored_with_the_right_digest(
    serve: Serve, recorded: OpenPage, make_file: MakeFile, size: int, shown: str, values: int
) -> None:
    """Also one larger than a 32-bit count. The bar is right throughout and shows more than
    `values` values.
    """
    server = serve()
    page = recorded(server.url)
    file = make_file("disk.img", size)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()

    page.choose(file)
    row = page.wait_for("disk.img", "done", 150)

    assert list(server.stored().values()) == [size]
    expect(row.locator(".digest code")).to_have_attribute("title", digest)
    expect(row.locator(".size")).to_have_text(shown)
    samples = page.samples()
    assert [sample for sample in samples if not sample.answered and full(sample)] == []
    assert len({sample.value for sample in samples}) > values
