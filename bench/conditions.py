"""What was measured and how, in words, below a run's table."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contenders import FORMS, OURS_FORM, OURS_NONE, OURS_SHA, RAWS, Contender
from bench.limits import DIRECT, HASHED
from bench.live import LIVE, PLAIN
from bench.relay import (
    NGINX_BUFFERED,
    NGINX_SMALL,
    NGINX_UNBUFFERED,
    PIPE,
    PIPE_4000,
    PIPE_NOW,
    RELAY_FORM,
    RELAY_NONE,
    RELAY_SHA,
    RELAY_STORY,
    TWO_STEP,
)
from bench.usage import CALM

__all__ = ["conditions", "selected"]

STORING = (OURS_NONE, OURS_SHA, OURS_FORM, DIRECT, HASHED, *RAWS, *FORMS)
PASSING = (
    RELAY_NONE, RELAY_SHA, RELAY_FORM, RELAY_STORY, LIVE, NGINX_UNBUFFERED, NGINX_SMALL,
    NGINX_BUFFERED, TWO_STEP, PIPE, PIPE_4000, PIPE_NOW, PLAIN,
)  # fmt: skip
TEXT = """\
One transfer is {size:,} bytes of random data over loopback, sent by a sendfile client process \
from a page-cached file; seconds run from connect to the last byte of the answer. Transfers at \
once share the same size.
{rounds} rounds (downloads at least 9), ours and the peers in turn within each, in an order that \
turns; every server one process or worker, fresh for every transfer and warmed up by one; values \
are median (min-max), ratios are those of ratios taken round by round.
Processor time is user and system of whole process trees, ended threads and children included, \
per 1e9 bytes or per upload: the server's, the sender's and the sink's apart.
A transfer during which others used more than {calm:.0%} of all processors (all that is neither \
this bench nor a kernel thread, stolen time included) is repeated at most {repeats} times, and the \
calmest counts; a round in which that did not help is named as disturbed.
Nothing is deleted between contenders: large files are emptied, small ones stay, and small uploads \
go to a fresh file system each.
The sink is a regular file on the same disk; after each transfer it is synced, dropped from the \
page cache, read back and its sha-256 compared with the source's. Downloads are of one \
hard-linked, page-cached file, hashed in a second, untimed trip.
Peers `+ fsync` add fsync of the file before the answer, not of the directory; nginx cannot.
Memory is resident bytes (RSS) summed over a server's processes; what the kernel caches or \
buffers is not in it.
Passing on goes to a sink process that counts bytes and throws them away; after each timed \
transfer the same trip is made again, untimed, and hashed by the sink. Story and overlap send a \
form of 256 MiB and pass its file on raw, in at most 3 rounds; the pipes carry less (the table \
says how much) and are compared by bytes a second; cutting the pieces, once the parser's work, is \
in their time. Sides are slowed down in user space, by sleeps of the sender and of the sink \
between pieces of 128 KiB; a side alone is that form straight to the sink.
The Flask view's rows send twice the size, at most 2 GiB, in at most 3 rounds; temporary files, \
and the memory of second processes, are looked at every tenth of a second while the timed \
transfer with limited sides runs."""


def conditions(size: int, rounds: int, repeats: int) -> list[str]:
    """One sentence group a line."""
    lines = TEXT.format(size=size, rounds=rounds, repeats=repeats, calm=CALM).splitlines()
    lines += [_stored(one) for one in STORING]
    lines += [f"{one.name}: passes on, digest {one.digest}; {one.writes}." for one in PASSING]
    return lines


def _stored(one: Contender) -> str:
    durable = "fsync before the answer" if one.fsync else "no fsync"
    return f"{one.name}: {durable}, digest {one.digest}; writes: {one.writes}."


def selected(peers: Sequence[Contender], words: str, nginx: bool) -> tuple[Contender, ...]:
    """The peers whose names have one of `words`, which are separated by commas; or all."""
    asked = words.lower().split(",")
    kept = [peer for peer in peers if "all" in asked or any(w in peer.name.lower() for w in asked)]
    return tuple(peer for peer in kept if nginx or not peer.name.startswith("nginx"))
