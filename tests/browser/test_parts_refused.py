"""Parts of a large file that a server does not take: the file arrives all the same.

Real servers with limits, and faults on the way to them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

import sluiceway
from browser.parts_page import (
    SIZE,
    OpenParts,
    check_bar,
    film_of,
    wait_until_nothing_lasts,
)
from browser.test_resumed_uploads import check_stored, wait_for, wait_until_kept
from cutting_proxy import CuttingProxy
from fix_server import Serve
from losing_proxy import LosingProxy
from sluiceway.server.access.link_keys import add_key, first_key
from token_names import secret_of, token_file
from webhook_receiver import WebhookReceiver

pytestmark = [pytest.mark.chromium, pytest.mark.torture]

ALIKE = ("--key-template", "{path}")


def test_a_file_that_takes_the_whole_quota_goes_in_parts(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    """Its parts are of its own bytes: they are not counted beside it."""
    server, film = serve(*ALIKE, "--quota", str(SIZE)), film_of(tmp_path, SIZE)
    with CuttingProxy(server.port, cut=5_000_000, rate=6e6) as proxy:
        page = open_parts(proxy.url)
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert page.most == 3
        wait_until_nothing_lasts(page, server)
    check_stored(server, film)
    check_bar(page)


def test_a_link_takes_a_file_in_parts(serve: Serve, open_parts: OpenParts, tmp_path: Path) -> None:
    """Also one for a single file of at most its size, of one type."""
    keys, film = tmp_path / "keys", film_of(tmp_path, SIZE)
    add_key(str(keys))
    options = "--link-key-file", str(keys), "--state", str(tmp_path / "state")
    server = serve("--token", "the-token-of-the-admin", *options)
    with CuttingProxy(server.port, rate=6e6) as proxy:
        link = sluiceway.link(
            proxy.url,
            first_key(str(keys)),
            prefix="inbox/",
            count=1,
            max_size=SIZE,
            types=["video/*"],
        )
        page = open_parts(link.rstrip("/"))
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert page.most == 3
        wait_until_nothing_lasts(page, server)
    assert list(server.stored().values()) == [SIZE]


def test_a_name_with_a_token_sends_parts(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    film = film_of(tmp_path, SIZE)
    tokens = token_file(tmp_path / "tokens", {"ann": f"upload,read,list quota={SIZE}"})
    server = serve(*ALIKE, "--token-file", str(tokens))
    with CuttingProxy(server.port, rate=6e6) as proxy:
        page = open_parts(proxy.url.replace("//", f"//ann:{secret_of('ann')}@"))
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert page.most == 3
    check_stored(server, film)


@pytest.mark.parametrize("status", [400, 403, 404, 413])
@pytest.mark.parametrize("after", [0, 2])
def test_the_beginning_takes_what_is_refused_as_a_part(
    serve: Serve, open_parts: OpenParts, tmp_path: Path, status: int, after: int
) -> None:
    """All parts, or those after the second one. None is left at the server."""
    server, film, made = serve(*ALIKE), film_of(tmp_path, SIZE), 0

    def refuse(route: Route) -> None:
        nonlocal made
        if "upload-concat" not in route.request.headers:
            return route.continue_()
        made += 1
        if made <= after:
            return route.continue_()
        return route.fulfill(status=status, json={"title": "Not here", "status": status})

    with CuttingProxy(server.port, rate=6e6) as proxy:
        page = open_parts(proxy.url, refused=True)
        page.page.route("**/files", refuse)
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert made > after
        wait_until_nothing_lasts(page, server)
    check_stored(server, film)


def test_a_join_that_is_refused_twice_is_given_up(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    """A server of another version between them, say: one connection sends the rest."""
    server, film = serve(*ALIKE), film_of(tmp_path, SIZE)

    def refuse(route: Route) -> None:
        if "upload-parts" not in route.request.headers:
            return route.continue_()
        return route.fulfill(status=400, json={"title": "What?", "status": 400})

    with CuttingProxy(server.port, rate=6e6) as proxy:
        page = open_parts(proxy.url, refused=True)
        page.page.route("**/uploads/*", refuse)
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        wait_until_nothing_lasts(page, server)
    check_stored(server, film)


def test_a_join_whose_response_is_lost_is_not_made_twice(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    server, film = serve(), film_of(tmp_path, SIZE)
    with LosingProxy(server.port, b"upload-parts:") as proxy:
        page = open_parts(proxy.url)
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert proxy.lost == 1
        wait_until_nothing_lasts(page, server)
    ((key, size),) = server.stored().items()
    assert size == SIZE
    assert (server.root / key).read_bytes() == film.read_bytes()
    check_bar(page)


def test_a_hook_that_refuses_is_shown_in_its_words(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    """Before the first byte of a file in parts, and behind the last one of a small file."""

    def decide(event: dict[str, Any]) -> tuple[int, object]:
        small = event["data"]["size"] != SIZE
        if event["type"].endswith("kept" if small else "started"):
            return 200, {"refuse": {"detail": f"Not {event['data']['filename']}", "status": 415}}
        return 204, None

    small = tmp_path / "small.txt"
    small.write_bytes(b"abc")
    with WebhookReceiver(decide=decide) as receiver:
        server = serve("--on-start", receiver.url, "--on-kept", receiver.url, env=receiver.env)
        page = open_parts(server.url)
        page.use(3)
        for file in (film_of(tmp_path, SIZE), small):
            page.choose(file)
            row = page.page.locator(".row", has_text=file.name)
            expect(row.locator(".advice")).to_have_text(f"Not {file.name}.")
    assert server.stored() == {}


def test_parts_wait_for_the_network(serve: Serve, open_parts: OpenParts, tmp_path: Path) -> None:
    """Offline for longer than a part tries again; then all connections go on."""
    server, film = serve(*ALIKE), film_of(tmp_path, 3 * SIZE)
    with CuttingProxy(server.port, rate=8e5) as proxy:
        page = open_parts(proxy.url)
        page.use(3)
        page.choose(film)
        wait_until_kept(page)
        page.page.wait_for_timeout(1000)
        page.page.context.set_offline(True)
        expect(page.status("film.mp4")).to_have_text(re.compile("waiting for the network"))
        page.page.wait_for_timeout(6000)
        page.page.evaluate("() => { window.most = 0; }")
        proxy.rate, proxy.sent = 10e6, 0
        page.page.context.set_offline(False)
        wait_for(page, "done")
        assert page.most == 3
        assert proxy.sent <= 3 * SIZE
    check_stored(server, film)
    check_bar(page)


def test_a_gateway_gets_one_piece_after_the_other(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    """It sends a file on while it arrives, and joins no parts."""
    server, film = serve(*ALIKE), film_of(tmp_path, SIZE)
    gateway = serve(to=f"{server.url}/files")
    with CuttingProxy(gateway.port, rate=20e6) as proxy:
        page = open_parts(proxy.url)
        page.use(3)
        page.choose(film)
        wait_for(page, "done")
        assert (page.most <= 1, page.parts) == (True, 0)
    check_stored(server, film)


def test_a_small_file_does_not_wait_for_a_large_one(
    serve: Serve, open_parts: OpenParts, tmp_path: Path
) -> None:
    """The parts give their connections back, and take them again when no other file needs one."""
    server, film = serve(*ALIKE), film_of(tmp_path, 3 * SIZE)
    small = film_of(tmp_path, 1_000_000, "small.bin")
    with CuttingProxy(server.port, rate=4e6) as proxy:
        page = open_parts(proxy.url)
        page.use(3)
        page.choose(film)
        wait_until_kept(page)
        page.page.wait_for_function("() => window.most === 3")
        page.choose(small)
        wait_for(page, "done", "small.bin")
        expect(page.page.locator(".row[data-state=done]")).to_have_count(1)
        page.page.evaluate("() => { window.most = 0; }")
        wait_for(page, "done")
        assert page.most == 3
    check_stored(server, film)
    check_stored(server, small)
