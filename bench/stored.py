"""Files of the bench.

The random source, what a server stored, and whether both are the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from bench.process import Failed

__all__ = ["MIB", "check_same", "clean_place", "make_source", "sha256_of", "stored_files"]

MIB = 1 << 20
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


def check_same(to: Path, size: int, digest: str) -> None:
    """Checks that one regular file is stored, with all its blocks and the source's bytes."""
    found = stored_files(to)
    if len(found) != 1:
        raise Failed(f"{len(found)} stored files, 1 expected")
    [path] = found
    # untimed; allocates what was delayed and lets the cache be dropped, so that the disk is what is
    # read
    os.sync()
    facts = path.lstat()
    if path.is_symlink() or not path.is_file() or facts.st_size != size:
        raise Failed(f"stored {facts.st_size} bytes, sent {size}")
    if facts.st_blocks * 512 < size or facts.st_dev != to.parent.stat().st_dev:
        raise Failed("the stored file is sparse or on another disk")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if sha256_of(path) != digest:
        raise Failed("the stored bytes differ from the sent ones")


def clean_place(place: Path) -> Path:
    """An empty folder, after a sync, so that no run pays for the one before it."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.sync()
    return place
