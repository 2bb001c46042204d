"""A bucket beside a folder, behind Starlette and Flask apps, and at both ends of a copy of many."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_s3 import Objects
from fix_server import Serve, start_server
from fix_taking import eventually, noise
from fix_wsgi import running
from free_ports import free_port
from raw_http import Wire, head

MIB = 1 << 20
TESTS = Path(__file__).parent.parent
LARGE = noise(9 * MIB + 3, 7)


def copy_many(
    *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", "copy", "-r", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **(env or {})},
    )


def test_a_file_goes_to_a_folder_and_a_bucket_in_one_pass(
    s3: Objects, tmp_path: Path, serve: Serve
) -> None:
    """Both have it or none: a whole upload, and one that is cut."""
    bucket = s3.fresh()
    # With this memory parts have 8 MiB.
    server = serve("--to", s3.url(bucket, "both"), "--memory-budget", "32MiB", env=s3.env)
    response = requests.put(f"{server.url}/files/large", data=LARGE, timeout=60)
    assert response.status_code == 201
    assert len(response.json()["files"][0]["destinations"]) == 2
    assert (server.root / "large").read_bytes() == LARGE
    assert s3.client.get_object(Bucket=bucket, Key="both/large")["Body"].read() == LARGE
    assert (
        requests.get(
            f"{server.url}/files/large", headers={"Range": "bytes=7-12"}, timeout=30
        ).content
        == LARGE[7:13]
    )

    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/cut", f"Content-Length: {40 * MIB}") + LARGE)
        eventually(lambda: s3.unfinished(bucket) == ["both/cut"], "a part is in flight")
        wire.reset()
    eventually(lambda: s3.unfinished(bucket) == [] and server.drafts() == [], "both discard it")
    assert s3.keys(bucket, "both/cut") == []
    assert server.stored() == {"large": len(LARGE)}


def test_a_starlette_app_keeps_its_files_in_a_bucket(s3: Objects, tmp_path: Path) -> None:
    """The service is mounted on plain uvicorn; a form is stored, ranges are read."""
    bucket = s3.fresh()
    port = free_port()
    env = {**os.environ, **s3.env, "FOLDER": str(tmp_path), "STORE": s3.url(bucket, "mounted")}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "starlette_views:app"]
    process = subprocess.Popen(
        command, cwd=TESTS, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}/drop"

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens, "the app listens")
        stored = requests.post(
            f"{url}/files", files={"f": ("large.bin", LARGE)}, timeout=60
        ).json()["files"][0]
        assert f"mounted/{stored['key']}" in s3.keys(bucket)
        got = requests.get(
            f"{url}/files/{stored['key']}", headers={"Range": "bytes=8388600-8388610"}, timeout=30
        )
        assert (got.status_code, got.content) == (206, LARGE[8388600:8388611])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_a_flask_app_on_gunicorn_keeps_its_files_in_a_bucket(s3: Objects, tmp_path: Path) -> None:
    bucket = s3.fresh()
    place = {"BACKEND": s3.url(bucket, "flask"), **s3.env}
    with running("gunicorn gthread", tmp_path, takes, "mount_views:app", **place) as app:
        url = f"{app.url}/on/files/a/large"
        assert requests.put(url, data=LARGE, timeout=60).status_code == 201
        assert requests.get(url, headers={"Range": "bytes=0-99"}, timeout=30).content == LARGE[:100]
        assert s3.client.head_object(Bucket=bucket, Key="flask/a/large")["ContentLength"] == len(
            LARGE
        )
        assert app.spools() == set()
        assert requests.delete(url, timeout=30).status_code == 204


def test_odd_keys_are_named_and_the_other_objects_are_served_and_copied(
    s3: Objects, tmp_path: Path
) -> None:
    """The server names them at its start and in its listing; a copy counts them as failed."""
    bucket = s3.fresh()
    for key in ("a", "odd//x", "p/../q", "t\tab", "l\nf", "z", "/z"):
        s3.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    server = start_server(tmp_path / "none", env=s3.env, to=s3.url(bucket))
    try:
        assert "3 keys cannot be served, such as /z" in server.log()
        listing = requests.get(f"{server.url}/files", timeout=30).json()
        assert [file["key"] for file in listing["files"]] == ["a", "l\nf", "t\tab", "z"]
        assert sorted(one["name"] for one in listing["omitted"]) == ["/z", "odd//x", "p/../q"]
        assert {one["code"] for one in listing["omitted"]} == {"bad-name"}
        for file in listing["files"]:
            assert requests.get(server.url + file["url"], timeout=30).text == file["key"]
    finally:
        server.stop()

    done = copy_many(s3.url(bucket), f"{tmp_path}/out", env=s3.env)
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert report["copied"] == 4
    assert (done.returncode, report["failed"]) == (6, 3)
    assert all(name in done.stdout for name in ("/z", "odd//x", "p/../q"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "l\nf", "t\tab", "z"}

    back = s3.fresh()
    done = copy_many(f"{tmp_path}/out", s3.url(back), env=s3.env)
    assert done.returncode == 0, done.stderr
    assert sorted(s3.keys(back)) == ["a", "l\nf", "t\tab", "z"]

    # A console's folder marker is no failure.
    s3.client.put_object(Bucket=back, Key="photos/", Body=b"")
    done = copy_many(s3.url(back), f"{tmp_path}/again", env=s3.env)
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert (done.returncode, report["copied"], report["failed"], report["left_out"]) == (0, 4, 0, 1)


@pytest.mark.parametrize("way", ["options", pytest.param("query", marks=pytest.mark.torture)])
def test_many_are_copied_from_a_bucket_to_a_folder_and_a_server_and_back(
    s3: Objects, tmp_path: Path, way: str
) -> None:
    """`copy -r` with the bucket's options on the command line or in its URL."""
    bucket = s3.fresh()
    data = {f"k/{number}": noise(number * 1000, number) for number in range(12)} | {
        "k/large": LARGE
    }
    for key, value in data.items():
        s3.client.put_object(Bucket=bucket, Key=key, Body=value)
    options = {name.replace("_", "-"): value for name, value in s3.options.items()}
    place, words = (
        s3.url(bucket, "k/"),
        [word for name, value in options.items() for word in ("--store-option", f"{name}={value}")],
    )
    if way == "query":
        place, words = (
            f"{place}?{'&'.join(f'{name}={value}' for name, value in options.items())}",
            [],
        )
    server = start_server(tmp_path / "root")
    try:
        for source, target in (
            (place, f"{tmp_path}/out/"),
            (place, f"{server.url}/files/in/"),
            (f"{server.url}/files/in/", place),
        ):
            done = copy_many(source, target, *words)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout.splitlines()[-1])["report"]
            assert (report["failed"], report["copied"] + report["skipped"]) == (0, len(data)), (
                report
            )
    finally:
        server.stop()
    for key, value in data.items():
        assert (tmp_path / "out" / key.removeprefix("k/")).read_bytes() == value
        assert (server.root / "in" / key.removeprefix("k/")).read_bytes() == value
