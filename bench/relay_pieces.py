"""Rows of a resumable upload that is passed on: in pieces, or in a request that is held open.

The destination is our own server, which takes one request, pieces of the IETF form, and tus. Each
contender sends the same bytes; a plain PUT through the gateway is what they are held to.
"""

from __future__ import annotations

from dataclasses import replace

from bench.contenders import OURS_NONE, Contender, start
from bench.process import Failed
from bench.relay import RELAY_NONE
from bench.results import Result, Wanted, cost_versus, noted
from bench.resumable import tus_client
from bench.rounds import Bench, Sent, paired_rounds
from bench.stored import empty, sha256_of
from bench.transfer import UPLOAD_NAME, WARM_UP, run_client
from bench.usage import Others

__all__ = ["pieces_rows"]


def _gateway(name: str, resume: str, how: str, spool: str = "") -> Contender:
    words = tuple(
        "http://127.0.0.1:{sink}/files" if "{sink}" in word else word for word in RELAY_NONE.command
    )
    path, method = ("/files", "PATCH") if how == "PATCH" else ("/files/{name}", "PUT")
    more: tuple[str, ...] = ("--relay-resume", resume, "--state", "{place}/state")
    if spool:
        more = (*more, "--relay-spool", spool)
    return replace(RELAY_NONE, name=name, command=words + more, path=path, method=method)


PLAIN = _gateway("Sluiceway, a plain PUT passed on", "off", "PUT")
HELD = _gateway("Sluiceway, tus into one request that is held open", "off", "PATCH")
IETF = _gateway("Sluiceway, tus into pieces of the IETF form", "ietf", "PATCH")
SPOOL = _gateway("Sluiceway, a plain PUT with a spool beside it", "off", "PUT", "{place}/spool")
TUS = _gateway("Sluiceway, tus into pieces of tus", "tus", "PATCH")


def pieces_rows(bench: Bench, wanted: Wanted) -> Result:
    """What the gateway's processor pays for an upload of tus, against a plain PUT."""
    series = paired_rounds(bench, [PLAIN, HELD, IETF, TUS, SPOOL], lambda each: _once(bench, each))
    rows = [
        cost_versus("tus passed on in one request that is held open", series, HELD, PLAIN, 1.5),
        cost_versus("tus passed on in pieces of the IETF form", series, IETF, PLAIN, 2.0),
        cost_versus("tus passed on in pieces of tus", series, TUS, PLAIN, 2.0),
        cost_versus("a PUT passed on with a spool beside it", series, SPOOL, PLAIN, 2.5),
    ]
    return Result(rows, *noted(series))


def _once(bench: Bench, contender: Contender) -> Sent:
    """One timed transfer through a warm gateway, and a look at what the destination stored."""
    place, behind = bench.place(), bench.place()
    with (
        start(OURS_NONE, bench.binaries, behind) as (backend, to),
        start(contender, bench.binaries, place, backend.port) as (server, _),
    ):
        _send(bench, contender, server.port, min(WARM_UP, bench.size), "warm.bin")
        bench.settle()
        others, cpu, taken = Others(), server.cpu(), backend.cpu()
        seconds, sender = _send(bench, contender, server.port, bench.size, UPLOAD_NAME)
        cpu, taken, share = server.cpu() - cpu, backend.cpu() - taken, others.share()
        peak, digest = server.peak(), sha256_of(bench.source(bench.size))
        files = [path for path in to.rglob("*") if path.is_file() and path.suffix != ".sqlite"]
        if not any(
            path.stat().st_size == bench.size and sha256_of(path) == digest for path in files
        ):
            raise Failed("the stored file differs from the sent one")
    empty(place)
    empty(behind)
    return Sent(seconds, bench.size, cpu, peak, sender_cpu=sender, sink_cpu=taken, others=share)


def _send(
    bench: Bench, contender: Contender, port: int, size: int, name: str
) -> tuple[float, float]:
    """Returns the seconds, and the sender's processor seconds."""
    source = bench.source(size)
    if contender.method == "PATCH":
        measured = tus_client("one", port, contender, str(source))
    else:
        measured = run_client(port, contender, source, name)
    return measured["seconds"], measured["cpu"]
