"""The store behind fsspec beyond the suite: notes beside the tree, others' files, servers that refuse, vanish or fall silent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fix_sftp import SftpServer
from fix_taking import noise
from sluiceway.errors import (
    BadName,
    BadRequest,
    NotFound,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    PreconditionFailed,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, Metadata, Replace
from sluiceway.stores.fsspec.connections import ConnectionPool
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.testing.store_suite import read, store_bytes

MIB = 1 << 20
ALLOWED = Replace(allowed=True)
KNOWN = Metadata("a.png", "image/png", "ab" * 32)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def place(sftp: SftpServer) -> str:
    return sftp.fresh()


@pytest.fixture
async def store(sftp: SftpServer, place: str, anyio_backend: str) -> AsyncIterator[FsspecStore]:
    budget = Budget(64 * MIB)
    store = FsspecStore(sftp.url(place), budget)
    yield store
    await store.aclose()
    assert budget.used == 0


async def test_what_is_known_survives_the_process_and_ends_with_the_version(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Another store finds name, type and digest; a file replaced from outside has lost them, and its tag is another one."""
    entry = await store_bytes(store, "a/b.png", noise(5000), KNOWN)
    other = FsspecStore(sftp.url(place), Budget(8 * MIB))
    try:
        assert await other.stat("a/b.png") == entry
    finally:
        await other.aclose()
    (sftp.folder / place / "a" / "b.png").write_bytes(noise(5001))
    there = await store.stat("a/b.png")

    assert (there.metadata, there.size) == (Metadata(filename=""), 5001)
    assert there.etag != entry.etag
    with pytest.raises(PreconditionFailed):
        await store.delete("a/b.png", Replace(allowed=True, etag=entry.etag))
    await store.delete("a/b.png")
    assert [name for name in os.listdir(sftp.folder / place) if name != ".sluiceway"] == []
    assert os.listdir(sftp.folder / place / ".sluiceway" / "about") == []


async def test_files_of_others_are_listed_and_read_and_links_are_not(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """What somebody put there is an object; our own folder and symbolic links are none in any listing."""
    folder = sftp.folder / place / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"theirs")
    (folder / "link").symlink_to(folder / "file")
    await store_bytes(store, "mine", b"1")

    assert [entry.key for entry in (await store.list()).entries] == ["deep/er/file", "mine"]
    assert await read(store, "deep/er/file") == b"theirs"


async def test_versions_of_one_second_have_different_tags(store: FsspecStore) -> None:
    """Replaced, or deleted and made again, in the same second and size: the server's clock counts whole seconds, tags differ."""
    tags = [(await store_bytes(store, "k", text, KNOWN, ALLOWED)).etag for text in (b"one", b"two")]
    await store.delete("k")
    tags.append((await store_bytes(store, "k", b"six")).etag)

    assert len(set(tags)) == 3
    assert (await store.stat("k")).metadata == Metadata("k")


@pytest.mark.parametrize(
    "key",
    [
        "../out",
        "a/../../out",
        "a//b",
        "/abs",
        ".sluiceway/drafts/x",
        "a/.sluiceway/drafts/x",
        ".SluiceWay/x",
        "a\\..\\b",
        "a\0b",
        "",
    ],
)
async def test_no_key_leads_out_of_the_folder(store: FsspecStore, key: str) -> None:
    """Refused by every call; a prefix of that kind lists nothing."""
    for act in (store.stat(key), store.open(key), store.delete(key), store_bytes(store, key, b"x")):
        with pytest.raises(BadName):
            await act
    if key:
        assert (await store.list(prefix=key + "/")).entries == []


async def test_patterns_in_keys_are_letters(store: FsspecStore) -> None:
    """fsspec expands * ? and [ in some calls: never in ours."""
    for key in ("a*", "ab", "a?", "[ab]", "b"):
        await store_bytes(store, key, key.encode())
    for key in ("a*", "a?", "[ab]"):
        assert await read(store, key) == key.encode()
        await store.delete(key)

    assert [entry.key for entry in (await store.list()).entries] == ["ab", "b"]


