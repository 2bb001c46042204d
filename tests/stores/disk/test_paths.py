"""Keys never lead out of the root, through names or links; files of other programs are served as
they are.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.errors import BadName, Exists, Forbidden, NotFound, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

ANY = Replace(allowed=True)
ABOUT = Metadata("name.txt", "text/plain", (("sha-256", "ab" * 32),))

OUTSIDE = [
    "../secret",
    "..",
    "a/../../secret",
    "a/../b",
    "./a",
    "a/.",
    ".",
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "a\0b",
    "a/b\0/c",
    ".sluiceway",
    ".sluiceway/drafts/x",
    "a/.sluiceway",
    "a/.sluiceway/drafts/x",
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    (tmp_path / "secret").write_text("not yours")
    store = DiskStore(str(tmp_path / "root"), Budget(64 << 20))
    yield store
    await store.aclose()
    assert (tmp_path / "secret").read_text() == "not yours"
    assert sorted(os.listdir(tmp_path)) == ["root", "secret"]


@pytest.mark.parametrize("key", OUTSIDE, ids=ascii)
async def test_no_key_leads_outside_or_into_our_own_folder(store: DiskStore, key: str) -> None:
    """The second guard behind `check_key`: such a key cannot be read, deleted or written."""
    await store_bytes(store, "a/x", b"1")
    Path(store.root, ".sluiceway", "drafts", "x").write_text("another draft")
    Path(store.root, "a/.sluiceway/drafts").mkdir(parents=True)
    Path(store.root, "a/.sluiceway/drafts/x").write_text("a draft of a store below")
    for act in (store.stat(key), store.open(key), store.delete(key)):
        with pytest.raises((NotFound, BadName)):
            await act
    for replace in (Replace(), ANY, Replace(allowed=True, etag="x")):
        with pytest.raises(BadName):
            await store_bytes(store, key, b"2", replace=replace)

    assert [entry.key for entry in (await store.list()).entries] == ["a/x"]
    assert Path(store.root, ".sluiceway", "drafts", "x").read_text() == "another draft"
    assert Path(store.root, "a/.sluiceway/drafts/x").read_text() == "a draft of a store below"


@pytest.mark.parametrize("what", ["file", "folder", "nothing", "itself"])
async def test_symbolic_links_are_refused_on_every_operation(
    store: DiskStore, tmp_path: Path, what: str
) -> None:
    """A link is not read, listed, deleted, replaced, written through or removed."""
    root = tmp_path / "root"
    (root / "target").mkdir()
    (root / "target" / "inside").write_text("inside")
    targets = {"file": "../secret", "folder": "target", "nothing": "void", "itself": "link"}
    (root / "link").symlink_to(targets[what])

    for key in ("link", "link/inside", "link/new"):
        for act in (store.stat(key), store.open(key), store.delete(key)):
            with pytest.raises((Forbidden, NotFound)):
                await act
        for replace in (Replace(), ANY, Replace(allowed=True, etag="x")):
            with pytest.raises((Forbidden, Exists)):
                await store_bytes(store, key, b"overwritten", replace=replace)
    assert [entry.key for entry in (await store.list()).entries] == ["target/inside"]
    assert (root / "link").is_symlink()
    assert (root / "target" / "inside").read_text() == "inside"
    assert os.listdir(root / ".sluiceway" / "drafts") == []


async def test_a_link_in_place_of_our_private_folder_is_refused_at_start(tmp_path: Path) -> None:
    """A user who may write into the root cannot redirect drafts."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".sluiceway").symlink_to("../elsewhere")

    with pytest.raises(Forbidden):
        DiskStore(str(tmp_path / "root"), Budget(64 << 20))
    assert os.listdir(tmp_path / "elsewhere") == []


async def test_pipes_and_folders_are_not_objects(store: DiskStore, tmp_path: Path) -> None:
    """They are not listed, read or deleted, and no call blocks."""
    os.mkfifo(tmp_path / "root" / "pipe")
    (tmp_path / "root" / "folder").mkdir()

    assert (await store.list()).entries == []
    for key in ("pipe", "folder"):
        for act in (store.stat(key), store.open(key), store.delete(key)):
            with pytest.raises(NotFound):
                await act
    with pytest.raises(Exists):
        await store_bytes(store, "folder", b"1", replace=ANY)


