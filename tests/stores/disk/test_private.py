"""Files below `.sluiceway` are for their owner alone; finished files have the usual permissions."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from fix_taking import missing
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.store import DiskStore

UPLOAD = "with-this-id-anyone-can-watch-it"
WRITE = """# in a fork
import asyncio, os, sys
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.store import DiskStore

async def main():
    os.umask(int(sys.argv[2], 8))
    store = DiskStore(sys.argv[1], Budget(64 << 20))
    draft = await store.draft("x", None)
    await draft.write(b"1")
    await draft.publish("folder/file", Metadata("file"))
    await store.aclose()

asyncio.run(main())
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_drafts_are_private_and_do_not_disclose_their_ids(tmp_path: Path) -> None:
    """Even if the folder was open to every user."""
    (tmp_path / ".sluiceway").mkdir(mode=0o755)

    async def write() -> None:
        store = DiskStore(str(tmp_path), Budget(64 << 20))
        draft = await store.draft(UPLOAD, None)
        await draft.write(bytes(100_000))
        await draft.sync()
        (path,) = (tmp_path / ".sluiceway" / "drafts").iterdir()
        assert mode(tmp_path / ".sluiceway") == 0o700
        assert mode(path) == 0o600
        assert UPLOAD not in path.name
        await draft.publish("file", Metadata("file"))
        await store.aclose()

    asyncio.run(write())


@pytest.mark.parametrize(
    ("umask", "file", "folder"),
    [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("002", 0o664, 0o775)],
)
def test_a_finished_file_gets_its_permissions_from_the_umask(
    tmp_path: Path, umask: str, file: int, folder: int
) -> None:
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path), umask], check=True, timeout=60)
    assert (mode(tmp_path / "folder" / "file"), mode(tmp_path / "folder")) == (file, folder)
    assert mode(tmp_path / ".sluiceway") == 0o700


def test_a_default_acl_of_the_folder_replaces_the_umask(tmp_path: Path) -> None:
    """An operator gave another user rights on all future files: a finished file has them."""
    root = tmp_path / "root"
    root.mkdir()
    entries = (
        (0x01, 7, -1),
        (0x02, 6, 12345),
        (0x04, 5, -1),
        (0x10, 7, -1),
        (0x20, 5, -1),
    )  # owner, one user, group, mask, others
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(root, "system.posix_acl_default", acl)
    except OSError as error:
        missing(f"this file system has no ACLs ({error})")
    subprocess.run([sys.executable, "-c", WRITE, str(root), "022"], check=True, timeout=60)
    found = struct.iter_unpack(
        "<HHi", os.getxattr(root / "folder" / "file", "system.posix_acl_access")[4:]
    )
    rights = {tag: perm for tag, perm, _ in found}
    assert (rights[0x02] & rights[0x10], rights[0x20]) == (6, 4)
    assert os.stat(root / ".sluiceway").st_mode & 0o007 == 0
