"""GET /files?as=zip: everything below a prefix as one zip of the announced length.

Otherwise the connection breaks, and the log says why.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import time
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from fix_gateway import takes
from fix_server import RunningServer, Serve
from fix_taking import TORTURE, eventually
from fix_wsgi import running
from raw_http import head
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import ODD_KEYS, pattern

MIB = 1 << 20
LARGE = (500 if TORTURE else 60) * MIB
ALLOWED = 8 * MIB  # how much higher the large one may peak: allocators, page tables


def put(server: RunningServer, key: str, data: bytes) -> None:
    requests.put(f"{server.url}/files/{quote(key)}", data=data, timeout=30).raise_for_status()


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def count(response: requests.Response, got: list[int]) -> None:
    for piece in response.iter_content(MIB):
        got.append(len(piece))  # noqa: PERF401 - what came before a failure stays


def asked(server: RunningServer, method: str = "GET", **params: str) -> requests.Response:
    return requests.request(
        method, f"{server.url}/files", params={"as": "zip", **params}, timeout=60
    )


def test_a_prefix_is_downloaded_as_one_zip(taker: RunningServer) -> None:
    """With its length, a name from the prefix, and inert headers; no file outside the prefix."""
    inside = {"photos/1.jpg": pattern(3 * MIB), "photos/sub/2.jpg": b"2", "photos/empty": b""}
    for key, data in {**inside, "photos2/no": b"no", "other": b"no"}.items():
        put(taker, key, data)
    response = asked(taker, prefix="photos/")

    assert response.status_code == 200
    assert len(response.content) == int(response.headers["Content-Length"])
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Content-Disposition"] == 'attachment; filename="photos.zip"'
    assert response.headers["Accept-Ranges"] == "none"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == inside


def test_head_has_the_headers_of_get(taker: RunningServer) -> None:
    """The same headers, no body, and the connection stays usable."""
    put(taker, "head/1", pattern(MIB))
    with requests.Session() as session:
        url, params = f"{taker.url}/files", {"as": "zip", "prefix": "head/"}
        response = session.head(url, params=params, timeout=30)
        got = session.get(url, params=params, timeout=30)
    apart = ("date", "x-request-id", "traceparent")

    assert response.status_code == 200
    assert {k: v for k, v in response.headers.items() if k.lower() not in apart} == {
        k: v for k, v in got.headers.items() if k.lower() not in apart
    }


def test_odd_keys_come_out_of_unzip_as_they_were(serve: Serve, tmp_path: Path) -> None:
    """By curl and unzip."""
    server = serve()
    for key in ODD_KEYS:
        path = server.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())
    if not shutil.which("unzip") or not shutil.which("curl"):
        pytest.skip("needs curl and unzip")
    subprocess.run(
        ["curl", "-sfJO", f"{server.url}/files?as=zip"], cwd=tmp_path, check=True, timeout=60
    )
    # -V: a name that ends in ; is no version of a VMS file
    subprocess.run(
        ["unzip", "-qV", "files.zip", "-d", "out"],
        cwd=tmp_path,
        check=True,
        timeout=60,
        env={"LC_ALL": "C.UTF-8"},
    )

    for key in ODD_KEYS:
        assert (tmp_path / "out" / key).read_bytes() == key.encode()


def test_bsdtar_unpacks_it_from_a_pipe(taker: RunningServer, tmp_path: Path) -> None:
    """From front to back, without the directory, while it arrives."""
    if not shutil.which("bsdtar"):
        pytest.skip("bsdtar is not installed")
    inside = {"pipe/1": pattern(3 * MIB), "pipe/empty": b"", "pipe/é 2": b"2"}
    for key, data in inside.items():
        put(taker, key, data)
    data = asked(taker, prefix="pipe/").content
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        ["bsdtar", "-xf", "-"], input=data, cwd=tmp_path, check=True, timeout=60, env=env
    )

    assert {key: (tmp_path / key).read_bytes() for key in inside} == inside


@pytest.mark.parametrize(
    ("params", "status", "words"),
    [
        ({"as": "tar"}, 400, "as can only be zip"),
        ({"as": ""}, 400, "as can only be zip"),
        ({"prefix": "nothing/"}, 404, "no file below"),
        ({"limit": "3"}, 400, "leave out limit"),
        ({"after": "a"}, 400, "leave out after"),
    ],
)
def test_contradictory_parameters_are_refused(
    taker: RunningServer, params: dict[str, str], status: int, words: str
) -> None:
    """With a reason, before the first byte."""
    response = asked(taker, **params)

    assert response.status_code == status
    assert words in response.json()["detail"]


def test_a_relay_has_no_zip(serve: Serve) -> None:
    """A relay keeps no files."""
    server = serve("--to", "http://127.0.0.1:9/files/")
    response = asked(server)

    assert response.status_code == 404, response.text


def _logged(server: RunningServer, words: str) -> bool:
    return words in server.log()


def test_a_name_that_leads_out_is_left_out_and_logged(serve: Serve) -> None:
    """Files from elsewhere with names that could lead out: the zip is made, with a comment."""
    server = serve()
    server.root.mkdir(exist_ok=True)
    odd = [b"..\\..\\boot.ini", b"C:x", b"bad\xff"]
    for name in (*odd, b"good"):
        Path(os.fsdecode(os.fsencode(server.root) + b"/" + name)).write_bytes(b"x")
    response = asked(server)

    assert response.status_code == 200
    assert len(response.content) == int(response.headers["Content-Length"])
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["good"]
        comment = archive.comment.decode()
    assert comment.startswith("Not in this archive, although meant: 3\n")
    for named in ("boot.ini", "C:x", "bad\\udcff"):
        assert named in comment
        eventually(partial(_logged, server, named), "the log names it")
    lines = len(server.lines)
    asked(server)
    assert not [line for line in server.lines[lines:] if "leave out" in line]  # logged once


def test_if_no_file_can_be_packed_the_response_counts_them(serve: Serve) -> None:
    """Only names that cannot be in a zip: 404 with their number, and no empty zip."""
    server = serve()
    (server.root / "C:x").write_bytes(b"x")
    response = asked(server)

    assert (response.status_code, response.json()["code"]) == (404, "not-found")
    assert "1 cannot be in one" in response.json()["detail"]


@pytest.mark.parametrize("key", ["C:x", "a/C:x", "c:", "z:/y"])
def test_a_client_cannot_upload_such_a_name(taker: RunningServer, key: str) -> None:
    """Refused as a key, with the reason."""
    response = requests.put(f"{taker.url}/files/{key}", data=b"x", timeout=10)

    assert (response.status_code, response.json()["code"]) == (400, "bad-name")
    assert "drive" in response.json()["detail"]


def test_a_file_replaced_meanwhile_breaks_off_the_zip(serve: Serve) -> None:
    """Fewer bytes than Content-Length, never a zip of two versions."""
    server = serve()
    for number in range(4):
        sparse(server.root / f"{number}.bin", 64 * MIB)
    with requests.get(
        f"{server.url}/files", params={"as": "zip"}, stream=True, timeout=60
    ) as response:
        length = int(response.headers["Content-Length"])
        assert length > 256 * MIB
        response.raw.read(MIB)
        put(server, "3.bin", b"another")
        got = [MIB]
        with pytest.raises(
            (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)
        ):
            count(response, got)

    assert sum(got) < length
    eventually(
        lambda: "'3.bin' could not be put into the zip: it was replaced meanwhile" in server.log()
    )


def test_a_reader_that_leaves_leaves_nothing_open(serve: Serve) -> None:
    """Its open files are closed; the server continues."""
    server = serve()
    for number in range(4):
        sparse(server.root / f"{number}.bin", 64 * MIB)

    def held() -> int:
        folder = f"/proc/{server.pid}/fd"
        count = 0
        for fd in os.listdir(folder):
            with suppress(FileNotFoundError):  # closed while the test looks
                count += os.readlink(f"{folder}/{fd}").endswith(".bin")
        return count

    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(head("GET", "/files?as=zip"))
        assert sock.recv(1000)
        eventually(lambda: held() == 1)

    eventually(lambda: held() == 0)
    assert requests.get(f"{server.url}/healthz", timeout=10).ok


def test_a_slow_reader_slows_the_server(serve: Serve) -> None:
    """Objects are read only as fast as the reader takes them: memory stays constant."""
    server = serve()
    sparse(server.root / "large.bin", 1024 * MIB)
    asked(server, "HEAD")
    meter = MemoryMeter(server.pid)
    meter.reset()
    before = meter.now()
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(head("GET", "/files?as=zip"))
        time.sleep(1)
        assert sock.recv(100)
        assert meter.peak() - before <= ALLOWED


def test_memory_does_not_grow_with_the_size_of_the_zip(serve: Serve) -> None:
    """A zip many times as large takes no more memory."""
    server = serve()
    peaks = []
    for folder, size in (("small", 5 * MIB), ("large", LARGE)):
        sparse(server.root / folder / "1.bin", size)
        sparse(server.root / folder / "2.bin", size)
        meter = MemoryMeter(server.pid)
        meter.reset()
        with requests.get(
            f"{server.url}/files",
            params={"as": "zip", "prefix": f"{folder}/"},
            stream=True,
            timeout=60,
        ) as response:
            got = sum(len(piece) for piece in response.iter_content(MIB))
            assert got == int(response.headers["Content-Length"])
        peaks.append(meter.peak())

    assert peaks[1] - peaks[0] <= ALLOWED


def test_the_token_is_required(serve: Serve) -> None:
    """As for every other listing."""
    server = serve("--token", "a-secret-token")
    put_ = requests.put(
        f"{server.url}/files/a",
        data=b"a",
        headers={"Authorization": "Bearer a-secret-token"},
        timeout=10,
    )
    assert put_.status_code == 201

    assert asked(server).status_code == 401


def test_memory_for_the_list_is_acquired_and_released(serve: Serve) -> None:
    """More members than the budget can hold are refused; all memory is released in the end."""
    server = serve("--memory-budget", "4MiB")
    for number in range(3500):
        path = server.root / ("most" if number < 2500 else "rest") / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in range(2):
        assert asked(server).status_code == 503
        assert "longer prefix" in asked(server, "GET").json()["detail"]
        eventually(
            lambda: asked(server, "HEAD", prefix="most/").status_code == 200
        )  # the server soon notices that the reader left
        assert asked(server, prefix="most/").status_code == 200
        with requests.get(
            f"{server.url}/files", params={"as": "zip", "prefix": "most/"}, stream=True, timeout=60
        ):
            pass  # and leaves
    put(server, "still", b"works")


def test_a_mounted_wsgi_app_gives_the_same_zip(tmp_path: Path) -> None:
    """The whole service inside Flask, on gunicorn."""
    with running("gunicorn gthread", tmp_path, takes, "mount_views:app") as app:
        for key in ("z/1", "z/2"):
            requests.put(
                f"{app.url}/drop/files/{key}", data=pattern(MIB), timeout=30
            ).raise_for_status()
        response = requests.get(
            f"{app.url}/drop/files", params={"as": "zip", "prefix": "z/"}, timeout=30
        )

    assert len(response.content) == int(response.headers["Content-Length"])
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "z/1": pattern(MIB),
            "z/2": pattern(MIB),
        }
