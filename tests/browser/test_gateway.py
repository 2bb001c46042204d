"""The page at a gateway.

The bar waits for the destination's server, and the row shows that server's answer.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import OpenPage
from browser.test_sluice_drop import drop, events
from browser.uploads_page import Sample, UploadsPage
from fix_gateway import Gateway
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


def says(status: int, kind: str, body: bytes, **headers: str) -> Callable[[Exchange], None]:
    """A backend that reads everything and sends this answer."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange.reply(status, {**({"Content-Type": kind} if kind else {}), **sent_headers}, body)

    return act


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
    context: BrowserContext, serve: Serve, gateway: Gateway, visit: OpenPage, tmp_path: Path
) -> None:
    """Page, gateway, second server, disk: bytes, link and digest are right.

    The bar is full only after the answer.
    """
    UploadsPage.record(context)
    back = serve()
    front = gateway(f"{back.url}/files", "--relay-show-backend")
    page = visit(front.url)
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
    with context.expect_page() as opened:
        link.click()
    # Not wait_for_load_state: the load of so plain a page may be over before anybody waits for it.
    expect(opened.value.locator("body")).to_contain_text("Dear reader,")
    assert opened.value.url == f"{back.url}/files/{key}"


def test_the_bar_stays_below_full_until_the_backend_answers(
    context: BrowserContext, gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The backend reads in steps, stops, reads everything and delays its answer.

    The bar stops too, and the text says why.
    """
    UploadsPage.record(context)
    backend = Reader()
    with page_before(gateway, visit, backend) as page:
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


REFUSALS = {
    "html": (
        says(
            413,
            "text/html",
            b"<html><title>x</title><h1>No images of disks here</h1>"
            b"<script>document.title = 'run'</script>",
        ),
        "The destination answered 413: the file is too large for it.",
        "It says: “No images of disks here”. Send a smaller file.",
    ),
    "a list in JSON": (
        says(
            422,
            "application/json",
            json.dumps({"detail": [{"loc": ["file"], "msg": "no column <isbn>"}]}).encode(),
        ),
        "The destination answered 422: it does not accept this file.",
        "It says: “no column <isbn>”. Change the file, then send it again.",
    ),
    "a message in JSON": (
        says(409, "application/json", b'{"error": {"code": 17, "message": "Emma is there"}}'),
        "The destination answered 409: something of that name is there already.",
        "It says: “Emma is there”. Rename the file, or take the other one away there, then retry.",
    ),
    "problem": (
        says(
            507,
            "application/problem+json",
            b'{"title": "Full", "detail": "The shelf is full", "status": 507}',
        ),
        "The destination answered 507: it is full.",
        "It says: “The shelf is full”. Make room there, then retry.",
    ),
    "text": (
        says(503, "text/plain", b"at\ttea\n", Retry_After="120"),
        "The destination answered 503: it is stopping or too busy.",
        "It says: “at tea”. It asks to come back in 2 min 0 s.",
    ),
    "html by another name": (
        says(500, "text/plain", b"<!doctype html><p>Traceback of 4000 lines"),
        "The destination answered 500: it failed.",
        "Retry in a while.",
    ),
    "nothing": (
        says(418, "", b""),
        "The destination answered 418: it refused the file.",
        "Tell whoever runs the server.",
    ),
}


@pytest.mark.parametrize(("act", "title", "advice"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_of_the_backend_is_shown_in_words(
    gateway: Gateway,
    visit: OpenPage,
    make_file: MakeFile,
    act: Callable[[Exchange], None],
    title: str,
    advice: str,
) -> None:
    """For a body of any type.

    The row shows the status, its meaning, the backend's own text as plain text, and advice.
    """
    with page_before(gateway, visit, act) as page:
        page.choose(make_file("emma.csv", 300_000))
        row = page.wait_for("emma.csv", "failed")

        expect(row.locator(".status")).to_have_text(title)
        expect(row.locator(".advice")).to_have_text(advice)
        expect(page.page.get_by_role("button", name="Retry emma.csv")).to_be_visible()
        again = page.page.get_by_role("button", name="Retry 1 failed")
        expect(again).to_be_hidden() if "413" in title or "422" in title else expect(
            again
        ).to_be_visible()
        expect(page.unfold("emma.csv").locator("table")).to_contain_text("wait-for-answer")
        assert page.page.title() == "1 failed – Sluiceway"


def test_an_early_refusal_stops_a_large_file(
    gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The backend answers after the head of 700 MB.

    The row shows its text although most bytes were never sent.
    """

    def early(exchange: Exchange) -> None:
        exchange.wait()
        exchange.reply(415, {"Content-Type": "text/plain"}, b"books only")

    with Peer(early) as peer:
        front = gateway(f"{peer.url}/books", "--relay-show-backend")
        page = visit(front.url)
        page.choose(make_file("film.mp4", 700 * MB))
        row = page.wait_for("film.mp4", "failed", 30)

        expect(row.locator(".status")).to_have_text(
            "The destination answered 415: it does not take this kind of file."
        )
        expect(row.locator(".advice")).to_contain_text("It says: “books only”.")


YES = {
    "200 with its own JSON": (
        says(200, "application/json", b'{"book": "updated"}'),
        "stored",
        None,
    ),
    "204 with nothing": (says(204, "", b""), "stored", None),
    "201 with a relative place": (
        says(201, "text/html", b"<h1>ok</h1>", Location="/books/7"),
        "stored",
        "/books/7",
    ),
    "202 with a place elsewhere": (
        says(202, "text/plain", b"Queued", Location="https://books.example/42"),
        "accepted in",
        "https://books.example/42",
    ),
    "a place that is a script": (
        says(201, "", b"", Location="javascript:alert(1)"),
        "stored",
        None,
    ),
    "an entry of its own": (
        says(
            201,
            "application/json",
            json.dumps({"files": [{"url": "/files/7", "sha-256": "<b>", "notes": "x"}]}).encode(),
        ),
        "stored",
        None,
    ),
    "files that are none": (
        says(201, "application/json", b'{"files": [null], "verdict": 7}'),
        "stored",
        None,
    ),
}


@pytest.mark.parametrize(("act", "words", "link"), YES.values(), ids=YES)
def test_every_2xx_is_a_success_and_only_a_safe_location_is_a_link(
    gateway: Gateway,
    visit: OpenPage,
    make_file: MakeFile,
    act: Callable[[Exchange], None],
    words: str,
    link: str | None,
) -> None:
    """Any 2xx with any body is a success. Location is the link, an entry's relative url is not.

    The page shows a digest only if the response has one.
    """
    with Peer(act) as peer:
        page = visit(gateway(f"{peer.url}/books", "--relay-show-backend").url)
        page.choose(make_file("emma.txt", 200_000))
        row = page.wait_for("emma.txt", "done")

        expect(row.locator(".status")).to_have_text(re.compile(f"^{words}"))
        expect(row.locator(".percent")).to_have_text("100 %")
        expect(row.locator(".digest")).to_be_hidden()
        expect(row.get_by_role("button", name="Copy")).to_be_hidden()
        shown = row.locator(".receipt .link")
        if link is None:
            expect(shown).to_be_hidden()
        else:
            expect(shown).to_have_attribute("href", link if "://" in link else peer.url + link)
            expect(shown).to_have_text(re.compile("^Open at "))
        expect(page.unfold("emma.txt")).to_contain_text("The destination answered 20")


def test_a_place_is_a_link_only_over_http_and_under_its_own_name(
    serve: Serve, visit: OpenPage
) -> None:
    """Scripts, data, files and addresses that begin with another host's name are never links."""
    page = visit(serve().url).page
    safe = (
        "(address) => import('/page/uploads/response.js')"
        ".then(({ httpLink }) => httpLink(address, 'https://a.example/files'))"
    )

    assert page.evaluate(safe, "/files/7") == "https://a.example/files/7"
    assert page.evaluate(safe, "http://b.example:9/x?y#z") == "http://b.example:9/x?y#z"
    for address in (
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc",
        "http://bank.example@b.example/",
        "http://",
        "",
        7,
        None,
    ):
        assert page.evaluate(safe, address) == "", address


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


def test_a_note_of_the_server_stands_in_the_details(
    gateway: Gateway, visit: OpenPage, make_file: MakeFile
) -> None:
    """The answer is too long to be passed on: the file is stored, and the note says what is
    missing.
    """
    with page_before(gateway, visit, says(200, "text/plain", b"x" * 4 * MB)) as page:
        page.choose(make_file("emma.txt", 200_000))
        page.wait_for("emma.txt", "done")

        notes = page.unfold("emma.txt").get_by_role("list", name="Notes")
        expect(notes).to_have_text("The destination's answer was too long to be passed on")


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
