"""A destination that reads nothing for a minute, with many uploads under way to it.

What the relay holds in memory.

Afterwards the destination reads on, and every upload must arrive whole.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender, start
from bench.process import Failed, Server, waiting_bytes
from bench.push import STEP
from bench.relay import SinkProcess, sinking
from bench.rounds import Bench
from bench.slow import raise_open_files
from bench.stored import MIB, empty
from bench.transfer import ROOT, send

__all__ = ["COUNT", "SIZE", "Stalled", "measure"]

COUNT = 100
SIZE = 16 * MIB  # each: several times what the kernel buffers for a reader that does not read
# bytes of the only upload before idle memory is read: a bigger one would leave memory to be reused
# unseen
FIRST = 1024
LOOK_EVERY = 0.5  # seconds
ANSWERS = 300.0  # seconds from the destination's first read to the last response


@dataclass(frozen=True, slots=True)
class Stalled:
    """The results of one contender. Memory is resident, in bytes, summed over its processes."""

    idle_rss: int
    stalled_rss: int  # the most of all samples during the stall
    peak_rss: int  # the most of the whole run: before, during and after the stall
    unread: int  # bytes clients had sent and the relay had left in its sockets when the stall ended
    finished: int  # uploads answered with a success
    refused: list[str]
    right: int  # of them, with the right bytes at the destination
    stall: float  # seconds
    seconds: float  # from the destination's first read to the last response

    @property
    def held(self) -> int:
        return self.peak_rss - self.idle_rss


def wanted_files(source: Path, count: int) -> list[tuple[int, str]]:
    data = memoryview(source.read_bytes())
    return sorted(
        (len(data) - n * STEP, hashlib.sha256(data[n * STEP :]).hexdigest()) for n in range(count)
    )


@contextmanager
def pushing(
    server: Server, contender: Contender, source: Path, count: int
) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable, "-m", "bench.push", "--port", str(server.port), "--method",
        contender.method,
        "--path", contender.path, "--source", str(source), "--count", str(count),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stand_still(server: Server, sink: SinkProcess, count: int, seconds: float) -> int:
    """Waits for all uploads at the destination, then for the stall.

    Returns the most resident bytes.
    """
    for _ in range(count):
        sink.held()
    most, until = 0, time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        most = max(most, server.rss())
        time.sleep(min(LOOK_EVERY, left))
    return most


def measure(
    bench: Bench, contender: Contender, stall: float, count: int = COUNT, size: int = SIZE
) -> Stalled:
    """Idle memory, then that of `count` uploads while the destination stalls for `stall` s."""
    raise_open_files()
    source = bench.source(size)
    wanted = wanted_files(source, count)
    place = bench.place()
    with sinking() as sink, start(contender, bench.binaries, place, sink.port) as (server, _):
        send(server, contender, bench.source(FIRST), "first.bin")
        sink.report()
        time.sleep(1)
        idle = server.rss()
        sink.tell("hash")
        sink.tell("hold")
        with pushing(server, contender, source, count) as client:
            stalled = stand_still(server, sink, count, stall)
            unread = waiting_bytes(server.port)
            began = time.monotonic()
            sink.tell("go")
            try:
                out, errors = client.communicate(timeout=ANSWERS)
                report = json.loads(out)
            except subprocess.TimeoutExpired:
                raise Failed(
                    f"not all uploads were answered {ANSWERS:.0f} s after the stall"
                ) from None
            except ValueError:
                raise Failed(f"the client ended with: {errors.strip()[-300:]}") from None
            seconds = time.monotonic() - began
        found = [sink.report() for _ in range(report["finished"])]
        peak = max(stalled, server.peak())  # the kernel counts VmHWM only now and then
    empty(place)
    right = len(wanted) if sorted((one["file"], one["sha-256"]) for one in found) == wanted else 0
    result = Stalled(
        idle, stalled, peak, unread, report["finished"], report["refused"], right, stall, seconds
    )
    bench.say(
        f"  {contender.label}: idle {idle / MIB:.1f} MiB, standing still {stalled / MIB:.1f} MiB, "
        f"peak {peak / MIB:.1f} MiB,"
        f" {unread / MIB:.1f} MiB unread, {result.finished} of {count} finished, {right} right, in "
        f"{seconds:.1f} s" + (f" ({'; '.join(report['refused'])})" if report["refused"] else "")
    )
    return result
