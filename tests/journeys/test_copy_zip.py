"""`sluiceway copy SRC DST --pack zip`: a folder, a place or a listing becomes one zip."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

import sluiceway
from fix_postgres import Database
from fix_server import RunningServer
from sluiceway.errors import BadRequest, Exists, SourceFailed
from sluiceway.testing.store_suite import ODD_KEYS, pattern
from sluiceway.wire.names import MOST_SEGMENTS

MIB = 1 << 20
FILES = {"1.jpg": pattern(3 * MIB), "sub/2.jpg": b"2", "sub/empty": b""}


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sluiceway", "copy", *words, "--pack", "zip"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, cwd=cwd)


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for key, data in FILES.items():
        path = tmp_path / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photos"


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    place = f"{database.url}&table={name}"
    done = subprocess.run(
        [sys.executable, "-m", "sluiceway", "init", place],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield name
    database.drop(name)


def at(database: Database, table: str, key: str) -> str:
    place, mark, query = database.url.partition("?")
    return f"{place}/{key}{mark}{query}&table={table}"


def test_a_folder_to_standard_output_reports_omissions(photos: Path) -> None:
    """Only the zip on standard output; a link is named on standard error."""
    (photos / "link").symlink_to("1.jpg")
    done = run(str(photos), "-")

    assert done.returncode == 0, done.stderr
    assert unzipped(done.stdout) == FILES
    assert b"link is left out" in done.stderr


def test_a_zip_file_is_replaced_only_with_force(photos: Path, tmp_path: Path) -> None:
    """In a folder it is named after the source; the receipt's digest is that of the file."""
    done = run(str(photos), str(tmp_path), "--json")
    receipt = json.loads(done.stdout)
    data = (tmp_path / "photos.zip").read_bytes()

    assert unzipped(data) == FILES
    assert (receipt["size"], receipt["sha-256"]) == (len(data), hashlib.sha256(data).hexdigest())
    again = run(str(photos), str(tmp_path / "photos.zip"))
    assert (again.returncode, b"use --force" in again.stderr) == (4, True)
    assert run(str(photos), str(tmp_path / "photos.zip"), "--force").returncode == 0


@pytest.mark.parametrize("way", ["put", "named-by-the-folder", "form"])
def test_a_folder_to_a_server(photos: Path, taker: RunningServer, way: str) -> None:
    """One request of a known length."""
    url = {"put": "/files/made/x.zip", "named-by-the-folder": "/files/made/", "form": "/files"}[way]
    receipt = sluiceway.copy(photos, taker.url + url, pack="zip")
    data = requests.get(receipt.location, timeout=30).content

    assert unzipped(data) == FILES
    assert len(data) == receipt.size
    assert receipt.location.endswith(
        {"put": "made/x.zip", "named-by-the-folder": "made/photos.zip", "form": "photos.zip"}[way]
    )


def test_a_server_s_listing_to_a_file(taker: RunningServer, tmp_path: Path) -> None:
    """From any prefix, with odd keys; names are relative to it."""
    keys = [
        key for key in ODD_KEYS if key != "e\u0301" and key.count("/") + 2 <= MOST_SEGMENTS
    ]  # the first is stored in composed form
    for key in keys:
        requests.put(
            f"{taker.url}/files/odd/{quote(key)}", data=key.encode(), timeout=10
        ).raise_for_status()
    sluiceway.copy(f"{taker.url}/files/odd/", tmp_path / "x.zip", pack="zip")

    assert unzipped((tmp_path / "x.zip").read_bytes()) == {key: key.encode() for key in keys}


def test_a_database_to_a_server_and_a_folder_to_a_database(
    database: Database, table: str, photos: Path, taker: RunningServer, tmp_path: Path
) -> None:
    """A place can be on either side."""
    sluiceway.copy(photos, at(database, table, "photos/"))
    receipt = sluiceway.copy(
        at(database, table, "photos/"), f"{taker.url}/files/db.zip", pack="zip"
    )
    assert unzipped(requests.get(receipt.location, timeout=30).content) == FILES

    receipt = sluiceway.copy(photos, at(database, table, "zips/"), pack="zip")
    assert receipt.location.endswith("/zips/photos.zip")
    sluiceway.copy(at(database, table, "zips/photos.zip"), tmp_path / "back.zip")
    assert unzipped((tmp_path / "back.zip").read_bytes()) == FILES


def test_a_file_that_changes_meanwhile_leaves_no_zip(photos: Path, tmp_path: Path) -> None:
    """It grows while the zip is made: an error, and no zip."""
    large = photos / "0.bin"
    with large.open("wb") as file:
        file.truncate(64 * MIB)

    def grow(_: sluiceway.Progress) -> None:
        with large.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceFailed, match=r"'0\.bin' could not be put into the zip"):
        sluiceway.copy(photos, tmp_path / "x.zip", pack="zip", on_progress=grow)
    assert not (tmp_path / "x.zip").exists()


def test_contradictory_options_are_refused(photos: Path, tmp_path: Path) -> None:
    """An empty folder, a single file, another format, a size."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceFailed, match="holds no file"):
        sluiceway.copy(tmp_path / "empty", tmp_path / "x.zip", pack="zip")
    with pytest.raises(BadRequest, match="not a folder"):
        sluiceway.copy(photos / "1.jpg", tmp_path / "x.zip", pack="zip")
    with pytest.raises(BadRequest, match="zip"):
        sluiceway.copy(photos, tmp_path / "x.zip", pack="7z")
    with pytest.raises(BadRequest, match="Headers"):
        sluiceway.copy(photos, tmp_path / "x.zip", pack="zip", headers={"a": "b"})
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(Exists):
        sluiceway.copy(photos, tmp_path / "x.zip", pack="zip")
    assert run(str(photos), "-", "-r").returncode == 2
