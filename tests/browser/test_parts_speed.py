"""How long the page takes over one connection, over three, and over as many as it measures.

Prints what it finds (`-s`); only ratios that hold on any machine are checked.

    SLUICEWAY_TORTURE=1 pytest -s tests/browser/test_parts_speed.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from browser.parts_page import OpenParts, PartsPage, film_of
from browser.test_resumed_uploads import wait_for
from cutting_proxy import CuttingProxy
from fix_link import THERE, Link
from fix_server import Serve
from fix_taking import eventually
from long_line import LongLine

pytestmark = [pytest.mark.chromium, pytest.mark.torture, pytest.mark.timeout(1800)]

SIZE = 128 << 20
ROUNDS = 3
PORT = 8790  # in a network namespace of its own
DELAY = 40  # milliseconds, each way
WAYS = ("one", "three", "first", "second")  # the last two: measured by the page
TICK = 1 / os.sysconf("SC_CLK_TCK")

Measure = Callable[[str, int, int], dict[str, float]]


def cpu(pid: int) -> float:
    """Processor seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


@pytest.fixture
def measure(open_parts: OpenParts, tmp_path: Path) -> Measure:
    """Seconds of each way at a place: the best of some rounds, whose ways take turns."""

    def sent(page: PartsPage, path: Path) -> float:
        began = time.monotonic()
        page.choose(path)
        wait_for(page, "done", path.name)
        took = time.monotonic() - began
        page.forget()
        for stored in tmp_path.rglob(f"*/{path.name}"):
            stored.unlink()
        return took

    def run(url: str, size: int, server: int) -> dict[str, float]:
        film = film_of(tmp_path, size, f"film{size >> 20}.bin")
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        spent: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            measured = open_parts(url)
            measured.page.evaluate("localStorage.clear()")  # what the round before has measured
            for way in WAYS:
                page = measured if way in ("first", "second") else open_parts(url)
                page.use({"one": 1, "three": 3}.get(way, 0))
                before = cpu(server)
                took[way].append(sent(page, film))
                spent[way].append(cpu(server) - before)
        for way in WAYS:
            seconds = " ".join(f"{one:.2f}" for one in took[way])
            used = " ".join(f"{one:.2f}" for one in spent[way])
            print(
                f"\n{size >> 20} MiB, {way}: {seconds} s, processor of the server {used} s", end=""
            )
        return {way: min(took[way]) for way in WAYS}

    return run


def test_a_plain_line(serve: Serve, measure: Measure) -> None:
    """One connection is as fast as there is, and the page finds that out at no cost."""
    server = serve()
    found = measure(server.url, 2 * SIZE, server.process.pid)
    assert max(found["first"], found["second"]) < 1.5 * found["one"]


def test_a_line_that_limits_each_connection(serve: Serve, measure: Measure) -> None:
    server = serve()
    with CuttingProxy(server.port, rate=12e6) as proxy:
        found = measure(proxy.url, SIZE, server.process.pid)
    assert max(found["three"], found["second"]) < 0.7 * found["one"]
    assert found["first"] < 0.9 * found["one"]


@pytest.mark.parametrize("rate", [12e6, 36e6])
def test_a_line_that_limits_all_together(serve: Serve, measure: Measure, rate: float) -> None:
    server = serve()
    with CuttingProxy(server.port, total=rate) as proxy:
        found = measure(proxy.url, SIZE, server.process.pid)
    assert max(found["first"], found["second"]) < 1.3 * found["one"]


@pytest.fixture
def far(link: Link, serve: Serve, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A server that is 80 ms away: its URL and its process. By the kernel, or by a proxy."""
    try:
        link.delay(DELAY)
    except subprocess.CalledProcessError:  # a kernel without netem
        near = serve()
        with LongLine(near.port, DELAY / 1000) as line:
            yield line.url, near.process.pid
        return
    folder, place = str(tmp_path / "far"), ("--host", THERE, "--port", str(PORT))
    options = "--no-auth", "--allowed-host", THERE
    command = [sys.executable, "-m", "sluiceway", "serve", "--to", folder, *place, *options]
    server, url = link.start(*command), f"http://{THERE}:{PORT}"

    def answers() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{url}/healthz", timeout=30).ok
        return False

    eventually(answers, "the server is there")
    yield url, server.pid
    server.terminate()
    server.wait(30)


@pytest.mark.root
def test_a_long_line(far: tuple[str, int], measure: Measure) -> None:
    """Each connection waits for its acknowledgements."""
    url, server = far
    found = measure(url, SIZE, server)
    assert max(found["first"], found["second"]) < 1.3 * found["one"]


@pytest.mark.parametrize("is_each", [True, False], ids=["each", "all"])
def test_a_long_line_with_a_limit(serve: Serve, measure: Measure, is_each: bool) -> None:
    """Pieces and parts cost round trips, and are large enough for that."""
    server = serve()
    rate, total = (12e6, float("inf")) if is_each else (float("inf"), 24e6)
    with (
        CuttingProxy(server.port, rate=rate, total=total) as proxy,
        LongLine(int(proxy.url.rpartition(":")[2]), DELAY / 1000) as line,
    ):
        found = measure(line.url, SIZE, server.process.pid)
    if is_each:
        assert max(found["three"], found["second"]) < 0.7 * found["one"]
    assert max(found["first"], found["second"]) < 1.3 * found["one"]
