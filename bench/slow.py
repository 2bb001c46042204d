"""1,000 uploads at 1 KiB/s each.

Memory per upload, and how long a normal upload takes beside them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.contenders import Contender, start
from bench.process import Failed, Server, waiting_bytes
from bench.rounds import Bench
from bench.stored import MIB, empty, sha256_of, stored_files
from bench.transfer import ROOT, send

__all__ = ["COUNT", "NORMAL", "PIECE", "Slow", "measure"]

COUNT = 1000
PIECE = 1024  # bytes a second of each slow upload
STEADY, QUICK_STEADY = 25.0, 2.0  # seconds all of them run before memory is read
NORMAL = 64 * MIB
TIMES = 5  # normal uploads timed, beside and alone
# bytes of the only upload before idle memory is read: a bigger one would leave memory to be reused
# unseen
FIRST = 1024


@dataclass(frozen=True, slots=True)
class Slow:
    """The results of one contender."""

    idle_rss: int
    loaded_rss: int
    alive: int  # slow uploads still under way at the end
    pieces: int  # KiB taken over from all of them
    unread: int  # bytes the server had left in its sockets when memory was read
    beside: list[float]  # seconds of a normal upload beside the slow ones
    alone: list[float]  # the same on a fresh server with nothing beside
    appeared: int  # slow uploads that became visible although they were cut off: must be 0 for ours
    cpu: float  # server CPU seconds a second under the slow uploads

    @property
    def bytes_each(self) -> float:
        return (self.loaded_rss - self.idle_rss) / COUNT

    @property
    def honest(self) -> bool:
        """No upload was lost, left unread in the kernel, or visible too early: that would flatter a
        server.
        """
        return self.alive == COUNT and self.unread < COUNT * PIECE and not self.appeared


def raise_open_files(most: int = 8192) -> int:
    """The servers inherit it: many sockets and their files need more than the usual 1,024.

    Returns what was to be had: not everybody may raise the hard limit, not even every root.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most > hard != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        except (OSError, ValueError):
            most = hard
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(hard, most)))
    return most


def normal_uploads(bench: Bench, server: Server, contender: Contender, name: str) -> list[float]:
    source = bench.source(min(NORMAL, bench.size))
    return [
        send(server, contender, source, f"{name}-{number}.bin").seconds for number in range(TIMES)
    ]


def trickling(server: Server, contender: Contender) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "bench.trickle", "--port", str(server.port), "--method",
        contender.method,
        "--path", contender.path, "--count", str(COUNT), "--piece", str(PIECE),
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def measure(bench: Bench, contender: Contender) -> Slow:
    """Memory idle and under load, then normal uploads beside it, then those on a fresh server."""
    raise_open_files()
    steady = QUICK_STEADY if bench.quick else STEADY
    place = bench.place()
    digest = sha256_of(bench.source(min(NORMAL, bench.size)))
    with start(contender, bench.binaries, place) as (server, to):
        send(server, contender, bench.source(FIRST), "first.bin")
        time.sleep(1)
        idle = server.rss()
        client = trickling(server, contender)
        try:
            if client.stdout is None or client.stdin is None or not client.stdout.readline():
                raise Failed("the slow client ended early")
            cpu = server.cpu()
            time.sleep(steady)
            cpu = (server.cpu() - cpu) / steady
            unread, loaded = waiting_bytes(server.port), server.rss()
            beside = normal_uploads(bench, server, contender, "beside")
            client.stdin.close()
            report = json.loads(client.stdout.readline())
        finally:
            if client.poll() is None and client.stdin is not None and client.stdin.closed:
                client.wait(30)
            elif client.poll() is None:
                client.kill()
                client.wait(30)
            if client.stdout is not None:
                client.stdout.close()
        time.sleep(2)  # the server notices the hang-ups
        found = stored_files(to)
        check_beside([sha256_of(path) for path in found if "beside-" in path.name], digest)
        appeared = sum(path.name.startswith("slow-") for path in found)
    empty(place)
    place = bench.place()
    with start(contender, bench.binaries, place) as (server, _):
        send(server, contender, bench.source(FIRST), "first.bin")
        alone = normal_uploads(bench, server, contender, "alone")
    empty(place)
    result = Slow(
        idle, loaded, report["alive"], report["pieces"], unread, beside, alone, appeared, cpu
    )
    lost = f" ({'; '.join(report['lost'])})" if report["lost"] else ""
    bench.say(
        f"  {contender.label}: {result.bytes_each / 1024:.1f} KiB each, {result.alive} of {COUNT} "
        "alive to the end"
        f"{lost}, {unread} bytes unread, CPU {cpu:.2f}, {appeared} appeared"
    )
    return result


def check_beside(digests: list[str], digest: str) -> None:
    if digests != [digest] * TIMES:
        raise Failed("a normal upload beside the slow ones was not stored whole")
