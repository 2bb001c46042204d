"""Headers and user metadata are kept with an object, copied from store to store, and served."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_sftp import SftpServer
from fix_taking import noise

MIB = 1 << 20
PLAIN = b"<h1>Hello</h1>" * 5_000
PACKED = gzip.compress(PLAIN, mtime=0)
TOLD = {
    "CacheControl": "public, max-age=3600",
    "ContentDisposition": 'attachment; filename="hello.html"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
    "ContentType": "text/html",
    "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
    "Metadata": {
        "owner": "somebody",
        "mtime": "1700000000.5",
        "filename": "their own",
        "sha256": "no digest",
    },
}


@pytest.fixture(scope="module")
def bucket(s3: Objects) -> str:
    """A small object and one in parts, both encoded, and a script that is stored as "inline"."""
    bucket = s3.fresh()
    s3.client.put_object(Bucket=bucket, Key="page", Body=PACKED, **TOLD)
    s3.client.put_object(Bucket=bucket, Key="large", Body=noise(9 * MIB), **TOLD)
    inline = {"ContentType": "text/html", "ContentDisposition": "inline"}
    s3.client.put_object(Bucket=bucket, Key="script", Body=b"<script>", **inline)
    return bucket


@pytest.fixture(scope="module")
def server(
    s3: Objects, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("kept") / "none", env=s3.env, to=s3.url(bucket))
    yield running
    running.stop()


def test_an_encoded_object_is_served_as_it_is_stored(server: RunningServer) -> None:
    """With its content coding: a browser shows the page. Length, ranges and digest are of the
    stored bytes.
    """
    url = f"{server.url}/files/page"
    response = requests.get(url, timeout=30)
    assert response.content == PLAIN
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Length"] == str(len(PACKED))
    assert response.headers["Cache-Control"] == "public, max-age=3600"
    assert response.headers["Content-Language"] == "de"
    assert response.headers["Content-Disposition"] == 'attachment; filename="hello.html"'
    assert response.headers["Expires"] == "Thu, 01 Dec 2033 16:00:00 GMT"

    part = requests.get(url, headers={"Range": "bytes=10-99"}, timeout=30, stream=True)
    assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes 10-99/{len(PACKED)}")
    assert part.raw.read() == PACKED[10:100]
    several = requests.get(url, headers={"Range": "bytes=0-1,10-11"}, timeout=30)
    assert (several.status_code, several.content) == (200, PLAIN)
    unchanged = requests.get(url, headers={"If-None-Match": response.headers["ETag"]}, timeout=30)
    assert (unchanged.status_code, unchanged.headers["Cache-Control"]) == (
        304,
        "public, max-age=3600",
    )


def test_a_response_to_a_token_is_not_for_shared_caches(server: RunningServer) -> None:
    """Whatever its own headers say: the next client of the cache has shown no token."""
    response = requests.get(
        f"{server.url}/files/page", headers={"Authorization": "Bearer anything"}, timeout=30
    )
    assert response.headers["Cache-Control"] == "private, max-age=3600"


def test_an_objects_own_disposition_does_not_show_it_in_a_browser(
    server: RunningServer,
) -> None:
    """A page that was stored as "inline" is downloaded all the same."""
    response = requests.get(f"{server.url}/files/script", timeout=30)
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_headers_and_metadata_go_from_store_to_store_and_back(
    s3: Objects, bucket: str, database: Database, sftp: SftpServer, tmp_path: Path
) -> None:
    """Bucket, database, SFTP, bucket: every copy carries all of them, small and in parts."""
    table, (address, _, query), last = (
        database.fresh(),
        sftp.url(sftp.fresh()).partition("?"),
        s3.fresh(),
    )
    base, _, more = f"{database.url}&table={table}".partition("?")
    sluiceway("init", f"{base}?{more}")
    stations = [s3.url(bucket), f"{base}/kept/?{more}", f"{address}/?{query}", s3.url(last)]
    for source, target in pairwise(stations):
        done = sluiceway("copy", "-r", source, target, "--json", env=s3.env)
        assert json.loads(done.splitlines()[-1])["report"]["copied"] == 3
    database.drop(table)

    for key in ("page", "large"):
        old, new = (s3.client.get_object(Bucket=which, Key=key) for which in (bucket, last))
        assert (
            hashlib.sha256(new["Body"].read()).digest()
            == hashlib.sha256(old["Body"].read()).digest()
        )
        for name in TOLD:
            if name not in ("Metadata", "Expires"):
                assert new[name] == old[name], name
        assert new["ExpiresString"] == TOLD["Expires"]
        user = {
            name.removeprefix("their0"): value
            for name, value in new["Metadata"].items()
            if name not in ("draft",)
        }
        assert (user["owner"], user["mtime"]) == ("somebody", "1700000000.5")
        assert new["Metadata"]["their0filename"] == "their own"
        assert new["Metadata"]["their0sha256"] == "no digest"


def sluiceway(*words: str, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "sluiceway", *words]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_copy_from_a_server_has_the_stored_bytes(server: RunningServer, tmp_path: Path) -> None:
    """They are not decoded: the announced length and digest are of the encoded bytes."""
    sluiceway("copy", f"{server.url}/files/page", f"{tmp_path}/one")
    sluiceway("copy", "-r", f"{server.url}/files/", f"{tmp_path}/all")

    assert (tmp_path / "one").read_bytes() == (tmp_path / "all" / "page").read_bytes() == PACKED
