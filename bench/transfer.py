"""One transfer by the client process to a server that runs, and what it cost everyone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.contenders import Contender
from bench.process import Failed, Server
from bench.rounds import Sent
from bench.stored import MIB, sha256_of
from bench.usage import Others
from bench.watch import watching

__all__ = ["CLIENT_SECONDS", "ROOT", "UPLOAD_NAME", "WARM_UP", "run_client", "send"]

ROOT = Path(__file__).parent.parent
WARM_UP = 64 * MIB  # enough to fault in buffers, load modules and settle allocators
CLIENT_SECONDS = 1800
UPLOAD_NAME = "upload.bin"


def run_client(
    port: int, contender: Contender, source: Path, name: str, *more: str, repeat: int = 1
) -> dict[str, Any]:
    """What the client process tells of one transfer.

    Raises Failed with the server's own words when it refuses.
    """
    command = [
        sys.executable, "-m", "bench.send", contender.how, "--port", str(port), "--method",
        contender.method,
        "--path", contender.path.format(name=name), "--filename", name, "--source", str(source),
        "--repeat", str(repeat),
        *more,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    try:
        measured: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"the client ended with: {done.stderr.strip()[-300:]}") from None
    if done.returncode:
        raise Failed(f"answered {measured['status']}: {measured['answer'][:200]}")
    if measured["bytes"] != source.stat().st_size * repeat:
        raise Failed(
            f"{measured['bytes']} bytes went over, {source.stat().st_size * repeat} expected"
        )
    return measured


def send(
    server: Server,
    contender: Contender,
    source: Path,
    name: str,
    *more: str,
    repeat: int = 1,
    digest: bool = False,
    look: bool = False,
    sink: Callable[[], float] | None = None,
) -> Sent:
    """One transfer by the client process, and what it cost everyone.

    `more` are further words for the client. `sink` tells the sink's processor seconds.
    """
    words = [*more, *(["--hash"] if digest else [])]
    others, cpu, taken = Others(), server.cpu(), sink() if sink else 0.0
    with watching(server) if look else nullcontext() as peaks:
        measured = run_client(server.port, contender, source, name, *words, repeat=repeat)
    if digest and measured["sha-256"] != sha256_of(source):
        raise Failed("the downloaded bytes differ from the source's")
    return Sent(
        measured["seconds"],
        measured["bytes"],
        server.cpu() - cpu,
        server.peak() if peaks is None else peaks.rss,
        None if peaks is None else peaks.temp,
        measured["cpu"],
        sink() - taken if sink else None,
        others.share(),
        {"answer": measured["answer"]},
    )
