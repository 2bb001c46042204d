"""Files that end at their time, and files that must stay, in each dialect of a real server."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from sluiceway.pipe.budget import Budget
from sluiceway.server.access.link_keys import add_key, first_key
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.values import DOWNLOADS
from sluiceway.uploads.lifetime.download_counts import FolderDownloads
from sluiceway.uploads.lifetime.file_sweep import sweep_files
from tus_by_hand import Tus, creation

WEEK, HOUR = 7 * 86400, 3600
SECONDS = 60.0  # of any request
SLACK = 120.0  # seconds that a busy machine may take between two clocks


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    add_key(str(path))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[RunningServer]:
    """Files last for a week at most. It sweeps at its start, and then ten minutes later."""
    root = tmp_path_factory.mktemp("lasting") / "root"
    running = start_server(
        root,
        "--expire",
        "7d",
        "--retain-most",
        "1d",
        "--link-key-file",
        str(key_file),
        "--max-downloads",
        "0",
        "--key-template",
        "{path}",
    )
    yield running
    running.stop()


def left(response: requests.Response, name: str = "X-Expires") -> float:
    """Seconds until the time in a header."""
    return parsedate_to_datetime(response.headers[name]).timestamp() - time.time()


def put(url: str, key: str, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return requests.put(f"{url}/files/{key}", data=key.encode(), headers=named, timeout=SECONDS)


def form(url: str, *parts: tuple[str, tuple[str | None, str]]) -> requests.Response:
    return requests.post(f"{url}/files", files=parts, timeout=SECONDS)


def by_tus(url: str) -> requests.Response:
    tus = Tus(url)
    headers = creation(3, filename="by-tus", expires="1h")
    more = {"Content-Type": "application/offset+octet-stream"}
    return tus.post({**headers, **more}, b"abc")


def by_resumable(url: str) -> requests.Response:
    fields = {"Upload-Draft-Interop-Version": "6", "Upload-Complete": "?1", "X-Expires": "1h"}
    return requests.post(f"{url}/files?name=ietf", data=b"abc", headers=fields, timeout=SECONDS)


def by_query(url: str) -> requests.Response:
    return requests.post(f"{url}/files?name=query&expires=1h", data=b"abc", timeout=SECONDS)


ASKED: dict[str, Callable[[str], requests.Response]] = {
    "a header": lambda url: put(url, "header", X_Expires="60 min"),
    "a field of a form": lambda url: form(
        url, ("expires", (None, "1h")), ("file", ("form", "abc"))
    ),
    "the query": by_query,
    "tus": by_tus,
    "resumable uploads": by_resumable,
}


@pytest.mark.parametrize("way", ASKED)
def test_each_dialect_asks_and_is_told(server: RunningServer, way: str) -> None:
    response = ASKED[way](server.url)
    assert response.status_code in (200, 201, 204), response.text
    assert abs(left(response) - HOUR) < SLACK


def test_the_operator_decides_the_most(server: RunningServer) -> None:
    """Without a wish, and for more than that, a file has the operator's age. GET, HEAD and the list
    tell it."""
    assert abs(left(put(server.url, "usual")) - WEEK) < SLACK
    for asked in ("30d", "2099-01-01"):
        assert abs(left(put(server.url, "cut", X_Expires=asked)) - WEEK) < SLACK
    for method in ("GET", "HEAD"):
        seen = requests.request(method, f"{server.url}/files/cut", timeout=SECONDS)
        assert abs(left(seen) - WEEK) < SLACK
    listed = requests.get(f"{server.url}/files?prefix=cut", timeout=SECONDS).json()["files"]
    assert (
        parsedate_to_datetime(seen.headers["X-Expires"]).strftime("%Y-%m-%dT%H:%M:%SZ")
        == (listed[0]["expires"])
    )


def test_a_wish_that_cannot_be_is_refused_before_the_bytes(server: RunningServer) -> None:
    for asked in ("soon", "0", "2001-01-01", "-5"):
        refused = put(server.url, "never", X_Expires=asked)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")
    assert "never" not in server.stored()


def test_a_link_says_how_long_its_files_last(server: RunningServer, key_file: Path) -> None:
    """What is signed counts more than what the holder asks."""
    secret = first_key(str(key_file))
    link = sluiceway.link(f"{server.url}/", secret, prefix="in/", fields={"expires": "1h"})
    headers = {"X-Expires": "6d"}
    sent = requests.post(f"{link}files?name=a", data=b"a", headers=headers, timeout=SECONDS)
    assert sent.status_code == 201, sent.text
    assert abs(left(sent) - HOUR) < SLACK


def test_a_file_whose_time_is_over_is_not_there(server: RunningServer) -> None:
    """404 for GET and HEAD, in no list and no zip, and its key is free, while the bytes are still
    there; `sluiceway sweep` deletes them, and no other file."""
    for key in ("brief/a", "brief/b"):
        assert put(server.url, key, X_Expires="1s").status_code == 201
    assert put(server.url, "brief/long").status_code == 201
    file = f"{server.url}/files/brief/a"
    eventually(lambda: requests.get(file, timeout=SECONDS).status_code == 404)
    eventually(lambda: requests.head(f"{file[:-1]}b", timeout=SECONDS).status_code == 404)
    assert {"brief/a", "brief/b"} <= server.stored().keys()
    for query in ("prefix=brief/", "folder=brief/"):
        listed = requests.get(f"{server.url}/files?{query}", timeout=SECONDS).json()["files"]
        assert [each["key"] for each in listed] == ["brief/long"]
    whole = requests.get(f"{server.url}/files?as=zip&prefix=brief/", timeout=SECONDS)
    assert [
        name.rpartition("/")[2] for name in zipfile.ZipFile(io.BytesIO(whole.content)).namelist()
    ] == ["long"]

    again = put(server.url, "brief/a", If_None_Match="*")
    assert again.status_code == 201, again.text
    others = server.stored().keys() - {"brief/b"}
    swept = subprocess.run(
        [sys.executable, "-m", "sluiceway", "sweep", str(server.root)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (swept.returncode, "1 file deleted" in swept.stdout) == (0, True), swept.stdout
    assert server.stored().keys() == others


def test_a_file_that_must_stay_is_not_deleted_or_replaced(server: RunningServer) -> None:
    """409 with the date, whatever way is tried; another file at its side may be deleted."""
    kept = put(server.url, "kept", X_Retain="1h")
    assert abs(left(kept, "X-Retained-Until") - HOUR) < SLACK
    url = f"{server.url}/files/kept"
    tries = [
        requests.delete(url, timeout=SECONDS),
        requests.request("MOVE", url, headers={"Destination": "/files/x"}, timeout=SECONDS),
        requests.put(url, data=b"other", timeout=SECONDS),
        requests.put(url, data=b"x" * (2 << 20), timeout=SECONDS),
        requests.post(f"{server.url}/files?name=kept&conflict=replace", data=b"o", timeout=SECONDS),
    ]
    assert [(each.status_code, each.json()["code"]) for each in tries] == [(409, "retained")] * 5
    assert requests.get(url, timeout=SECONDS).content == b"kept"
    assert put(server.url, "other").status_code == 201
    assert put(server.url, "other").status_code == 200
    assert requests.delete(f"{server.url}/files/other", timeout=SECONDS).status_code == 204
    assert put(server.url, "more", X_Retain="2d").status_code == 400
    assert put(server.url, "moment", X_Retain="1").status_code == 201
    eventually(
        lambda: requests.delete(f"{server.url}/files/moment", timeout=SECONDS).status_code == 204
    )


def test_the_server_sweeps_by_itself(serve: Serve) -> None:
    """The bytes are deleted in the background; nothing is asked of the server meanwhile."""
    server = serve("--expire", "1")
    put(server.url, "a").raise_for_status()
    eventually(lambda: server.stored() == {})


def test_a_server_that_does_neither_says_so(serve: Serve, tmp_path: Path) -> None:
    """A header that asks is refused; an app's own field of that name is not. A gateway that cannot
    keep the times does not start."""
    server = serve()
    assert put(server.url, "a", X_Expires="1h").status_code == 400
    assert put(server.url, "a", X_Retain="1h").status_code == 400
    sent = form(server.url, ("expires", (None, "1h")), ("file", ("form", "abc")))
    assert (sent.status_code, "X-Expires" in sent.headers) == (201, False)
    with pytest.raises(AssertionError, match="--max-downloads need places that keep"):
        start_server(tmp_path / "none", "--expire", "7d", to="http://127.0.0.1:9/x")


def test_downloads_are_counted_exactly(server: RunningServer) -> None:
    """Of 24 clients at once 3 get the file that is for 3 downloads. HEAD, 304 and a refusal are no
    downloads; afterwards the file is in no list, and `GET` is 404."""
    put(server.url, "few/a", X_Max_Downloads="3").raise_for_status()
    url = f"{server.url}/files/few/a"
    tag = requests.head(url, timeout=SECONDS).headers["ETag"]
    not_modified = requests.get(url, headers={"If-None-Match": tag}, timeout=SECONDS)
    refused = requests.get(url, headers={"If-Match": '"other"'}, timeout=SECONDS)
    assert (not_modified.status_code, refused.status_code) == (304, 412)

    def get(number: int) -> int:
        headers = {"User-Agent": f"client {number}", "Range": "bytes=0-"} if number % 2 else {}
        return requests.get(url, headers=headers, timeout=SECONDS).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(get, range(24)))
    assert sum(status in (200, 206) for status in found) == 3, found
    assert {status for status in found if status not in (200, 206)} == {404}
    assert requests.head(url, timeout=SECONDS).status_code == 404
    listed = requests.get(f"{server.url}/files?prefix=few/", timeout=SECONDS).json()["files"]
    assert listed == []


def test_a_resumed_download_counts_once(server: RunningServer) -> None:
    """Ranges of one client are one download, in any order; another client is another one. A zip
    leaves the file out, and says so."""
    put(server.url, "once/a", X_Max_Downloads="1").raise_for_status()
    put(server.url, "once/b").raise_for_status()
    whole = requests.get(f"{server.url}/files?as=zip&prefix=once/", timeout=SECONDS)
    archive = zipfile.ZipFile(io.BytesIO(whole.content))
    assert [name.rpartition("/")[2] for name in archive.namelist()] == ["b"]
    assert b"few downloads" in archive.comment

    def ranged(value: str, agent: str) -> int:
        headers = {"Range": value, "User-Agent": agent}
        return requests.get(
            f"{server.url}/files/once/a", headers=headers, timeout=SECONDS
        ).status_code

    assert [ranged(one, "first") for one in ("bytes=3-", "bytes=0-2", "bytes=4-")] == [206] * 3
    assert ranged("bytes=0-2", "second") == 404
    assert requests.get(f"{server.url}/files/once/a", timeout=SECONDS).status_code == 404


def test_a_file_that_had_its_downloads_is_swept_an_hour_later(tmp_path: Path) -> None:
    """Until then a download under way can be resumed. Nothing of its count is left."""
    clock = time.time()

    async def journey() -> None:
        store = DiskStore(str(tmp_path / "files"), Budget(64 << 20))
        counts = FolderDownloads(str(tmp_path / "counts"))
        draft = await store.draft("upload", 1)
        await draft.write(b"x")
        await draft.publish("a", Metadata("a", user=((DOWNLOADS, "1.number"),)))
        assert await counts.begin("number", 1, "me", ranged=False)
        assert await sweep_files(store, counts=counts) == 0
        (count,) = (tmp_path / "counts").iterdir()
        mark = count.read_text().partition(" ")[0]
        count.write_text(f"{mark} {round(clock - 3700):012d}\n")
        assert await sweep_files(store, counts=counts) == 1
        assert list((tmp_path / "counts").iterdir()) == []
        await store.aclose()

    asyncio.run(journey())
