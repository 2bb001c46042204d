"""Files that the kernel generates on reading: /proc claims 0 bytes, /sys 4096. All is copied."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import flask
import pytest
import requests

import sluiceway
from fix_gateway import takes
from fix_server import RunningServer
from rude_peer import Peer
from sluiceway.flask import stream

ZERO = Path("/proc/sys/kernel/random/boot_id")  # claims 0 bytes, has 37
PAGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # claims 4096, has about 20
FOLDER = Path("/proc/sys/kernel/random")

pytestmark = pytest.mark.skipif(not (ZERO.exists() and PAGE.exists()), reason="Linux has them")
made_up = pytest.mark.parametrize("path", [ZERO, PAGE], ids=["0 bytes", "4096 bytes"])


def test_their_size_is_wrong() -> None:
    """Otherwise these tests prove nothing."""
    assert (ZERO.stat().st_size, PAGE.stat().st_size) == (0, 4096)
    assert 0 < len(ZERO.read_bytes()) < 100
    assert 0 < len(PAGE.read_bytes()) < 100


@made_up
def test_a_copy_by_path_is_complete(taker: RunningServer, path: Path) -> None:
    receipt = sluiceway.copy(path, f"{taker.url}/files/by-path/{path.name}")
    assert receipt.size == len(path.read_bytes())
    assert requests.get(receipt.location, timeout=10).content == path.read_bytes()


@made_up
def test_redirected_standard_input_is_complete(taker: RunningServer, path: Path) -> None:
    url = f"{taker.url}/files/stdin/{path.name}"
    with path.open("rb") as file:
        subprocess.run(
            [sys.executable, "-m", "sluiceway", "copy", "-", url],
            stdin=file,
            check=True,
            capture_output=True,
        )
    assert requests.get(url, timeout=10).content == path.read_bytes()


@made_up
@pytest.mark.parametrize("opened", [False, True], ids=["path", "open file"])
def test_a_form_is_complete(path: Path, opened: bool) -> None:
    """As a path and as an open file: the length is unknown, so the form is sent in chunks."""
    with Peer(takes) as peer, path.open("rb") as file:
        form = sluiceway.Form().file("file", file if opened else path)
        assert form.length is None
        for _ in range(2):
            assert (
                requests.post(peer.url, data=form, headers=form.headers, timeout=10).status_code
                == 201
            )
            assert peer.seen[-1].body.count(path.read_bytes()) == 1
        file.seek(0)
        body = sluiceway.Sized(file if opened else path, len(path.read_bytes()))
        assert requests.put(peer.url, data=body, timeout=10).status_code == 201
        assert peer.seen[-1].body == path.read_bytes()


@made_up
def test_a_response_of_an_app_is_complete(path: Path) -> None:
    """Flask's `stream`: neither a Content-Length of 0 nor one of 4096."""
    app = flask.Flask("made_up")
    app.add_url_rule("/p", "p", lambda: stream(path))
    app.add_url_rule("/f", "f", lambda: stream(path.open("rb")))
    for place in ("/p", "/f"):
        with app.test_client().get(place) as response:
            assert response.data == path.read_bytes(), place


def test_a_recursive_copy_is_complete(taker: RunningServer, tmp_path: Path) -> None:
    """To a server, to a folder, and as one zip; a second run skips them."""
    wanted = {name: (FOLDER / name).read_bytes() for name in ("boot_id", "poolsize")}
    options = {"include": list(wanted)}
    for target in (f"{taker.url}/files/many/", str(tmp_path / "out")):
        report = sluiceway.copy_all(FOLDER, target, **options)  # type: ignore[arg-type]  # what both take
        assert (report.copied, report.failed) == (2, 0), report
        again = sluiceway.copy_all(FOLDER, target, **options)  # type: ignore[arg-type]
        assert (again.skipped, again.failed) == (2, 0), again
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == wanted
    assert requests.get(f"{taker.url}/files/many/boot_id", timeout=10).content == wanted["boot_id"]

    sluiceway.copy(FOLDER, tmp_path / "all.zip", pack="zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.read("boot_id") == wanted["boot_id"]
        assert packed.testzip() is None


def test_an_empty_file_has_a_known_length(taker: RunningServer, tmp_path: Path) -> None:
    """Checking a size of 0 by reading does not lose the length."""
    (tmp_path / "empty").write_bytes(b"")
    assert sluiceway.copy(tmp_path / "empty", f"{taker.url}/files/empty").size == 0
    assert sluiceway.Form().file("f", tmp_path / "empty").length is not None
    holes = tmp_path / "holes"
    with holes.open("wb") as file:
        file.truncate(5000)  # a hole without blocks, whose size is right
    assert sluiceway.Form().file("f", holes).length is not None
    assert sluiceway.copy(holes, f"{taker.url}/files/holes").size == 5000
