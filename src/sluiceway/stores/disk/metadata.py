"""What is known of a file lives with the file: in extended attributes, or in a sidecar where the file system has none.

The note names the size and time of the file it describes; a file somebody changed by other means has outlived its note and
is served without name, type and digest. Blocking calls only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sluiceway.stores.contract import MOST_METADATA, Entry, Metadata
from sluiceway.stores.disk.tree import PRIVATE, Tree
from sluiceway.stores.metadata_json import metadata_from_json, metadata_to_json

__all__ = ["drop_note", "entry_of", "read_entry", "sidecar", "write_note"]

ATTRIBUTE = "user.sluiceway"
SIDECARS = [PRIVATE, "about"]
# Bytes. ext4 keeps about 4 KiB of attributes in a block, and what is larger has a sidecar. Names have at most 255, types are cut.
LARGEST_NOTE = 2048 + 2 * MOST_METADATA

_NO_NOTE = {
    errno.ENODATA,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EPERM,
    errno.EACCES,
}  # none there, or none on this file system
_UNSUPPORTED = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.ENOSPC, errno.E2BIG}


def write_note(fd: int, metadata: Metadata) -> bytes | None:
    """Attach what is known to the open file; call after its last byte and before its fsync.

    Returns the note where the file system has no attributes: it goes beside the file, by `sidecar`.
    """
    status = os.fstat(fd)
    told = {**metadata_to_json(metadata), "size": status.st_size, "mtime": status.st_mtime_ns}
    note = json.dumps(told, ensure_ascii=False).encode(errors="replace")
    try:
        os.setxattr(fd, ATTRIBUTE, note)
    except AttributeError:
        return note  # macOS and Windows: Python offers no extended attributes there
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return note
    return None


@contextmanager
def sidecar(tree: Tree, drafts: int, draft: str, key: str, note: bytes | None) -> Iterator[None]:
    """Around the publishing of a draft: its note is durable before, and takes its place only when that went well.

    Until then it lies among the drafts, locked as they are: the note of an object that stays must not be touched.
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
        fcntl.flock(file, fcntl.LOCK_EX)
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
    """Forget the sidecar of a deleted object, where there is one."""
    with (
        suppress(Exception),
        tree.folder(SIDECARS) as folder,
    ):  # no sidecars at all is the usual case
        os.unlink(_sidecar(key), dir_fd=folder)


def read_entry(tree: Tree, fd: int, status: os.stat_result, key: str) -> Entry:
    """The entry of an open file. Raises OSError when the disk cannot say what is known of it."""
    return entry_of(_matching(_read_note(tree, fd, key), status, key), status, key)


def entry_of(metadata: Metadata, status: os.stat_result, key: str) -> Entry:
    """The entry of a file of which this is known."""
    if metadata.sha256:
        etag = metadata.sha256[
            :32
        ]  # the same bytes carry the same tag, also after a move to another machine
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
            raise  # a failing disk must not make an object look like another one
    try:
        with tree.folder(SIDECARS) as folder:
            sidecar = os.open(_sidecar(key), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except Exception:  # put there by other means: nothing is known of it
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
        told = json.loads(note if len(note) <= LARGEST_NOTE else b"")
        if (told["size"], told["mtime"]) != (status.st_size, status.st_mtime_ns):
            return unknown
        return metadata_from_json(told) or unknown
    except (ValueError, KeyError, TypeError, RecursionError):
        return unknown  # written by somebody else


def _sidecar(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".json"
