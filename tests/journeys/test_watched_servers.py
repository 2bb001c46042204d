"""The honest bar of a Flask view on each WSGI server that streams, also with a thread a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import fix_wsgi
from fix_taking import eventually
from fix_wsgi import SERVERS, running
from raw_http import Wire
from sluiceway.uploads.keys import new_id
from watched_uploads import (
    MB,
    NEAR,
    SIZE,
    STOP,
    WINDOW,
    Backend,
    Sending,
    Stopping,
    ended,
    events,
    seen,
)

pytestmark = pytest.mark.torture

COMMANDS = {
    **{name: line for name, line in SERVERS.items() if name != "waitress"},  # it stores first
    "uWSGI, two processes": SERVERS["uWSGI"] + " --processes 2",
    "gunicorn sync": "gunicorn -w 3 -b 127.0.0.1:{port} {views}",
    "gunicorn, loaded before it forks": "gunicorn -k gthread --threads 4 --preload -w 2"
    " -b 127.0.0.1:{port} {views}",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_bar_of_a_view_on_each_server(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows the backend, ends with the view's success, and with the client's cut."""
    monkeypatch.setattr(fix_wsgi, "SERVERS", COMMANDS)
    backend = Backend()
    with running(name, tmp_path, backend, "watched_views:app", WINDOW) as app:
        act, upload = Stopping(), new_id()
        with backend.does(act), Wire(app.port) as wire:
            sending = Sending(wire, "/relay", upload, SIZE)
            sending.send(STOP + 4 * NEAR)
            eventually(lambda: seen(app, upload).get("kept", 0) >= STOP - NEAR, "it nears the stop")
            assert seen(app, upload)["kept"] <= STOP + NEAR
            act.goes_on.set()
            act.answers.set()
            assert sending.rest() == 201
        assert ended(app, upload) == ("complete", None)
        assert events(app, upload)[-1][0] == "end"

        cut = new_id()
        with Wire(app.port) as wire:
            Sending(wire, "/read", cut).send(2 * MB)
            eventually(lambda: seen(app, cut).get("received", 0) > MB, "the view reads")
        assert ended(app, cut) == ("failed", "body-cut")
