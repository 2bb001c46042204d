"""The page at a gateway.

The bar waits for the destination's server, and the row shows that server's answer.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import OpenPage
from browser.test_sluice_drop import drop, events
from browser.uploads_page import Sample, UploadsPage
from fix_gateway import Gateway, says
from fix_server import Serve
from rude_peer import Exchange, Peer

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
MB = 1_000_000
WAITING = "arrived – waiting for the destination's answer"
BY_KERNEL = "The destination's network has acknowledged this, the destination itself has not yet."


class Reader:
    """A backend that reads and answers only when the test lets it."""

    def __init__(self) -> None:
        self.allowed = 0  # bytes of the request's body
        self.taken = 0
        self.moved = threading.Condition()
        self.answer: Callable[[Exchange], None] | None = None

    def allow(self, upto: int) -> None:
        with self.moved:
            self.allowed = upto
            self.moved.notify_all()

    def say(self, answer: Callable[[Exchange], None]) -> None:
        with self.moved:
            self.answer = answer
            self.moved.notify_all()

    def __call__(self, exchange: Exchange) -> None:
        # Loopback would buffer megabytes: what its kernel acknowledged and what it has read would
        # be far apart.
        exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        length = int(exchange.headers["content-length"])
        while self.taken < length:
            with self.moved:
                self.moved.wait_for(lambda: self.allowed > self.taken, 30)
            data = exchange.recv(min(65536, self.allowed - self.taken))
            if not data:
                return
            self.taken += len(data)
        with self.moved:
            self.moved.wait_for(lambda: self.answer is not None, 30)
        if self.answer:
            self.answer(exchange)


@contextmanager
def page_before(
    gateway: Gateway, visit: OpenPage, act: Callable[[Exchange], object]
) -> Iterator[UploadsPage]:
    with Peer(act) as peer:
        yield visit(gateway(f"{peer.url}/books", "--relay-show-backend").url)


def full(sample: Sample) -> bool:
    texts = (sample.percent, sample.words, sample.title)
    return (
        any(re.search(r"\b100 ?%|^all ", text) for text in texts)
        or sample.value >= 100
        or max(sample.kept, sample.arrived) > 0.9999
        or sample.status.startswith("stored")
    )


def test_a_file_goes_through_to_the_next_server_and_the_link_leads_to_it(
    serve: Serve, gateway: Gateway, visit: OpenPage, tmp_path: Path
) -> None:
    """Page, gateway, second server, disk: bytes, link and digest are right.

    The bar is full only after the answer.
    """
    back = serve()
    front = gateway(f"{back.url}/files", "--relay-show-backend")
    page = visit(front.url, recorded=True)
    expect(page.page.locator("#stored-note")).to_contain_text(
        "This server keeps no files: it passes them on"
    )
    file = tmp_path / "letter.txt"
    file.write_text("Dear reader,\n" * 40_000)
    page.choose(file)
    row = page.wait_for("letter.txt", "done")

    (key,) = back.stored()
    assert (back.root / key).read_bytes() == file.read_bytes()
    assert [sample for sample in page.samples() if not sample.answered and full(sample)] == []
    link = row.locator(".receipt .link")
    expect(link).to_have_text(f"Open at {back.url.removeprefix('http://')}")
    expect(link).to_have_attribute("href", f"{back.url}/files/{key}")
    expect(link).to_have_attribute("rel", "noopener")
    expect(row.locator(".digest code")).to_have_attribute("title", re.compile(r"^[0-9a-f]{64}$"))
    with page.page.context.expect_page() as opened:
        link.click()
    # Not wait_for_load_state: the load of so plain a page may be over before anybody waits for it.
    expect(opened.value.locator("body")).to_contain_text("Dear reader,")
    assert opened.value.url == f"{back.url}/files/{key}"


def test_the_bar_stays_below_full_until_the_backend_answers(
    gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The backend reads in steps, stops, reads everything and delays its answer.

    The bar stops too, and the text says why.
    """
    backend = Reader()
    with page_before(gateway, partial(visit, recorded=True), backend) as page:
        page.choose(make_file("film.mp4", 24 * MB))
        row, bar = page.row("film.mp4"), page.row("film.mp4").get_by_role("progressbar")
        details = page.unfold("film.mp4")
        for step in (6, 14):
            backend.allow(step * MB)
            near = "|".join(
                str(value) for value in range(100 * (step - 1) // 24, 100 * (step + 2) // 24)
            )
            expect(bar).to_have_attribute("aria-valuenow", re.compile(f"^({near})$"))
            page.page.wait_for_timeout(1000)
            assert (
                step - 1 < float(bar.get_attribute("aria-valuenow") or 0) * 0.24 < step + 2
            )  # there it stays
        expect(page.page.locator("#legend")).to_contain_text(
            "arrived at the destination, as its network says"
        )
        expect(details).to_contain_text(BY_KERNEL)

        backend.allow(100 * MB)
        expect(page.status("film.mp4")).to_have_text(
            re.compile(re.escape(WAITING) + r" · [1-9]\d* s$")
        )
        expect(row.locator(".percent")).to_have_text("99 %")
        expect(details).to_contain_text(BY_KERNEL)
        assert [sample for sample in page.samples() if full(sample)] == []

        backend.say(lambda exchange: exchange.reply(201, {"Location": "/books/7"}))
        page.wait_for("film.mp4", "done")
        expect(row.locator(".percent")).to_have_text("100 %")
        samples = page.samples()
    values = [sample.value for sample in samples]
    assert values == sorted(values)
    assert [sample for sample in samples if not sample.answered and full(sample)] == []


def test_the_backends_text_stands_in_the_details(
    gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The details quote the text of a success.

    They also say that most of the time was the "backend" part.
    """
    backend = Reader()
    with page_before(gateway, visit, backend) as page:
        page.choose(make_file("emma.txt", 400_000))
        backend.allow(MB)
        expect(page.status("emma.txt")).to_have_text(
            re.compile(re.escape(WAITING) + r" · [1-9] s$")
        )
        backend.say(
            lambda exchange: exchange.reply(
                202, {"Content-Type": "application/json"}, b'{"message": "Queued as 17"}'
            )
        )
        page.wait_for("emma.txt", "done")

        details = page.unfold("emma.txt")
        expect(details).to_contain_text("The destination answered 202: “Queued as 17”.")
        expect(page.row("emma.txt").locator(".verdict")).to_have_text(
            re.compile(r"time: (100|[6-9]\d) % backend$")
        )
        (answer,) = details.locator("tr", has_text="wait-for-answer").all()
        assert float(re.findall(r"([\d.]+) s", answer.inner_text())[0]) >= 1


def test_an_unreachable_destination_is_shown_and_the_queue_pauses(
    gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The backend is down.

    The row blames the destination, not this server, and the queue does not try the other files.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    page = visit(gateway(f"http://127.0.0.1:{port}/books").url)
    page.choose(*(make_file(f"{name}.txt", 200_000) for name in "abcd"))
    row = page.wait_for("a.txt", "failed")

    expect(row.locator(".status")).to_have_text(
        "The destination cannot be reached; nothing was stored."
    )
    expect(row.locator(".advice")).to_contain_text("Retry in a while")
    expect(page.summary).to_contain_text("paused")
    expect(page.row("d.txt")).to_have_attribute("data-state", "waiting")


def test_the_details_name_each_of_several_destinations(
    serve: Serve, gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """Two servers accept the file, a best-effort one refuses it.

    The details name all three with their answers, and link to the copies.
    """
    one, two = serve(), serve()
    with Peer(says(507, "text/plain", b"full")) as third:
        more = ("--to", f"{two.url}/files", "--to", f"best-effort:{third.url}/books")
        page = visit(gateway(f"{one.url}/files", "--relay-show-backend", *more).url)
        page.choose(make_file("emma.txt", 200_000))
        page.wait_for("emma.txt", "done")
        details = page.unfold("emma.txt")

        places = details.get_by_role("list", name="Destinations").locator("li")
        expect(places).to_have_count(3)
        for place, server in ((places.nth(0), one), (places.nth(1), two)):
            expect(place).to_contain_text(f"{server.url}/files – required · answered 201")
            link = place.get_by_role("link", name=f"Open at {server.url}/files")
            address = link.get_attribute("href") or ""
            assert address.startswith(f"{server.url}/files/")
            assert len(requests.get(address, timeout=10).content) == 200_000
        expect(places.nth(2)).to_contain_text("best effort")
        expect(places.nth(2)).to_contain_text("507")
        expect(places.nth(2).get_by_role("link")).to_have_count(0)
        assert (
            details.inner_text().count(f"{third.url}/books") <= 2
        )  # a note of a destination is not repeated


def test_the_elements_event_has_the_files_location(
    context: BrowserContext, serve: Serve, gateway: Gateway, make_file: MakeFile
) -> None:
    """<sluice-drop> at a gateway.

    The event carries the link at the second server, and who took the time.
    """
    back = serve()
    front = gateway(f"{back.url}/files", "--relay-show-backend")
    page: Page = context.new_page()
    html = (
        '<script type="module" src="/page/sluice.js"></script>'
        '<sluice-drop id="emma"><h2>Emma</h2></sluice-drop>'
    )
    page.route(
        f"{front.url}/shelf",
        lambda route: route.fulfill(body=html, headers={"Content-Type": "text/html"}),
    )
    page.goto(f"{front.url}/shelf")
    page.evaluate(
        """() => {
          window.events = [];
          document.addEventListener("sluice-done", ({ target, detail }) =>
            window.events.push(["sluice-done", target.id, detail]));
        }"""
    )
    expect(page.get_by_role("button", name="Add")).to_be_visible()
    drop(page, make_file("emma.epub", 300_000))
    expect(page.locator("sluice-drop .status")).to_contain_text("stored, finished in")

    (done,) = events(page, "sluice-done")
    (key,) = back.stored()
    assert done["links"] == [f"{back.url}/files/{key}"]
    assert done["entries"][0]["url"] == f"{back.url}/files/{key}"
    assert re.fullmatch(r"\d+ % (backend|client|sluiceway)", done["verdicts"][0])
