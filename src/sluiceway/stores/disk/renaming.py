"""Gives an object on disk another key: its bytes stay where they are.

The new name is made before the old one goes, so a crash leaves both and never none. Blocking calls
only; no other process may replace or delete an object meanwhile (`exclusive`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace as replaced

from sluiceway.errors import Exists, PreconditionFailed, SluiceError
from sluiceway.stores.contract import Entry, Metadata
from sluiceway.stores.disk.drafts.publishing import ATTEMPTS
from sluiceway.stores.disk.metadata import drop_note, entry_of, read_entry, sidecar, write_note
from sluiceway.stores.disk.tree import Tree

__all__ = ["rename"]


def rename(
    tree: Tree,
    drafts: int,
    exclusive: Callable[[], AbstractContextManager[None]],
    key: str,
    new_key: str,
    etag: str | None,
) -> Entry:
    """As `Renames.rename`. `drafts` is the descriptor of the folder for notes under way."""
    folders, _ = tree.split(key)
    new_folders, new_name = tree.split_new(new_key)
    with exclusive():
        fd, status = tree.open_file(key)
        try:
            entry = read_entry(tree, fd, status, key)
            if etag not in (None, entry.etag):
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            metadata = replaced(entry.metadata, filename=new_name)
            _refuse_taken(tree, new_folders, new_name, new_key)
            _move(tree, drafts, fd, (key, entry.metadata), (new_key, metadata))
            renamed = entry_of(metadata, os.fstat(fd), new_key)
        except (SluiceError, OSError):
            tree.prune(new_folders)
            raise
        finally:
            os.close(fd)
        drop_note(tree, key)
    tree.prune(folders)
    return renamed


def _move(
    tree: Tree, drafts: int, fd: int, old: tuple[str, Metadata], new: tuple[str, Metadata]
) -> None:
    """Note the new file name, make the new name, remove the old one; all of it durable."""
    note = write_note(fd, new[1], os.fstat(fd))
    try:
        os.fsync(fd)
        with sidecar(tree, drafts, f"rename-{uuid.uuid4().hex}", new[0], note):
            for attempt in range(ATTEMPTS):
                try:
                    _link(tree, old[0], new[0])
                    break
                except FileNotFoundError:
                    if attempt == ATTEMPTS - 1:
                        raise
    except BaseException:
        write_note(fd, old[1], os.fstat(fd))
        raise


def _link(tree: Tree, key: str, new_key: str) -> None:
    folders, name = tree.split(key)
    new_folders, new_name = tree.split(new_key)
    with tree.folder(folders) as old, tree.folder(new_folders, make=True) as new:
        try:
            os.link(name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            os.fsync(new)
            os.unlink(name, dir_fd=old)
        except FileExistsError:
            raise _taken(new_key) from None
        except PermissionError:  # a file system without hard links (FAT, some network mounts)
            _refuse_taken(tree, new_folders, new_name, new_key)
            os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)
            os.fsync(new)
        os.fsync(old)


def _refuse_taken(tree: Tree, folders: list[str], name: str, key: str) -> None:
    """Raises Exists where something of that name is there."""
    with suppress(FileNotFoundError), tree.folder(folders, make=True) as folder:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise _taken(key)


def _taken(key: str) -> Exists:
    return Exists(f"There is already something at {key!r}; it was not touched")
