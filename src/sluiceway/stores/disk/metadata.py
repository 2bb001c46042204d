"""Metadata is kept with its file: in an extended attribute, else in a sidecar file.

The note names the size and time of its file. When another program changed the file, the note is
ignored and the file served without name, type and digest. Blocking calls only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sluiceway.pipe.file_lock import lock_file
from sluiceway.stores.contract import MOST_METADATA, Entry, Metadata
from sluiceway.stores.disk.tree import PRIVATE, Tree
from sluiceway.stores.metadata_json import metadata_from_json, metadata_to_json

__all__ = [
    "drop_note",
    "entry_of",
    "keep_note",
    "put_note_back",
    "read_entry",
    "sidecar",
    "write_note",
]

ATTRIBUTE = "user.sluiceway"
# Algorithms by which no two contents have the same digest: a checksum can be made to fit.
_STRONG = ("sha-256", "sha-512", "blake3")
SIDECARS = [PRIVATE, "about"]
# Bytes. ext4 keeps about 4 KiB of attributes in a block; a larger note goes into a sidecar. Names
# have at most 255 bytes, and types are cut.
LARGEST_NOTE = 2048 + 2 * MOST_METADATA

_to_json = json.JSONEncoder(ensure_ascii=False).encode
# no attribute there, or none on this file system
_NO_NOTE = {errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES}
_UNSUPPORTED = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.ENOSPC, errno.E2BIG}


def write_note(fd: int, metadata: Metadata, status: os.stat_result) -> bytes | None:
    """Attach the metadata to the open file. Call it after the last byte and before the fsync.

    Returns the note where the file system has no attributes: `sidecar` puts it beside the file.
    """
    fields = {**metadata_to_json(metadata), "size": status.st_size, "mtime": status.st_mtime_ns}
    note = _to_json(fields).encode(errors="replace")
    try:
        os.setxattr(fd, ATTRIBUTE, note)
    except AttributeError:
        return note  # macOS and Windows: Python has no extended attributes there
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return note
    return None


@contextmanager
def sidecar(tree: Tree, drafts: int, draft: str, key: str, note: bytes | None) -> Iterator[None]:
    """Publish a draft inside the block; its note is durable before and gets its name on success.

    Until then the note is among the drafts and locked: after a failed replacement the old object
    still needs its own note.
    """
    if note is None:
        yield
        return
    name = f"{draft}.about"
    file = os.open(
        name,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
        dir_fd=drafts,
    )
    try:
        lock_file(file)
        os.write(file, note)
        os.fsync(file)
        yield
        with tree.folder(SIDECARS, make=True) as folder:
            os.rename(name, _sidecar(key), src_dir_fd=drafts, dst_dir_fd=folder)
            os.fsync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=drafts)
        os.close(file)


def drop_note(tree: Tree, key: str) -> None:
    """Delete the sidecar of a deleted object, if it has one."""
    # usually there are no sidecars at all
    with suppress(Exception), tree.folder(SIDECARS) as folder:
        os.unlink(_sidecar(key), dir_fd=folder)


def keep_note(tree: Tree, key: str, drafts: int, name: str) -> None:
    """Give the sidecar of an object a second name among the drafts, if it has one."""
    with suppress(Exception), tree.folder(SIDECARS) as folder:
        os.link(_sidecar(key), name, src_dir_fd=folder, dst_dir_fd=drafts)


def put_note_back(tree: Tree, drafts: int, name: str, key: str) -> None:
    """What `keep_note` kept is the object's sidecar again; without it there is none."""
    drop_note(tree, key)
    with suppress(Exception), tree.folder(SIDECARS) as folder:
        os.rename(name, _sidecar(key), src_dir_fd=drafts, dst_dir_fd=folder)
        os.fsync(folder)


def read_entry(tree: Tree, fd: int, status: os.stat_result, key: str) -> Entry:
    """The entry of an open file. Raises OSError when the disk cannot read its metadata."""
    return entry_of(_matching(_read_note(tree, fd, key), status, key), status, key)


def entry_of(metadata: Metadata, status: os.stat_result, key: str) -> Entry:
    """The entry of a file with this metadata."""
    digests = dict(metadata.digests)
    strong = next((digests[name] for name in _STRONG if name in digests), None)
    if strong is not None:
        # the same bytes have the same tag, also after a move to another machine
        etag = strong[:32]
    else:
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return Entry(
        key=key, size=status.st_size, etag=etag, modified=status.st_mtime, metadata=metadata
    )


def _read_note(tree: Tree, fd: int, key: str) -> bytes | None:
    try:
        return os.getxattr(fd, ATTRIBUTE)
    except AttributeError:
        pass  # no attributes on this system
    except OSError as error:
        if error.errno not in _NO_NOTE:
            raise  # a failing disk must not make an object look like another version
    try:
        with tree.folder(SIDECARS) as folder:
            sidecar = os.open(_sidecar(key), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except Exception:  # another program put the file there: it has no metadata
        return None
    try:
        return os.read(sidecar, LARGEST_NOTE)
    finally:
        os.close(sidecar)


def _matching(note: bytes | None, status: os.stat_result, key: str) -> Metadata:
    unknown = Metadata(filename=key.rsplit("/", 1)[-1])
    if note is None:
        return unknown
    try:
        fields = json.loads(note if len(note) <= LARGEST_NOTE else b"")
        if (fields["size"], fields["mtime"]) != (status.st_size, status.st_mtime_ns):
            return unknown
        return metadata_from_json(fields) or unknown
    except (ValueError, KeyError, TypeError, RecursionError):
        return unknown  # written by another program


def _sidecar(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".json"