async def test_a_range_reads_its_bytes_and_few_others(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Ten bytes in the middle of 256 MiB cost the server less than a block."""
    (sftp.folder / place).mkdir(exist_ok=True)
    with open(sftp.folder / place / "large", "wb") as file:
        file.truncate(256 * MIB)
        file.seek(100 * MIB)
        file.write(b"0123456789")
    opened = await store.open("large")
    before = _read_by(sftp.process.pid)
    got = b"".join([bytes(chunk) async for chunk in opened.open(100 * MIB, 100 * MIB + 10)])

    assert got == b"0123456789"
    assert _read_by(sftp.process.pid) - before < MIB


async def test_a_file_that_changes_while_it_is_read_is_an_error(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Overwritten in its place from outside: the reader is told, and never gets bytes of both."""
    await store_bytes(store, "r", noise(8 * MIB))
    opened = await store.open("r")
    stream = opened.open()
    await anext(stream)
    (sftp.folder / place / "r").write_bytes(bytes(8 * MIB - 1))
    with pytest.raises(StoreFailed, match="while it was read"):
        async for _ in stream:
            pass


async def test_old_drafts_are_swept_and_young_ones_stay(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """By the server's clock: what nobody wrote to for an hour goes, a living upload and its own file stay."""
    draft = await store.draft("alive", None)
    await draft.write(noise(200_000))
    folder = sftp.folder / place / ".sluiceway" / "drafts"
    for name, age in (("old", 7200), ("older.about", 9000), ("young", 60)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    mine = [name for name in os.listdir(folder) if len(name) == 32]
    os.utime(folder / mine[0], (0, 0))

    await store.sweep()
    assert sorted(os.listdir(folder)) == sorted(["young", *mine])
    await draft.publish("alive", Metadata(filename=""))
    assert await read(store, "alive") == noise(200_000)


@pytest.mark.parametrize(
    ("password", "known", "said"),
    [("geheim", True, "password or key was refused"), ("secret", False, "is not in")],
    ids=["wrong-password", "unknown-server"],
)
async def test_who_is_not_let_in_learns_why_and_no_password(
    sftp: SftpServer, tmp_path: Path, password: str, known: bool, said: str
) -> None:
    """A wrong password, and a server whose key nobody vouches for, which is not told the password at all."""
    store = FsspecStore(
        sftp.url("x", password, sftp.known if known else tmp_path / "none"), Budget(8 * MIB)
    )
    with pytest.raises(StoreFailed, match=said) as caught:
        await store.check()

    assert password not in str(caught.value)


async def test_another_key_than_the_known_one_is_refused(sftp: SftpServer, tmp_path: Path) -> None:
    """Somebody who answers in the server's place gets no password."""
    name, kind, key = sftp.known.read_text().split()
    (tmp_path / "known").write_text(f"{name} {kind} {key[:-6]}AAAAAA\n")
    with pytest.raises(StoreFailed, match="another key"):
        await FsspecStore(sftp.url("x", known=tmp_path / "known"), Budget(8 * MIB)).check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("fsspec+sftp://u:geheim@no-such-host.invalid/x", "no such host"),
        ("fsspec+sftp://u:geheim@127.0.0.1:1/x", "no server answers"),
    ],
)
async def test_a_server_that_is_not_there_is_told_so(url: str, said: str) -> None:
    store = FsspecStore(url, Budget(8 * MIB))
    with pytest.raises(PeerUnreachable, match=said) as caught:
        await store.check()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("fsspec+smb://u:geheim@host/share", "pip install 'smbprotocol'"),
        ("fsspec+nonsense://u:geheim@host/x", "knows no protocol"),
    ],
)
def test_a_protocol_that_is_not_there_is_told_with_its_package(url: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        FsspecStore(url, Budget(8 * MIB))
    assert "geheim" not in str(caught.value)


@pytest.fixture
def own_sftp(tmp_path: Path) -> Iterator[SftpServer]:
    """A server that a test may end."""
    server = SftpServer(tmp_path / "own")
    yield server
    if server.process.poll() is None:
        server.stop()


async def test_a_server_that_dies_in_an_upload_is_an_error_and_the_next_one_goes_well(
    own_sftp: SftpServer,
) -> None:
    """SIGKILL half way: the writer is told, nothing is visible, and when the server is back all goes on by itself."""
    budget = Budget(64 * MIB)
    store = FsspecStore(own_sftp.url("p"), budget)
    await store_bytes(store, "before", b"1")
    draft = await store.draft("cut", None)
    await draft.write(noise(2 * MIB))
    own_sftp.stop(signal.SIGKILL)
    with pytest.raises(PeerFailed):
        await _pour(draft)
    await draft.discard()
    own_sftp.restart()

    assert [entry.key for entry in (await store.list()).entries] == ["before"]
    await store_bytes(store, "after", noise(2 * MIB))
    assert await read(store, "after") == noise(2 * MIB)
    await store.aclose()
    assert budget.used == 0


async def test_a_server_that_was_away_between_two_requests_is_not_noticed(
    own_sftp: SftpServer,
) -> None:
    """Connections that broke while nobody used them are made anew, for reading, writing and deleting."""
    store = FsspecStore(own_sftp.url("p"), Budget(64 * MIB))
    await store_bytes(store, "a", noise(MIB))
    for act in ("stat", "read", "list", "write", "delete"):
        own_sftp.stop(signal.SIGKILL)
        own_sftp.restart()
        if act == "stat":
            assert (await store.stat("a")).size == MIB
        elif act == "read":
            assert await read(store, "a") == noise(MIB)
        elif act == "list":
            assert len((await store.list()).entries) == 1
        elif act == "write":
            await store_bytes(store, "b", b"2")
        else:
            await store.delete("b")
    with pytest.raises(NotFound):
        await store.stat("b")
    await store.aclose()


async def test_a_server_that_falls_silent_is_given_up(
    own_sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, not ended: no call waits for ever, and the store works when the server does again."""
    budget = Budget(64 * MIB)
    store = FsspecStore(own_sftp.url("p"), budget)
    await store_bytes(store, "a", b"1")
    monkeypatch.setattr(ConnectionPool.call, "__defaults__", (1.0, False))
    own_sftp.process.send_signal(signal.SIGSTOP)
    with pytest.raises(PeerTimeout):
        await store.stat("a")
    own_sftp.process.send_signal(signal.SIGCONT)
    monkeypatch.undo()

    assert await read(store, "a") == b"1"
    await store.aclose()
    assert budget.used == 0


async def test_servers_that_move_nothing_over_a_file_replace_it_all_the_same(
    tmp_path: Path,
) -> None:
    """Without posix-rename: made, replaced, replaced again, read and deleted."""
    server = SftpServer(tmp_path / "plain", "plain")
    store = FsspecStore(server.url("p"), Budget(64 * MIB))
    try:
        for text in (b"one", b"twelve", b"hundred"):
            entry = await store_bytes(store, "a/k", text, KNOWN, ALLOWED)
            assert (await read(store, "a/k"), await store.stat("a/k")) == (text, entry)
            assert entry.metadata == KNOWN
        assert server.drafts("p") == []
        await store.delete("a/k")
        assert (await store.list()).entries == []
    finally:
        await store.aclose()
        server.stop()


async def test_a_folder_of_this_machine_works_as_well(tmp_path: Path) -> None:
    """fsspec's own local files: held open, moved, read in ranges."""
    store = FsspecStore(f"fsspec+file://{tmp_path}/with%20space", Budget(64 * MIB))
    entry = await store_bytes(store, "a/b", noise(3 * MIB), KNOWN)
    assert await store.stat("a/b") == entry
    assert await read(store, "a/b", 1000, 2 * MIB) == noise(3 * MIB)[1000 : 2 * MIB]
    await store.delete("a/b")
    await store.aclose()
    assert sorted(os.listdir(tmp_path / "with space")) == [".sluiceway"]


async def _pour(draft: Draft) -> None:
    for _ in range(200):
        await draft.write(noise(MIB))


def _read_by(pid: int) -> int:
    """Bytes a process has read from anywhere."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("no rchar")


async def test_what_a_store_below_keeps_for_itself_is_no_object(tmp_path: Path) -> None:
    """Its unfinished uploads are not listed, read or deleted through the one above."""
    draft = tmp_path / "below" / ".sluiceway" / "drafts" / "x"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    (tmp_path / "below" / "whole").write_bytes(b"whole")
    store = FsspecStore(f"fsspec+file://{tmp_path}", Budget(64 << 20))
    try:
        page = await store.list()
        assert [entry.key for entry in page.entries] == ["below/whole"]
        assert [(one.name, one.code) for one in page.omitted] == [("below/.sluiceway", "own-file")]
        assert (await store.list("below/.sluiceway/")).entries == []
        for act in (
            store.stat("below/.sluiceway/drafts/x"),
            store.delete("below/.sluiceway/drafts/x"),
        ):
            with pytest.raises(BadName):
                await act
    finally:
        await store.aclose()
    assert draft.read_bytes() == b"half"
