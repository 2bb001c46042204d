"""The notes of a download under way, in a file beside its part, and the names of parts.

Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass

from sluiceway.client.local.folders import Folder
from sluiceway.wire.urls import redact_url

__all__ = ["Notes", "boot_id", "is_part_name", "notes_in", "part_name", "part_paths"]

MOST_NOTES = 64 << 10  # bytes of a notes file; ours have 500

_PROGRAM = "sluiceway"
_PART_NAME = re.compile(r"\.sluiceway-[0-9a-f]{16}\.part(?:\.json(?:\.new)?)?")


@dataclass(frozen=True, slots=True)
class Notes:
    """What was fetched, how to ask for the rest, and how many bytes surely survived."""

    url: str  # for people, without secrets
    key: str  # sha-256 of the whole URL: another query, also a signature, is another file
    validator: str  # as If-Range takes it
    total: int | None = None  # bytes of the whole
    digest: str = ""  # the digests that came with it, as text
    boot: str = ""  # `boot_id`: until the next start of the machine, all written bytes are there
    kept: int = 0  # bytes that were synced; only these count after a power cut
    # Of a download in parts: where each begins, and its bytes that count. () for one in order.
    pieces: tuple[tuple[int, int], ...] = ()
    program: str = _PROGRAM  # without this word it is another program's file

    @staticmethod
    def of(url: str, validator: str, total: int | None, digest: str) -> Notes:
        return Notes(redact_url(url), _key(url), validator, total, digest, boot_id())

    def fits(self, url: str) -> bool:
        """Whether they are of this URL and well-formed: a file can hold anything."""
        return (
            self.key == _key(url)
            and isinstance(self.validator, str)
            and self.validator.isascii()
            and self.validator.isprintable()
            and isinstance(self.digest, str)
            and isinstance(self.kept, int)
            and (self.total is None or isinstance(self.total, int))
            and all(_is_piece(piece) for piece in self.pieces)
        )

    @property
    def in_order(self) -> int:
        """Bytes of the pieces from the beginning, without a gap."""
        at = 0
        for start, size in self.pieces:
            if start != at:
                break
            at += size
        return at


def _is_piece(piece: object) -> bool:
    return (
        isinstance(piece, list | tuple)
        and len(piece) == 2
        and all(isinstance(number, int) and number >= 0 for number in piece)
    )


def part_name(name: str) -> str:
    """Return the name of a file's part: the same in each run, so that the next one finds it."""
    return f".sluiceway-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.part"


def is_part_name(name: str) -> bool:
    """Whether a file of this name is our part, or the rest of a killed run. No copy takes it."""
    return _PART_NAME.fullmatch(name) is not None


def part_paths(target: str) -> tuple[str, str]:
    """Return the paths of a target's part file and of its notes."""
    folder, name = os.path.split(target)
    part = os.path.join(folder, part_name(name))
    return part, part + ".json"


def notes_in(folder: Folder, name: str) -> Notes | None:
    """Read a notes file; None where there is none, or where another program wrote it."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = folder.open(name, flags)
        with open(fd, "rb") as file:
            notes = Notes(**json.loads(file.read(MOST_NOTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return notes if notes.program == _PROGRAM else None


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def boot_id() -> str:
    """Return the kernel's name for the time since the machine was started; "" without one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""
