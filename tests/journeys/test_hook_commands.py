"""Hooks that are commands: they see the file before anybody else does, and decide; and they are
told of what is finished, again and again until they take it.

A real server and real programs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from tus_by_hand import Tus

# Notes what it got, and refuses what holds a word
LOOKS = """#!/bin/sh
cat >> "{folder}/events"; echo >> "{folder}/events"
if grep -q forbidden "$1"; then
    echo '{{"detail": "This file holds a forbidden word", "status": 422}}'
    exit 1
fi
"""
# Fails as long as there is no file of this name
TAKES = """#!/bin/sh
cat > "{folder}/last"
test -e "{folder}/ready" || exit 7
cat "{folder}/last" >> "{folder}/finished"; echo >> "{folder}/finished"
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are of sh")


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text.format(folder=folder))
    path.chmod(0o755)
    return path


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def put(server: RunningServer, name: str, data: bytes) -> requests.Response:
    return requests.put(f"{server.url}/files/{name}", data, timeout=30)


def test_a_command_reads_the_file_before_it_is_stored(serve: Serve, tmp_path: Path) -> None:
    """Of each dialect and size: all bytes are in the file that it gets."""
    looks = program(tmp_path, "looks", LOOKS)
    server = serve("--on-kept", f"{looks} {{path}}", "--on-start", "true")
    large = os.urandom(9 << 20) + b"forbidden"  # its last bytes decide
    assert put(server, "good", b"a good word").status_code == 201
    for data in (b"a forbidden word", large):
        refused = put(server, "bad", data)
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"] == "This file holds a forbidden word"
    form = [("f", (name, data)) for name, data in (("a", b"x"), ("b", b"forbidden"), ("c", b"y"))]
    assert requests.post(f"{server.url}/files", files=form, timeout=30).status_code == 422
    tus = Tus(server.url)
    upload = tus.create(9, filename="tus")
    tus.patch(upload, 0, b"forb")
    assert tus.patch(upload, 4, b"idden").status_code == 422
    assert tus.head(upload).status_code in (404, 410, 422)
    assert server.stored() == {"good": 11}
    eventually(lambda: not server.drafts(), "nothing is left")
    got = events(tmp_path / "events")
    assert [one["type"] for one in got] == ["sluiceway.upload.kept"] * len(got)
    assert [one["data"]["filename"] for one in got] == ["good", "bad", "bad", "a", "b", "tus"]
    assert str(server.root) not in json.dumps(got)


def test_a_command_is_told_until_it_takes_the_event(serve: Serve, tmp_path: Path) -> None:
    """Also by the next server. Its failure is in the log, its success ends it."""
    takes = program(tmp_path, "takes", TAKES)
    server = serve("--on-finish", str(takes))
    assert put(server, "a", b"abc").status_code == 201
    eventually(lambda: "ended with 7" in server.log(), "the first try is in vain")
    server.stop()
    (tmp_path / "ready").touch()
    again = serve("--on-finish", str(takes), root=server.root)
    eventually(lambda: events(tmp_path / "finished"), "it is told again")
    assert again.stop() == 0
    [event] = events(tmp_path / "finished")
    assert (event["type"], event["subject"]) == ("sluiceway.upload.finished", "a")
    assert event["data"]["size"] == 3


def test_a_slow_command_is_ended_and_refuses(serve: Serve, tmp_path: Path) -> None:
    server = serve("--on-start", "sleep 300", "--hook-timeout", "0.3")
    refused = put(server, "a", b"abc")
    assert (refused.status_code, refused.json()["code"]) == (503, "hook-unavailable")
    assert "sleep" not in refused.text
    eventually(lambda: "--on-start failed" in server.log(), "the log says why")
    assert server.stored() == {}


def test_a_command_that_is_not_there_is_an_error_at_the_start(serve: Serve) -> None:
    with pytest.raises(AssertionError, match="--on-kept: there is no program"):
        serve("--on-kept", "no-such-program-anywhere {path}")
