"""A server whose destination is a bucket on a real S3 server keeps the promises of a folder."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire, head
from s3_faults import S3Faults
from sluiceway.pipe.budget import MEMORY_TIMEOUT

MIB = 1 << 20
DATA = noise(3_000_017)
LARGE = noise(20 * MIB + 5, 2)


def sluiceway(
    *words: str, env: dict[str, str] | None = None, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sluiceway", *words]
    return subprocess.run(
        command,
        capture_output=True,
        timeout=100,
        check=False,
        env={**os.environ, **(env or {})},
        input=data,
    )


@pytest.fixture(scope="module")
def bucket(s3: Objects) -> str:
    return s3.fresh()


@pytest.fixture(scope="module")
def server(
    s3: Objects, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(
        tmp_path_factory.mktemp("s3-server") / "none", env=s3.env, to=s3.url(bucket, "up")
    )
    yield running
    running.stop()


def test_files_are_stored_read_listed_and_deleted(
    server: RunningServer, s3: Objects, bucket: str
) -> None:
    """Raw and form, in one part and in several, whole and in ranges, with conditions."""
    url = f"{server.url}/files/a/ä b.bin"
    assert (
        requests.put(url, data=LARGE, headers={"Content-Type": "image/png"}, timeout=60).status_code
        == 201
    )
    got = requests.get(url, timeout=60)
    assert got.content == LARGE
    for start, stop in (
        (0, 1),
        (8 * MIB - 1, 8 * MIB + 1),
        (1_000_000, 9_500_000),
        (len(LARGE) - 1, len(LARGE)),
    ):
        assert (
            requests.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}, timeout=30).content
            == LARGE[start:stop]
        )
    assert (
        requests.put(url, data=b"x", headers={"If-None-Match": "*"}, timeout=30).status_code == 412
    )
    assert (
        requests.put(url, data=b"x", headers={"If-Match": '"nobody"'}, timeout=30).status_code
        == 412
    )
    assert (
        requests.put(
            url, data=b"x", headers={"If-Match": got.headers["ETag"]}, timeout=30
        ).status_code
        == 200
    )
    assert requests.get(url, timeout=30).content == b"x"
    files = [("f", ("1.txt", b"1")), ("f", ("2.bin", DATA))]
    stored = requests.post(f"{server.url}/files", files=files, timeout=60).json()["files"]
    assert requests.get(server.url + stored[1]["url"], timeout=30).content == DATA
    listed = {
        entry["key"] for entry in requests.get(f"{server.url}/files", timeout=30).json()["files"]
    }
    assert listed >= {"a/ä b.bin", stored[0]["key"]}
    # Every object has its own name there, for other tools.
    assert f"up/{stored[0]['key']}" in s3.keys(bucket)
    assert requests.delete(url, timeout=30).status_code == 204
    assert requests.get(url, timeout=30).status_code == 404
    assert s3.unfinished(bucket) == []


def test_many_fast_uploads_share_little_memory(s3: Objects, bucket: str, tmp_path: Path) -> None:
    """Six of 12 MiB are stored with memory for three parts; none waits until another ends."""
    server = start_server(
        tmp_path / "none", "--memory-budget", "16MiB", env=s3.env, to=s3.url(bucket, "crowd")
    )
    data = noise(12 * MIB, 5)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(6) as crowd:
            sent = crowd.map(
                lambda number: requests.put(f"{server.url}/files/{number}", data=data, timeout=100),
                range(6),
            )
            assert [response.status_code for response in sent] == [201] * 6
        # No upload waited until another one gave up.
        assert time.monotonic() - began < MEMORY_TIMEOUT
    finally:
        server.stop()
    assert s3.unfinished(bucket) == []


@pytest.mark.parametrize("size", [0, 1000, len(LARGE)])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_type_name_and_digest_are_the_objects_metadata(
    server: RunningServer, s3: Objects, bucket: str, size: int, chunked: bool
) -> None:
    """Other clients see them. An announced digest is metadata at every size."""
    data = LARGE[:size]
    digest = hashlib.sha256(data)
    url, key = f"{server.url}/files/meta/é {size} {chunked}", f"up/meta/é {size} {chunked}"
    sent = {
        "Content-Type": "text/x-odd",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
    }
    body = iter([data[:300_000], data[300_000:]]) if chunked else data
    assert requests.put(url, data=body, headers=sent, timeout=60).status_code == 201
    there = s3.client.head_object(Bucket=bucket, Key=key)
    assert there["ContentType"] == "text/x-odd"
    assert there["ContentLength"] == size
    assert there["Metadata"]["sha256"] == digest.hexdigest()
    assert there["Metadata"]["filename"] == f"%C3%A9%20{size}%20{chunked}"
    headers = requests.head(url, timeout=30).headers
    assert (headers["Repr-Digest"], headers["Content-Length"]) == (sent["Repr-Digest"], str(size))


def test_an_object_in_parts_has_a_digest_that_was_not_announced(
    server: RunningServer, s3: Objects, bucket: str
) -> None:
    """S3 takes metadata before the first byte; a note beside the object has the digest."""
    url = f"{server.url}/files/noted/large"
    assert requests.put(url, data=LARGE, timeout=60).status_code == 201
    digest = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
    assert requests.head(url, timeout=30).headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert [key for key in s3.keys(bucket, "up/noted/") if ".sluiceway" in key]
    listed = requests.get(f"{server.url}/files?prefix=noted/", timeout=30).json()["files"]
    assert [entry["key"] for entry in listed] == ["noted/large"]
    assert requests.delete(url, timeout=30).status_code == 204
    assert s3.keys(bucket, "up/noted/") == []


def test_a_cut_upload_leaves_nothing(server: RunningServer, s3: Objects, bucket: str) -> None:
    """Some parts were stored: neither an object nor an unfinished upload remains."""
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/cut", f"Content-Length: {40 * MIB}") + LARGE)
        eventually(
            lambda: s3.unfinished(bucket) == ["up/cut"],
            "the first part is sent while the body arrives",
        )
        wire.reset()

    eventually(lambda: s3.unfinished(bucket) == [], "the upload is aborted")
    assert requests.get(f"{server.url}/files/cut", timeout=30).status_code == 404


def test_a_wrong_digest_leaves_nothing(server: RunningServer, s3: Objects, bucket: str) -> None:
    response = requests.put(
        f"{server.url}/files/wrong",
        data=LARGE,
        headers={"Repr-Digest": f"sha-256=:{'A' * 43}=:"},
        timeout=60,
    )
    assert (response.status_code, response.json()["code"]) == (400, "digest-mismatch")
    assert requests.get(f"{server.url}/files/wrong", timeout=30).status_code == 404
    assert s3.unfinished(bucket) == []


def test_a_sweep_removes_the_leftovers_of_a_killed_server(s3: Objects, tmp_path: Path) -> None:
    """Nothing is visible after SIGKILL. `sluiceway sweep` aborts old unfinished uploads only."""
    bucket = s3.fresh()
    server = start_server(tmp_path / "none", env=s3.env, to=s3.url(bucket, "k"))
    try:
        with Wire(server.port) as wire:
            wire.send(head("PUT", "/files/killed", f"Content-Length: {40 * MIB}") + LARGE)
            eventually(lambda: s3.unfinished(bucket) == ["k/killed"], "the first part is sent")
            server.stop(signal.SIGKILL)
    finally:
        server.stop(signal.SIGKILL)
    place = s3.url(bucket, "k")
    assert s3.keys(bucket) == []
    young = sluiceway("sweep", place, env=s3.env)
    assert (young.returncode, s3.unfinished(bucket)) == (0, ["k/killed"]), young.stderr
    swept = sluiceway("sweep", place, "--older-than", "0", env=s3.env)
    assert (swept.returncode, s3.unfinished(bucket)) == (0, []), swept.stderr
    assert b"1 leftover removed" in swept.stdout


def test_a_download_may_be_redirected_to_the_bucket(s3: Objects, tmp_path: Path) -> None:
    """--redirect-downloads: a signed URL has bytes, ranges and the name; conditions stay here."""
    bucket = s3.fresh()
    server = start_server(
        tmp_path / "none", "--redirect-downloads", "60", env=s3.env, to=s3.url(bucket, "d")
    )
    try:
        url = f"{server.url}/files/some/über.html"
        assert (
            requests.put(
                url, data=DATA, headers={"Content-Type": "text/html"}, timeout=30
            ).status_code
            == 201
        )
        sent_on = requests.get(url, timeout=30, allow_redirects=False)
        assert (sent_on.status_code, sent_on.headers["Cache-Control"]) == (307, "no-store")
        assert sent_on.headers["Location"].startswith(s3.endpoint)
        got = requests.get(url, headers={"Range": "bytes=5-9"}, timeout=30)
        assert (got.status_code, got.content) == (206, DATA[5:10])
        # A browser must not display an uploaded page.
        assert got.headers["Content-Disposition"].startswith("attachment")
        assert requests.get(url, timeout=30).content == DATA
        tag = requests.head(url, timeout=30).headers["ETag"]
        assert requests.get(url, headers={"If-None-Match": tag}, timeout=30).status_code == 304
        assert requests.get(f"{server.url}/files/nothing", timeout=30).status_code == 404
    finally:
        server.stop()


NO_KEY = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "HOME": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
WRONG = {
    "bucket": ({}, "no-such-bucket-here", "no such bucket"),
    "secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, None, "key was not accepted"),
    "right": (
        {"AWS_ACCESS_KEY_ID": "test:reader", "AWS_SECRET_ACCESS_KEY": "reading"},
        None,
        "no right",
    ),
    "endpoint": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, None, "cannot be reached"),
    "no key": (NO_KEY, None, "no key was found"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_named_at_the_start(s3: Objects, bucket: str, case: str) -> None:
    """The server does not start, and names the reason: bucket, key, right, endpoint, no key."""
    env, other, words = WRONG[case]
    place = s3.url(other or bucket, "up")
    options = ("--port", "0", "--store-option", "attempts=1")
    done = sluiceway("serve", "--to", place, *options, env={**s3.env, **env})

    assert done.returncode != 0
    assert words in done.stderr.decode(), done.stderr
    assert b"testing" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["color=red", "addressing=odd", "timeout=soon", "endpoint"])
def test_an_invalid_option_is_refused(s3: Objects, bucket: str, option: str) -> None:
    done = sluiceway(
        "serve", "--to", s3.url(bucket), "--port", "0", "--store-option", option, env=s3.env
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert option.partition("=")[0].encode() in done.stderr or b"NAME=VALUE" in done.stderr


def test_copies_into_and_out_of_a_bucket(s3: Objects, tmp_path: Path) -> None:
    """A file, a pipe and a folder into a bucket; an object to a file, a pipe and another bucket."""
    bucket, other = s3.fresh(), s3.fresh()
    file = tmp_path / "large.bin"
    file.write_bytes(LARGE)
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/x.txt").write_bytes(b"x")
    for words, data in (
        ((str(file), s3.url(bucket, "in/")), None),
        (("-", s3.url(bucket, "in/piped")), LARGE[:9_000_000]),
        ((str(tmp_path / "folder"), s3.url(bucket, "f/")), None),
        ((s3.url(bucket, "in/large.bin"), s3.url(other, "there")), None),
        ((s3.url(other, "there"), str(tmp_path / "back")), None),
    ):
        done = sluiceway("copy", *words, env=s3.env, data=data)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == LARGE
    assert [key for key in s3.keys(bucket) if ".sluiceway" not in key] == [
        "f/deep/x.txt",
        "in/large.bin",
        "in/piped",
    ]
    out = sluiceway("copy", s3.url(bucket, "in/piped"), "-", env=s3.env)
    assert out.stdout == LARGE[:9_000_000]
    again = sluiceway("copy", str(file), s3.url(bucket, "in/"), env=s3.env)
    assert again.returncode != 0
    assert b"already" in again.stderr
    assert (
        sluiceway("copy", str(file), s3.url(bucket, "in/"), "--force", env=s3.env).returncode == 0
    )


@pytest.mark.parametrize("beside_a_folder", [False, True])
def test_readyz_probes_the_bucket(s3: Objects, tmp_path: Path, beside_a_folder: bool) -> None:
    """/readyz asks the bucket, also as the second destination: 503 when the bucket is missing."""
    bucket = s3.fresh()
    to, more = (
        (str(tmp_path / "a"), ["--to", s3.url(bucket)]) if beside_a_folder else (s3.url(bucket), [])
    )
    server = start_server(
        tmp_path / "none", "--store-option", "attempts=1", *more, env=s3.env, to=to
    )
    try:
        assert requests.get(f"{server.url}/readyz", timeout=30).status_code == 200
        assert s3.unfinished(bucket) == []
        s3.client.delete_bucket(Bucket=bucket)
        eventually(
            lambda: requests.get(f"{server.url}/readyz", timeout=30).status_code == 503,
            "the bucket is probed again",
        )
        eventually(lambda: "no such bucket" in server.log(), "the log says why")
    finally:
        server.stop()


def test_probes_of_a_bucket_make_no_listing(s3: Objects, tmp_path: Path) -> None:
    """The bucket gets one small request a second; a listing costs twelve times as much."""
    bucket, proxy = s3.fresh(), S3Faults(s3.endpoint)
    server = start_server(
        tmp_path / "none", env={**s3.env, "AWS_ENDPOINT_URL": proxy.url}, to=s3.url(bucket)
    )
    try:
        before, began = len(proxy.seen), time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            responses = list(
                pool.map(
                    lambda _: requests.get(f"{server.url}/readyz", timeout=30).status_code,
                    range(60),
                )
            )
        requested = proxy.seen[before:]
        assert responses == [200] * 60
        assert 1 <= len(requested) <= 2 + time.monotonic() - began
        assert set(requested) == {"get"}
    finally:
        server.stop()
        proxy.close()
