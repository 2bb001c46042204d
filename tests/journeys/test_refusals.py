"""Refusals while the client still sends: each common client reads the response, not a reset, every
time.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import aiohttp
import httpx
import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import TORTURE, need
from raw_http import Wire, head

TIMES = 200 if TORTURE else 5
AT_ONCE = 40
SIZE = 64 << 20  # bytes each client wants to send
TOKEN = "a-long-token-for-this"
PIECE = bytes(1 << 16)


class Job(NamedTuple):
    """One upload to be refused."""

    url: str
    headers: dict[str, str]
    file: Path
    chunks: bool


FingerprintSet = tuple[int, str]  # status and body, or 0 and what went wrong


def zeros() -> Iterator[bytes]:
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


async def async_zeros() -> AsyncIterator[bytes]:
    for piece in zeros():
        yield piece


def by_curl(job: Job) -> FingerprintSet:
    command = [
        "curl",
        "--silent",
        "--max-time",
        "60",
        "--write-out",
        "\n%{http_code}",
        "--header",
        "Expect:",
    ]
    command += [
        word for name, value in job.headers.items() for word in ("--header", f"{name}: {value}")
    ]
    command += ["--header", "Transfer-Encoding: chunked"] if job.chunks else []
    done = subprocess.run(
        [*command, "--upload-file", str(job.file), job.url],
        capture_output=True,
        text=True,
        check=False,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def by_requests(job: Job) -> FingerprintSet:
    with job.file.open("rb") as data:
        response = requests.put(
            job.url, data=zeros() if job.chunks else data, headers=job.headers, timeout=60
        )
    return response.status_code, response.text


def by_httpx(job: Job) -> FingerprintSet:
    length = {} if job.chunks else {"Content-Length": str(SIZE)}
    response = httpx.put(job.url, content=zeros(), headers={**job.headers, **length}, timeout=60)
    return response.status_code, response.text


def all_by(one: Callable[[Job], FingerprintSet]) -> Callable[[list[Job]], list[FingerprintSet]]:
    """Several uploads at the same time, in threads."""

    def attempt(job: Job) -> FingerprintSet:
        try:
            return one(job)
        except (OSError, httpx.HTTPError) as error:
            return 0, repr(error)

    def run(jobs: list[Job]) -> list[FingerprintSet]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(attempt, jobs))

    return run


def all_by_aiohttp(jobs: list[Job]) -> list[FingerprintSet]:
    """Several uploads at the same time, in one event loop."""

    async def attempt(session: aiohttp.ClientSession, job: Job) -> FingerprintSet:
        with job.file.open("rb") as data:
            try:
                async with session.put(
                    job.url, data=async_zeros() if job.chunks else data, headers=job.headers
                ) as response:
                    return response.status, await response.text()
            except (OSError, aiohttp.ClientError) as error:
                return 0, repr(error)

    async def run() -> list[FingerprintSet]:
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(120)
        ) as session:
            seen = await asyncio.gather(*(attempt(session, job) for job in jobs))
        await asyncio.sleep(
            2.5
        )  # what it could not send keeps its connections until the server closes them
        return seen

    return asyncio.run(run())


CLIENTS = {
    "curl": all_by(by_curl),
    "requests": all_by(by_requests),
    "httpx": all_by(by_httpx),
    "aiohttp": all_by_aiohttp,
}
# what they ask for: status, code, key, headers, chunked
CASES: dict[str, tuple[int, str, str, dict[str, str], bool]] = {
    "no token": (401, "unauthorized", "x", {}, False),
    "too large, known": (413, "too-large", "x", {"Authorization": f"Bearer {TOKEN}"}, False),
    "too large, midway": (413, "too-large", "x", {"Authorization": f"Bearer {TOKEN}"}, True),
    "exists": (
        412,
        "precondition-failed",
        "there",
        {"Authorization": f"Bearer {TOKEN}", "If-None-Match": "*"},
        True,
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_refusal_is_read_by_a_client_that_still_sends(
    client: str, serve: Serve, tmp_path: Path
) -> None:
    """Four reasons to refuse, at the first byte and in the middle.

    Every client reads status and text every time.
    """
    if client == "curl":
        need("curl")
    server = serve("--token", TOKEN, "--max-size", "10MiB")
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(SIZE)
    assert (
        requests.put(
            f"{server.url}/files/there", data=b"there", headers=CASES["exists"][3], timeout=10
        ).status_code
        == 201
    )
    cases = list(CASES.values()) * TIMES
    seen = CLIENTS[client](
        [
            Job(f"{server.url}/files/{key}", headers, sparse, chunks)
            for _, _, key, headers, chunks in cases
        ]
    )
    unseen = [
        f"wanted {code}, saw {got} {body!r}"
        for (status, code, *_), (got, body) in zip(cases, seen, strict=True)
        if got != status or f'"{code}"' not in body
    ]

    assert unseen == []
    assert server.stored() == {"there": 5}
    assert server.drafts() == []


@pytest.mark.parametrize("looks_up", [True, False], ids=["looks up at once", "sends first"])
def test_the_rest_of_a_refused_body_is_read_without_a_reset(serve: Serve, looks_up: bool) -> None:
    """The server reads what is in transit, up to some megabytes.

    A reset would make systems drop the response.
    """
    server = serve("--token", TOKEN)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/x", f"Content-Length: {SIZE}"))
        if looks_up:
            assert wire.answer().status == 401
        for _ in range(48):
            wire.send(PIECE)  # 3 MiB; a reset would raise here or at the end
        if not looks_up:
            assert wire.answer().status == 401

        assert wire.sock.recv(1) == b""


def test_the_bytes_read_after_a_refusal_are_bounded(serve: Serve) -> None:
    """The server reads some megabytes more after a refusal, then stops and closes."""
    server = serve("--token", TOKEN)
    taken = 0
    with Wire(server.port, send_buffer=1 << 16) as wire:
        wire.send(head("PUT", "/files/x", f"Content-Length: {10 << 30}"))
        try:
            while taken < 10 << 30:
                taken += wire.sock.send(PIECE)
        except ConnectionError:
            pass  # closed, as it should be
        response = wire.answer()
    # what our socket and the server's may hold besides the 4 MiB that were drained
    in_kernel = int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2]) + (1 << 18)

    assert (response.status, response.headers["connection"]) == (401, "close")
    assert taken <= (4 << 20) + (1 << 19) + in_kernel


def test_the_connection_of_a_silent_client_closes_after_a_refusal(taker: RunningServer) -> None:
    """It gets the response and the end of our side at once, and the connection is closed."""
    with Wire(taker.port) as wire:
        wire.send(head("PUT", "/files/a/../b", "Content-Length: 1000000") + b"some of it")
        assert wire.answer().status == 400
        assert wire.closed()


def test_a_refused_small_body_keeps_the_connection(taker: RunningServer) -> None:
    """If the whole body has arrived, the connection stays open."""
    with Wire(taker.port) as wire:
        for _ in range(3):
            wire.send(head("PUT", "/files/a/../b", "Content-Length: 4") + b"body")
            response = wire.answer()

            assert (response.status, response.headers.get("connection")) == (400, None)
