"""The honest bar of a site's own views, in Django: on gunicorn with two workers, and under ASGI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from fix_taking import eventually
from fix_wsgi import WsgiApp, running
from raw_http import Wire
from sluiceway.uploads.keys import new_id
from watched_uploads import (
    END,
    MB,
    NEAR,
    SIZE,
    STOP,
    WINDOW,
    AsgiApp,
    Backend,
    Sending,
    Stopping,
    ended,
    events,
    post,
    running_asgi,
    seen,
)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend()


@pytest.fixture(scope="module")
def site(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WsgiApp]:
    folder = tmp_path_factory.mktemp("watched")
    views = "--workers 2 watched_django_site:application"
    with running("gunicorn gthread", folder, backend, views, WINDOW) as site:
        yield site


@pytest.fixture(scope="module")
def asgi_site(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiApp]:
    folder = tmp_path_factory.mktemp("watched-asgi")
    with running_asgi("watched_django_site:asgi", folder, backend) as site:
        yield site


def test_the_bar_of_a_view_follows_its_backend(site: WsgiApp, backend: Backend) -> None:
    """The backend stops, and so does the bar, in each process. It lacks a byte until the view has
    answered 201."""
    act, upload = Stopping(), new_id()
    with backend.does(act), Wire(site.port) as wire:
        sending = Sending(wire, "/relay", upload)
        sending.send(STOP + 4 * NEAR)
        eventually(lambda: seen(site, upload).get("kept", 0) >= STOP - NEAR, "it nears the stop")
        for _ in range(8):  # some of them reach each process
            found = seen(site, upload)
            assert found["kept"] <= STOP + NEAR
            assert (found["kept_by"], found["state"]) == ("kernel", "receiving")
        act.goes_on.set()
        while sending.left:
            sending.send(min(sending.left, MB))
        wire.send(END)
        eventually(lambda: seen(site, upload)["kept"] == SIZE - 1, "the backend has it")
        act.answers.set()
        assert wire.answer().status == 201
    assert ended(site, upload) == ("complete", None)
    assert seen(site, upload)["kept"] == SIZE


ENDS = [
    ("/read?status=201", ("complete", None)),
    ("/read?status=302", ("failed", "redirected")),
    ("/read?status=413", ("failed", "too-large")),
    ("/read?fails=1", ("failed", "error")),
    ("/nowhere", ("failed", "refused")),
]


@pytest.mark.parametrize(("path", "end"), ENDS)
def test_the_view_decides_how_the_bar_ends(
    site: WsgiApp, path: str, end: tuple[str, str | None]
) -> None:
    """Of an ordinary view with `request.FILES`: complete only with a 2xx."""
    upload = new_id()
    # a view that nobody reads for may close the connection before a larger body was sent
    post(site, path, upload, 100_000 if path == "/nowhere" else 4 * MB)
    assert ended(site, upload) == end
    found = seen(site, upload)
    assert found["received"] == found["length"] or path == "/nowhere"
    if end[0] == "complete":
        assert found["kept"] == 4 * MB
    assert events(site, upload)[-1][0] == "end"


def test_a_storage_moves_the_bar_while_the_form_is_parsed(site: WsgiApp) -> None:
    """Before the view is called, `forwarded` follows what the file's draft has taken."""
    upload = new_id()
    with Wire(site.port) as wire:
        sending = Sending(wire, "/read", upload)
        sending.send(SIZE // 2)
        eventually(lambda: seen(site, upload).get("forwarded", 0) > SIZE // 4, "the draft takes it")
        assert seen(site, upload)["state"] == "receiving"
        assert sending.rest() == 200
    assert ended(site, upload) == ("complete", None)


def test_a_cut_body_is_an_error_whatever_the_view_makes_of_it(site: WsgiApp) -> None:
    """Also for a view that answers 200."""
    for path in ("/read", "/swallow"):
        upload = new_id()
        with Wire(site.port) as wire:
            sending = Sending(wire, path, upload)
            sending.send(4 * MB)
            while seen(site, upload).get("received", 0) <= MB:
                assert seen(site, upload).get("state") != "failed"
        assert ended(site, upload) == ("failed", "body-cut")


def test_a_view_says_what_it_has_kept(site: WsgiApp) -> None:
    """`file.kept()` moves the bar; the rest counts with the view's success."""
    upload = new_id()
    with Wire(site.port) as wire:
        sending = Sending(wire, "/kept", upload, 2 * MB)
        sending.send(MB + 200_000)
        eventually(lambda: seen(site, upload).get("kept", 0) >= 100_000, "the view says so")
        assert seen(site, upload)["kept"] % 100_000 == 0
        assert sending.rest() == 200
    assert ended(site, upload) == ("complete", None)


def test_the_site_decides_who_may_watch(site: WsgiApp) -> None:
    """Its middleware, and the callable it gave; an unknown id is a 404."""
    upload = new_id()
    assert post(site, "/read", upload) == 200
    url = f"{site.url}/uploads/{upload}"
    assert requests.get(url, headers={"X-Stranger": "1"}, timeout=10).text == "log in"
    assert requests.get(url, headers={"X-Shut-Out": "1"}, timeout=10).status_code == 403
    assert requests.get(f"{site.url}/uploads/{new_id()}", timeout=10).status_code == 404
    assert requests.get(f"{site.url}/uploads/short", timeout=10).status_code == 400
    script = requests.get(f"{site.url}/uploads/page/sluice.js", timeout=10)
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert requests.get(f"{site.url}/uploads/page/no.js", timeout=10).status_code == 404


def test_under_asgi_the_end_is_shown_as_well(asgi_site: AsgiApp) -> None:
    """Django stores the body there before a view runs; the counters and the end are the view's."""
    for path, end in ENDS[:3]:
        upload = new_id()
        post(asgi_site, path, upload, 4 * MB)
        assert ended(asgi_site, upload) == end
        (shown,) = events(asgi_site, upload)
        assert (shown[0], shown[1]["received"]) == ("end", shown[1]["length"])
