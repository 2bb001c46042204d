"""Files of the bench.

The random source, what a server stored, and whether both are the same bytes. Between contenders
nothing is deleted: ext4 without a journal gives out no inode that was deleted within the last
minutes, and walks past each of them to create a file (190-250 us after a few thousand). Large files
are emptied instead, and everything is removed at the end of the run.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Collection
from pathlib import Path

from bench.process import Failed

__all__ = [
    "MIB",
    "SMALL",
    "check_same",
    "empty",
    "make_source",
    "new_place",
    "sha256_of",
    "stored_files",
]

MIB = 1 << 20
SMALL = 1 << 16  # bytes: smaller files cost more to empty than they hold
OWN_FOLDER = ".sluiceway"  # our server's drafts and notes, not stored objects


def make_source(path: Path, size: int) -> Path:
    """A file of `size` random bytes: about one CR LF in 64 KiB, no long runs.

    Kept when it is there already.
    """
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            left = size
            while left:
                left -= file.write(os.urandom(min(MIB, left)))
    return path


def sha256_of(path: Path, repeat: int = 1) -> str:
    """The sha-256 of the file's bytes, `repeat` times in a row, as hex."""
    hasher = hashlib.sha256()
    block = bytearray(MIB)
    view = memoryview(block)
    for _ in range(repeat):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                hasher.update(view[:count])
    return hasher.hexdigest()


def stored_files(to: Path) -> list[Path]:
    """All objects below the folder a server stores into."""
    found = []
    for folder, folders, names in os.walk(to):
        if OWN_FOLDER in folders:
            folders.remove(OWN_FOLDER)
        found += [Path(folder, name) for name in names]
    return found


def check_same(to: Path, size: int, digest: str, but: Collection[Path] = ()) -> None:
    """Checks that one regular file is stored, with all its blocks and the source's bytes.

    `but` are files that were there before.
    """
    found = [path for path in stored_files(to) if path not in but]
    if len(found) != 1:
        raise Failed(f"{len(found)} stored files, 1 expected")
    [path] = found
    if path.is_symlink() or not path.is_file():
        raise Failed("what is stored is no regular file")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Untimed: allocates what was delayed, and lets the cache go, so that the disk is read.
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    facts = path.lstat()
    if facts.st_size != size:
        raise Failed(f"stored {facts.st_size} bytes, sent {size}")
    if facts.st_blocks * 512 < size or facts.st_dev != to.parent.stat().st_dev:
        raise Failed("the stored file is sparse or on another disk")
    if sha256_of(path) != digest:
        raise Failed("the stored bytes differ from the sent ones")


def new_place(work: Path) -> Path:
    """A new empty folder."""
    for number in itertools.count(1):
        place = work / f"place-{number}"
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        return place
    raise AssertionError("counting does not end")


def empty(place: Path) -> None:
    """Give the space of the files below `place` back, but not their inodes.

    A file with a second name is somebody else's source, and stays.
    """
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_size > SMALL:
                os.truncate(path, 0)
