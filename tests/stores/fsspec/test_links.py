"""Links behind SFTP never lead out of the root; a name that is not UTF-8 hides nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fix_sftp import SftpServer
from sluiceway.errors import Forbidden
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.testing.store_suite import read, store_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def place(sftp: SftpServer) -> str:
    return sftp.fresh()


@pytest.fixture
def outside(sftp: SftpServer, place: str) -> Path:
    """A folder beside the root, the target of links in the root: `way`, `deep/way`, `file`."""
    outside = sftp.folder / f"{place}-outside"
    (outside / "below").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    root = sftp.folder / place
    (root / "deep").mkdir(parents=True)
    (root / "way").symlink_to(f"../{outside.name}")
    (root / "deep" / "way").symlink_to(f"../../{outside.name}")
    (root / "file").symlink_to(f"../{outside.name}/secret")
    (root / "mine").write_bytes(b"mine")
    return outside


@pytest.fixture
async def store(
    sftp: SftpServer, place: str, outside: Path, anyio_backend: str
) -> AsyncIterator[FsspecStore]:
    budget = Budget(64 << 20)
    store = FsspecStore(sftp.url(place), budget)
    yield store
    await store.aclose()
    assert budget.used == 0
    assert sftp.drafts(place) == []


@pytest.mark.parametrize("key", ["way/secret", "deep/way/secret", "file"])
async def test_no_link_is_followed_to_read_or_delete(
    store: FsspecStore, outside: Path, key: str
) -> None:
    """A link to a folder of the path, and one that is the object, are forbidden."""
    for act in (store.stat(key), store.open(key), store.delete(key)):
        with pytest.raises(Forbidden):
            await act
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(outside)) == ["below", "secret"]


@pytest.mark.parametrize(
    "key", ["way/new", "way/below/new", "deep/way/made/new", "way/secret", "file"]
)
async def test_no_link_is_followed_to_write(store: FsspecStore, outside: Path, key: str) -> None:
    """For a new object and a replaced one, in folders that exist and that would be made."""
    for replace in (Replace(), Replace(allowed=True)):
        with pytest.raises(Forbidden):
            await store_bytes(store, key, b"planted", replace=replace)
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(outside)) == ["below", "secret"]
    assert os.listdir(outside / "below") == []


async def test_a_link_that_appears_while_a_file_is_read_or_written_is_not_followed(
    store: FsspecStore, outside: Path, sftp: SftpServer, place: str
) -> None:
    """The folders are checked again when the first byte is read, and when a draft is published."""
    await store_bytes(store, "a/b/secret", b"inside")
    reader, draft = await store.open("a/b/secret"), await store.draft("one", 7)
    await draft.write(b"planted")
    folder = sftp.folder / place / "a"
    folder.rename(folder.with_name("a-before"))
    folder.symlink_to(f"../{outside.name}")
    (outside / "b").mkdir()
    (outside / "b" / "secret").write_bytes(b"secret")
    with pytest.raises(Forbidden):
        [block async for block in reader.open()]
    with pytest.raises(Forbidden):
        await draft.publish("a/b/new", Metadata(""))
    await draft.discard()
    await reader.aclose()

    assert os.listdir(outside / "b") == ["secret"]


async def test_a_listing_names_links_pipes_and_names_that_are_not_utf_8(
    store: FsspecStore, sftp: SftpServer, place: str
) -> None:
    """Each of them, in pages of any length; every file beside them is listed and read."""
    root = os.fsencode(sftp.folder / place)
    for name in (b"caf\xe9", b"deep/\xff\xfe", b"deep/z"):
        with open(os.path.join(root, name), "wb") as file:
            file.write(b"bytes")
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
        assert entries == ["deep/z", "mine"]
        assert sorted(out) == [
            ("caf\\udce9", "bad-name"),
            ("deep/\\udcff\\udcfe", "bad-name"),
            ("deep/way", "link"),
            ("file", "link"),
            ("pipe", "special-file"),
            ("way", "link"),
        ]
    assert await read(store, "mine") == b"mine"
    with pytest.raises(Forbidden):
        await store.list("way/")


async def test_our_own_folder_may_not_be_a_link(
    sftp: SftpServer, place: str, outside: Path
) -> None:
    """Drafts would be written outside."""
    (sftp.folder / place / ".sluiceway").symlink_to(f"../{outside.name}")
    store = FsspecStore(sftp.url(place), Budget(64 << 20))
    with pytest.raises(Forbidden):
        await store.check()
    await store.aclose()