async def test_files_of_other_programs_are_served_without_a_digest(
    store: DiskStore, tmp_path: Path
) -> None:
    """They are listed, read in ranges, replaced and deleted; their metadata is only the name."""
    (tmp_path / "root" / "by").mkdir()
    (tmp_path / "root" / "by" / "hand.bin").write_bytes(pattern(200_000))
    entry = await store.stat("by/hand.bin")

    assert entry.metadata == Metadata(filename="hand.bin")
    assert (await store.list()).entries == [entry]
    assert await read(store, "by/hand.bin", 100_000, 100_010) == pattern(10, 100_000)
    with pytest.raises(Exists):
        await store_bytes(store, "by/hand.bin", b"1")
    await store_bytes(store, "by/hand.bin", b"1", ABOUT, Replace(allowed=True, etag=entry.etag))
    assert (await store.stat("by/hand.bin")).metadata == ABOUT
    await store.delete("by/hand.bin")
    assert (await store.list()).entries == []


@pytest.mark.parametrize("change", ["appended", "rewritten", "replaced"])
async def test_a_file_changed_in_place_loses_its_stale_digest(
    store: DiskStore, tmp_path: Path, change: str
) -> None:
    """A wrong digest is worse than none; the tag changes too."""
    before = await store_bytes(store, "doc", b"first version", ABOUT)
    path = tmp_path / "root" / "doc"
    if change == "appended":
        with path.open("ab") as file:
            file.write(b"!")
    elif change == "rewritten":
        path.write_bytes(b"other version")
        os.utime(path, ns=(1, before.modified.__trunc__() * 10**9 + 5 * 10**9))
    else:
        (tmp_path / "root" / "new").write_bytes(b"other version")
        os.rename(tmp_path / "root" / "new", path)

    after = await store.stat("doc")
    assert after.metadata == Metadata(filename="doc")
    assert after.etag != before.etag


async def test_a_moved_file_keeps_its_metadata(store: DiskStore, tmp_path: Path) -> None:
    """The note is an attribute of the file: after a rename by hand, name, type and digest are
    there.
    """
    before = await store_bytes(store, "old/place", b"moved", ABOUT)
    os.rename(tmp_path / "root" / "old" / "place", tmp_path / "root" / "new")

    after = await store.stat("new")
    assert (after.metadata, after.etag) == (ABOUT, before.etag)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"size":"x"}',
        b"\xff\xfe",
        b'{"size":1,"mtime":2}',
        b"9" * 2000,
        b"[" * 2000,
        b"[" * 4000,
    ],
)
async def test_an_invalid_note_is_ignored(store: DiskStore, tmp_path: Path, note: bytes) -> None:
    """The file is served without metadata."""
    (tmp_path / "root" / "f").write_bytes(b"bytes")
    os.setxattr(tmp_path / "root" / "f", "user.sluiceway", note)

    assert (await store.stat("f")).metadata == Metadata(filename="f")
    assert await read(store, "f") == b"bytes"


async def test_a_name_that_is_not_utf_8_hides_no_other_file(
    store: DiskStore, tmp_path: Path
) -> None:
    """It has no key; the others are listed."""
    with open(os.fsencode(tmp_path / "root") + b"/\xff\xfe", "wb") as file:
        file.write(b"?")
    await store_bytes(store, "good", b"1")

    assert [entry.key for entry in (await store.list()).entries] == ["good"]


async def test_empty_folders_are_removed_with_their_last_object(
    store: DiskStore, tmp_path: Path
) -> None:
    """Only folders that became empty are removed."""
    await store_bytes(store, "a/b/c/d", b"1")
    await store_bytes(store, "a/x", b"2")
    await store.delete("a/b/c/d")
    assert sorted(os.listdir(tmp_path / "root" / "a")) == ["x"]
    await store.delete("a/x")
    assert os.listdir(tmp_path / "root") == [".sluiceway"]


@pytest.mark.parametrize(
    "key", ["taken/below/deeper", "new/" + "n" * 300, "new/one/two/" + "n" * 300]
)
async def test_a_refused_publish_leaves_no_empty_folders(
    store: DiskStore, tmp_path: Path, key: str
) -> None:
    """Folders made for a refused key are removed again."""
    await store_bytes(store, "taken", b"1")
    with pytest.raises(SluiceError):
        await store_bytes(store, key, b"2")

    assert sorted(os.listdir(tmp_path / "root")) == [".sluiceway", "taken"]
