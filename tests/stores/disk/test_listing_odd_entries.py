"""A listing drops nothing silently: what cannot be an entry is named, with the reason."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import read

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[DiskStore]:
    store = DiskStore(str(tmp_path / "root"), Budget(64 << 20))
    yield store
    await store.aclose()


async def test_names_that_cannot_be_entries_are_reported_and_the_rest_is_listed(
    store: DiskStore,
) -> None:
    """Links, pipes, names that are not UTF-8, another store's folder: each once, in pages of any
    size.
    """
    root = os.fsencode(store.root)
    for name in (b"a/x", b"caf\xe9", b"a/\xff", b"below/.sluiceway/drafts/x", b"z"):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "wb") as file:
            file.write(b"bytes")
    os.symlink(b"z", os.path.join(root, b"link"))
    os.symlink(b"a", os.path.join(root, b"way"))
    os.mkfifo(os.path.join(root, b"pipe"))
    for limit in (1, 2, 1000):
        entries, out, after = [], [], ""
        while True:
            page = await store.list("", after, limit)
            entries += [entry.key for entry in page.entries]
            out += [(one.name, one.code) for one in page.omitted]
            if page.next is None:
                break
            after = page.next
        assert entries == ["a/x", "z"]
        assert sorted(out) == [
            ("a/\\udcff", "bad-name"),
            ("below/.sluiceway", "own-file"),
            ("caf\\udce9", "bad-name"),
            ("link", "link"),
            ("pipe", "special-file"),
            ("way", "link"),
        ]
    for prefix in ("below/.sluiceway/", "below/.sluiceway/drafts/", "below/.sluiceway/drafts/x"):
        assert (await store.list(prefix)).entries == []
    for prefix in ("way/", "way/x"):
        assert [(one.name, one.code) for one in (await store.list(prefix)).omitted] == [
            ("way/", "forbidden")
        ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user and come back")
async def test_files_and_folders_without_read_permission_are_reported(store: DiskStore) -> None:
    """An ordinary user meets a folder and a file of mode 0; the readable file is listed."""
    for name in ("file", "open", "folder/below"):
        path = Path(store.root, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"bytes")
    Path(store.root, "file").chmod(0)
    Path(store.root, "folder").chmod(0)
    with _ordinary():
        page = store._list("", "", 10)

    assert [entry.key for entry in page.entries] == ["open"]
    assert sorted(one.name for one in page.omitted) == ["file", "folder/"]
    assert page.complete


@contextmanager
def _ordinary() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_folder_deeper_than_descriptors_and_frames_reach_is_listed(
    store: DiskStore,
) -> None:
    """1,200 nested folders."""
    here = os.open(store.root, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)

    assert [entry.key for entry in (await store.list()).entries] == ["d/" * 1_200 + "file"]
    assert await read(store, "d/" * 1_200 + "file") == b""
    subprocess.run(
        ["rm", "-r", os.path.join(store.root, "d")], check=True
    )  # pytest's own clean-up does not go as deep
