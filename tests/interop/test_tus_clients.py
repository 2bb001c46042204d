"""Clients of tus that nobody here wrote: whole, through a line that breaks, and in parallel parts.

The line ends each connection after so many bytes; every client goes on where the server has its
upload, and sends little twice.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiotus
import pytest
import requests
from tusclient.client import TusClient

from cutting_proxy import CuttingProxy
from fix_npm import npm_package
from fix_server import RunningServer
from fix_taking import noise

DATA = noise(3_000_017)
CUT = 1_000_000  # bytes of a connection
SCRIPT = Path(__file__).parents[1] / "npm" / "tus_js_client.mjs"
MIB = 1 << 20

# aiotus hands its pieces to aiohttp as bytes, which warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")

Upload = Callable[[str, Path], str]  # the endpoint and the file -> the URL of the upload


def tus_js_client(endpoint: str, file: Path, **options: object) -> str:
    npm_package("tus-js-client")
    done = subprocess.run(
        ["node", str(SCRIPT), endpoint, str(file), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_chunks(endpoint: str, file: Path) -> str:
    return tus_js_client(endpoint, file, chunkSize=400_000, uploadDataDuringCreation=True)


def with_override(endpoint: str, file: Path) -> str:
    return tus_js_client(endpoint, file, overridePatchMethod=True)


def tuspy(endpoint: str, file: Path, checks: bool = False) -> str:
    with file.open("rb") as data:
        uploader = TusClient(endpoint).uploader(
            file_stream=data,
            chunk_size=1_500_000,
            retries=20,
            retry_delay=0,
            metadata={"filename": file.name},
            upload_checksum=checks,
        )
        uploader.upload()
    return str(uploader.url)


def aiotus_client(endpoint: str, file: Path) -> str:
    config = aiotus.RetryConfiguration(retry_attempts=20, max_retry_period_seconds=0.1)

    async def upload() -> str:
        with file.open("rb") as data:
            url = await aiotus.upload(
                endpoint, data, {"filename": file.name.encode()}, config=config
            )
        return str(url)

    return asyncio.run(upload())


CLIENTS: dict[str, Upload] = {
    "tus-js-client": tus_js_client,
    "tus-js-client in chunks": in_chunks,
    "tus-js-client with POST": with_override,
    "tuspy": tuspy,
    "aiotus": aiotus_client,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / f"{tmp_path.name}.bin"
    path.write_bytes(DATA)
    return path


def stored_as(server: RunningServer, name: str) -> bytes:
    (key,) = [key for key in server.stored() if key.endswith(f"/{name}")]
    return (server.root / key).read_bytes()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_line_that_breaks_costs_little(taker: RunningServer, file: Path, client: str) -> None:
    with CuttingProxy(taker.port, CUT) as proxy:
        url = CLIENTS[client](f"{proxy.url}/files", file)
        assert stored_as(taker, file.name) == DATA
        assert proxy.cuts >= 1
        # tuspy asks at once again, before the server has read what its system holds
        assert proxy.sent <= (3 if client == "tuspy" else 1.5) * len(DATA)
    upload = url.rpartition("/")[2]
    watched = requests.get(f"{taker.url}/uploads/{upload}", timeout=10)
    assert watched.json()["state"] == "complete"


def test_tuspy_sends_checksums(taker: RunningServer, file: Path) -> None:
    tuspy(f"{taker.url}/files", file, checks=True)
    assert stored_as(taker, file.name) == DATA


@pytest.mark.parametrize("is_proxied", [pytest.param(False, marks=pytest.mark.torture), True])
def test_tus_js_client_speaks_a_draft_of_the_ietf(
    taker: RunningServer, file: Path, is_proxied: bool
) -> None:
    """Behind a proxy no 104 is sent, and the whole file is no resumable upload. The name and the
    type are those of its metadata."""
    options = {
        "protocol": "ietf-draft-05",
        "uploadDataDuringCreation": True,
        "uploadSize": len(DATA),
        "headers": {"X-Forwarded-For": "192.0.2.1"} if is_proxied else {},
        "metadata": {"filename": file.name, "filetype": "video/mp4"},
    }
    tus_js_client(f"{taker.url}/files", file, **options)
    assert stored_as(taker, file.name) == DATA
    (key,) = [key for key in taker.stored() if key.endswith(f"/{file.name}")]
    kept = requests.head(f"{taker.url}/files/{key}", timeout=10)
    assert kept.headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize("cut", [None, CUT])
def test_tus_js_client_sends_parts_side_by_side(
    taker: RunningServer, file: Path, cut: int | None
) -> None:
    """And has the server join them; its file is the whole one."""
    with CuttingProxy(taker.port, cut) as proxy:
        tus_js_client(f"{proxy.url}/files", file, parallelUploads=3)
    assert stored_as(taker, file.name) == DATA


def test_aiotus_joins_several_files(taker: RunningServer, file: Path) -> None:
    other = file.with_name("other.bin")
    other.write_bytes(b"the end")

    async def upload() -> None:
        with file.open("rb") as first, other.open("rb") as second:
            await aiotus.upload_multiple(
                f"{taker.url}/files", [first, second], {"filename": b"joined-aiotus.bin"}
            )

    asyncio.run(upload())
    assert stored_as(taker, "joined-aiotus.bin") == DATA + b"the end"


def test_aiotus_reads_the_metadata_of_a_finished_upload(taker: RunningServer, file: Path) -> None:
    url = aiotus_client(f"{taker.url}/files", file)
    assert asyncio.run(aiotus.metadata(url)) == {"filename": file.name.encode()}


@pytest.mark.torture
@pytest.mark.parametrize("parallel", [1, 3])
def test_150_mb_through_a_line_that_ends_after_100(
    taker: RunningServer, tmp_path: Path, parallel: int
) -> None:
    """It arrives, and at most 1.02 times its bytes are sent."""
    file, size = tmp_path / f"large-{parallel}.bin", 150_000_000
    file.write_bytes(noise(1 << 20) * (size >> 20) + b"x" * (size % MIB))
    with CuttingProxy(taker.port, 100_000_000) as proxy:
        tus_js_client(f"{proxy.url}/files", file, parallelUploads=parallel)
        assert proxy.sent <= 1.02 * file.stat().st_size
        assert (proxy.cuts > 0) is (parallel == 1)
    assert stored_as(taker, file.name) == file.read_bytes()
