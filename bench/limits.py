"""What ours is held against beside the peers: the disk's own limit, and receive + hash alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.contenders import Contender, start
from bench.process import Failed
from bench.rounds import Bench, Sent
from bench.stored import empty
from bench.transfer import ROOT, UPLOAD_NAME, WARM_UP, send
from bench.usage import Others

__all__ = ["DIRECT", "HASHED", "LIMITS", "direct_once", "limit_once"]

LIMIT_SECONDS = 600
DIRECT = Contender(
    "direct writes of 2 MiB by three threads",
    (),
    "direct",
    "",
    "O_DIRECT, then fsync of file and folder; nothing is received or hashed",
    fsync=True,
    ours=True,
)
HASHED = Contender(
    "receive + sha-256 in one thread, nothing stored",
    ("{bin}/python", "{peers}/receiver.py", "{port}"),
    "raw",
    "/{name}",
    "nothing",
    fsync=False,
    digest="sha-256",
)
LIMITS = (DIRECT, HASHED)


def limit_once(bench: Bench, contender: Contender, source: Path, digest: str) -> Sent:
    """One run of a limit."""
    if contender is DIRECT:
        return direct_once(bench, bench.size)
    with start(contender, bench.binaries, bench.place()) as (server, _):
        send(server, contender, bench.source(min(WARM_UP, bench.size)), "warm.bin")
        sent = send(server, contender, source, UPLOAD_NAME)
    if sent.more["answer"] != digest:
        raise Failed("the received bytes differ from the sent ones")
    return sent


def direct_once(bench: Bench, size: int) -> Sent:
    """The disk's own limit for `size` bytes."""
    place = bench.place()
    words = ["--to", str(place / "direct"), "--size", str(size)]
    others = Others()
    done = subprocess.run(
        [sys.executable, "-m", "bench.direct", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise Failed(f"no direct writes here: {done.stderr.strip()[-200:]}")
    told = json.loads(done.stdout)
    empty(place)
    return Sent(told["seconds"], size, told["cpu"], 0, others=others.share())
