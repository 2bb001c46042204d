"""Rounds of one transfer at a time.

Each on a fresh, warmed-up server, each checked byte by byte.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import Contender, start
from bench.limits import LIMITS, limit_once
from bench.rounds import Bench, Sent, Series, paired_rounds
from bench.stored import check_same, empty, sha256_of, stored_files
from bench.transfer import UPLOAD_NAME, WARM_UP, send

__all__ = ["download_once", "transfer_rounds", "upload_once"]


def upload_once(bench: Bench, contender: Contender, source: Path, digest: str) -> Sent:
    place = bench.place()
    with start(contender, bench.binaries, place) as (server, to):
        send(server, contender, bench.source(min(WARM_UP, bench.size)), "warm.bin")
        warm = stored_files(to)
        bench.settle()
        sent = send(server, contender, source, UPLOAD_NAME, look=bench.look)
    check_same(to, sent.bytes, digest, but=warm)
    empty(place)
    return sent


def download_once(bench: Bench, contender: Contender, source: Path, digest: str) -> Sent:
    """Each contender serves a hard link to one source: the same inode, the same page cache."""
    place = bench.place()
    warm = bench.source(min(WARM_UP, bench.size))
    with start(contender, bench.binaries, place) as (server, to):
        os.link(source, to / "source.bin")
        os.link(warm, to / "warm.bin")
        send(server, contender, warm, "warm.bin")
        bench.settle()
        sent = send(server, contender, source, "source.bin")
        send(
            server, contender, source, "source.bin", digest=True
        )  # the same trip again, untimed and hashed
    empty(place)
    return sent


def transfer_rounds(bench: Bench, contenders: Sequence[Contender]) -> list[Series]:
    """Uploads or downloads of one file, each checked byte by byte."""
    source = bench.source(bench.size)
    digest = sha256_of(source)

    def once(contender: Contender) -> Sent:
        if contender in LIMITS:
            return limit_once(bench, contender, source, digest)
        run = download_once if contender.how == "get" else upload_once
        return run(bench, contender, source, digest)

    return paired_rounds(bench, contenders, once)
