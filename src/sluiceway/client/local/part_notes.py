"""What is known of a download under way, in a file beside its part; and what parts are called. Knows nothing of HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass

from sluiceway.client.local.folders import Folder
from sluiceway.wire.urls import redact_url

__all__ = ["Notes", "boot", "is_part_name", "notes_in", "part_name", "part_paths"]

MOST_NOTES = 64 << 10  # bytes of a sidecar; ours have 500

_PROGRAM = "sluiceway"
_PART_NAME = re.compile(r"\.sluiceway-[0-9a-f]{16}\.part(?:\.json(?:\.new)?)?")


@dataclass(frozen=True, slots=True)
class Notes:
    """The sidecar: what was fetched, how to ask for the rest, and how much of it surely survived."""

    url: str  # for people, without secrets
    key: str  # sha-256 of the whole URL: a signed or changed query is another thing
    validator: str  # what If-Range takes
    total: int | None = None  # bytes of the whole
    digest: str = ""  # the Repr-Digest header that came with it
    boot: str = ""  # this machine since it was started: within it, what was written is there
    kept: int = 0  # bytes that were synced; all that counts after a power cut
    program: str = _PROGRAM  # who wrote it: without this word it is somebody else's file

    @staticmethod
    def of(url: str, validator: str, total: int | None, digest: str) -> Notes:
        return Notes(redact_url(url), _key(url), validator, total, digest, boot())

    def fits(self, url: str) -> bool:
        """Whether it is of this URL, and well-formed: a file can hold anything."""
        return (
            self.key == _key(url)
            and isinstance(self.validator, str)
            and self.validator.isascii()
            and self.validator.isprintable()
            and isinstance(self.digest, str)
            and isinstance(self.kept, int)
            and (self.total is None or isinstance(self.total, int))
        )


def part_name(name: str) -> str:
    """What the part of a file of this name is called; the same in each run, so that the next one finds it."""
    return f".sluiceway-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.part"


def is_part_name(name: str) -> bool:
    """Whether a file of this name is one of ours under way, or was left by a run that was killed: no object, in any copy."""
    return _PART_NAME.fullmatch(name) is not None


def part_paths(target: str) -> tuple[str, str]:
    """The part file's and the sidecar's path for a target."""
    folder, name = os.path.split(target)
    part = os.path.join(folder, part_name(name))
    return part, part + ".json"


def notes_in(folder: Folder, name: str) -> Notes | None:
    """What a sidecar says; None where there is none, or where it is not of this program."""
    try:
        fd = folder.open(
            name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        with open(fd, "rb") as file:
            notes = Notes(**json.loads(file.read(MOST_NOTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return notes if notes.program == _PROGRAM else None


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def boot() -> str:
    """The kernel's name for the time since this machine was started; "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""
