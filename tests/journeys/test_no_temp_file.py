"""A form is streamed part by part: its bytes are only ever in the drafts folder."""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path

import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from raw_http import Wire, chunk, form_body, form_head


def open_files(server: RunningServer) -> set[str]:
    """Return the regular files that the server has open, deleted ones too, as spooled files are."""
    found = set()
    for name in os.listdir(f"/proc/{server.pid}/fd"):
        try:
            target = os.readlink(f"/proc/{server.pid}/fd/{name}")
        except FileNotFoundError:
            continue  # closed meanwhile
        if (
            target.startswith("/")
            and not target.startswith(("/dev/", "/proc/"))
            and not os.path.isdir(target)
        ):
            found.add(target)
    return found


def has_received(watch: str, size: int) -> bool:
    return bool(requests.get(watch, timeout=10).json().get("received") == size)


def test_a_slow_form_never_touches_a_temp_folder(serve: Serve, tmp_path: Path) -> None:
    """After each of 40 pieces, open files and TMPDIR are checked; at the end the drafts are
    gone."""
    temp = tmp_path / "tmp"
    temp.mkdir()
    server = serve(env={"TMPDIR": str(temp)})
    before = open_files(server)
    files = [("f", f"{number}.bin", noise(900_000, number)) for number in range(4)]
    body = form_body(("title", None, b"x" * 5000), *files, ("after", None, b"y"))
    size = len(body) // 40 + 1
    drafts: set[str] = set()
    watch = f"{server.url}/uploads/{(upload := secrets.token_urlsafe(24))}"
    with Wire(server.port) as wire:
        wire.send(form_head(None, target=f"/files?upload={upload}"))
        for at in range(0, len(body), size):
            wire.send(chunk(body[at : at + size]))
            sent = min(at + size, len(body))
            eventually(partial(has_received, watch, sent), f"{sent} bytes received")
            found = {name.removesuffix(" (deleted)") for name in open_files(server) - before}
            assert all("/.sluiceway/drafts/" in name for name in found)
            assert os.listdir(temp) == []
            assert server.stored() == {}
            drafts |= set(server.drafts())
        wire.send(b"0\r\n\r\n")
        response = wire.answer()

    assert (response.status, len(response.json()["files"])) == (201, 4)
    assert len(drafts) >= 4
    assert sorted(server.stored().values()) == [900_000] * 4
    assert server.drafts() == []
    assert open_files(server) <= before
