"""The page at a gateway shows the backend's own answer: a refusal in words, a success's link."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenPage
from browser.uploads_page import UploadsPage
from fix_gateway import Gateway, says
from fix_server import Serve
from fix_taking import TORTURE
from rude_peer import Exchange, Peer

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
Act = Callable[[Exchange], None]
MB = 1_000_000


@dataclass
class Backend:
    """A backend that does what the test sets last, and the page of the gateway before it."""

    peer: Peer
    page: UploadsPage
    act: Act | None = None

    def begin(self, act: Act) -> UploadsPage:
        """The page without rows: a reload is cheaper than one more gateway and browser context."""
        self.act = act
        self.page.page.reload()
        self.page.page.locator("main").wait_for()
        return self.page


@pytest.fixture
def backend(gateway: Gateway, visit: OpenPage) -> Iterator[Backend]:
    def act(exchange: Exchange) -> None:
        assert running.act is not None
        running.act(exchange)

    with Peer(act) as peer:
        server = gateway(f"{peer.url}/books", "--relay-show-backend")
        running = Backend(peer, visit(server.url))
        yield running


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


# One of each kind that the page distinguishes; the long proofs send all.
FEW_REFUSALS = ("html", "a list in JSON", "text", "nothing")
FEW_SUCCESSES = ("204 with nothing", "201 with a relative place", "a place that is a script")


def some(cases: dict[str, Any], few: tuple[str, ...]) -> dict[str, Any]:
    return cases if TORTURE else {name: cases[name] for name in few}


def test_a_refusal_of_the_backend_is_shown_in_words(backend: Backend, make_file: MakeFile) -> None:
    """For a body of any type.

    The row shows the status, its meaning, the backend's own text as plain text, and advice.
    """
    for name, (act, title, advice) in some(REFUSALS, FEW_REFUSALS).items():
        page = backend.begin(act)
        page.choose(make_file("emma.csv", 300_000))
        row = page.wait_for("emma.csv", "failed")

        expect(row.locator(".status"), name).to_have_text(title)
        expect(row.locator(".advice"), name).to_have_text(advice)
        for button in ("Retry emma.csv", "Retry 1 failed"):
            again = expect(page.page.get_by_role("button", name=button), name)
            # Of these 4xx, a person can take away only what is in the way; "all" leaves it to them.
            helps = not re.search("answered 4" if "1 f" in button else "answered 4(?!09)", title)
            again.to_be_visible() if helps else again.to_be_hidden()
        expect(page.unfold("emma.csv").locator("table"), name).to_contain_text("wait-for-answer")
        assert page.page.title() == "1 failed – Sluiceway", name


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


def test_every_2xx_is_a_success_and_only_a_safe_location_is_a_link(
    backend: Backend, make_file: MakeFile
) -> None:
    """Any 2xx with any body is a success. Location is the link, an entry's relative url is not.

    The page shows a digest only if the response has one.
    """
    for name, (act, words, link) in some(YES, FEW_SUCCESSES).items():
        page = backend.begin(act)
        page.choose(make_file("emma.txt", 200_000))
        row = page.wait_for("emma.txt", "done")

        expect(row.locator(".status"), name).to_have_text(re.compile(f"^{words}"))
        expect(row.locator(".percent"), name).to_have_text("100 %")
        expect(row.locator(".digest"), name).to_be_hidden()
        expect(row.get_by_role("button", name="Copy"), name).to_be_hidden()
        shown = row.locator(".receipt .link")
        if link is None:
            expect(shown, name).to_be_hidden()
        else:
            href = link if "://" in link else backend.peer.url + link
            expect(shown, name).to_have_attribute("href", href)
            expect(shown, name).to_have_text(re.compile("^Open at "))
        expect(page.unfold("emma.txt"), name).to_contain_text("The destination answered 20")


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


def test_a_note_of_the_server_stands_in_the_details(backend: Backend, make_file: MakeFile) -> None:
    """The answer is too long to be passed on: the file is stored, and the note says what is
    missing.
    """
    page = backend.begin(says(200, "text/plain", b"x" * 4 * MB))
    page.choose(make_file("emma.txt", 200_000))
    page.wait_for("emma.txt", "done")

    notes = page.unfold("emma.txt").get_by_role("list", name="Notes")
    expect(notes).to_have_text("The destination's answer was too long to be passed on")
