"""The store behind fsspec beyond the suite: notes, files of other programs, failing servers."""

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
KNOWN = Metadata("a.png", "image/png", (("sha-256", "ab" * 32),))

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


async def test_metadata_survives_the_process_and_ends_with_the_version(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Another store finds it. A file replaced by another program has none, and another tag."""
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


async def test_files_of_other_programs_are_listed_and_links_are_not(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Their files are objects; our own folder and symbolic links are not."""
    folder = sftp.folder / place / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"theirs")
    (folder / "link").symlink_to(folder / "file")
    await store_bytes(store, "mine", b"1")

    assert [entry.key for entry in (await store.list()).entries] == ["deep/er/file", "mine"]
    assert await read(store, "deep/er/file") == b"theirs"


async def test_versions_of_one_second_have_different_tags(store: FsspecStore) -> None:
    """Replaced, or deleted and made again, with the same size: the server tells whole seconds."""
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


async def test_keys_are_never_expanded_as_patterns(store: FsspecStore) -> None:
    """fsspec expands * ? and [ in some calls, but not in those of the store."""
    for key in ("a*", "ab", "a?", "[ab]", "b"):
        await store_bytes(store, key, key.encode())
    for key in ("a*", "a?", "[ab]"):
        assert await read(store, key) == key.encode()
        await store.delete(key)

    assert [entry.key for entry in (await store.list()).entries] == ["ab", "b"]


async def test_a_range_costs_the_server_few_other_bytes(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """For ten bytes in the middle of 256 MiB it reads less than a block."""
    (sftp.folder / place).mkdir(exist_ok=True)
    with open(sftp.folder / place / "large", "wb") as file:
        file.truncate(256 * MIB)
        file.seek(100 * MIB)
        file.write(b"0123456789")
    reader = await store.open("large")
    before = _read_by(sftp.process.pid)
    got = b"".join([bytes(chunk) async for chunk in reader.open(100 * MIB, 100 * MIB + 10)])

    assert got == b"0123456789"
    assert _read_by(sftp.process.pid) - before < MIB


async def test_a_file_that_changes_while_it_is_read_is_an_error(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """Another program overwrites it: the reader raises, and bytes of both are never mixed."""
    await store_bytes(store, "r", noise(8 * MIB))
    reader = await store.open("r")
    stream = reader.open()
    await anext(stream)
    (sftp.folder / place / "r").write_bytes(bytes(8 * MIB - 1))
    with pytest.raises(StoreFailed, match="while it was read"):
        async for _ in stream:
            pass


async def test_a_sweep_deletes_old_drafts_only(
    sftp: SftpServer, place: str, store: FsspecStore
) -> None:
    """By the server's clock: files not written to for an hour go, and uploads under way stay."""
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
    ("password", "known", "words"),
    [("geheim", True, "password or key was refused"), ("secret", False, "is not in")],
    ids=["wrong-password", "unknown-server"],
)
async def test_a_refused_login_names_the_reason_and_no_password(
    sftp: SftpServer, tmp_path: Path, password: str, known: bool, words: str
) -> None:
    """A wrong password, and a server whose key is unknown, which never gets the password."""
    store = FsspecStore(
        sftp.url("x", password, sftp.known if known else tmp_path / "none"), Budget(8 * MIB)
    )
    with pytest.raises(StoreFailed, match=words) as caught:
        await store.check()

    assert password not in str(caught.value)


async def test_another_key_than_the_known_one_is_refused(sftp: SftpServer, tmp_path: Path) -> None:
    """Another machine in the server's place gets no password."""
    name, kind, key = sftp.known.read_text().split()
    (tmp_path / "known").write_text(f"{name} {kind} {key[:-6]}AAAAAA\n")
    with pytest.raises(StoreFailed, match="another key"):
        await FsspecStore(sftp.url("x", known=tmp_path / "known"), Budget(8 * MIB)).check()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("fsspec+sftp://u:geheim@no-such-host.invalid/x", "no such host"),
        ("fsspec+sftp://u:geheim@127.0.0.1:1/x", "no server answers"),
    ],
)
async def test_an_unreachable_server_is_named_as_the_reason(url: str, words: str) -> None:
    store = FsspecStore(url, Budget(8 * MIB))
    with pytest.raises(PeerUnreachable, match=words) as caught:
        await store.check()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("fsspec+smb://u:geheim@host/share", "pip install 'smbprotocol'"),
        ("fsspec+nonsense://u:geheim@host/x", "knows no protocol"),
    ],
)
def test_a_missing_protocol_is_named_with_its_package(url: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        FsspecStore(url, Budget(8 * MIB))
    assert "geheim" not in str(caught.value)


@pytest.fixture
def own_sftp(tmp_path: Path) -> Iterator[SftpServer]:
    """A server that the test may stop."""
    server = SftpServer(tmp_path / "own")
    yield server
    if server.process.poll() is None:
        server.stop()


async def test_a_server_that_dies_in_an_upload_is_an_error_and_the_next_upload_succeeds(
    own_sftp: SftpServer,
) -> None:
    """The writer raises and nothing is visible. The restarted server is used again."""
    budget = Budget(64 * MIB)
    store = FsspecStore(own_sftp.url("p"), budget)
    await store_bytes(store, "before", b"1")
    draft = await store.draft("cut", None)
    await draft.write(noise(2 * MIB))
    own_sftp.stop(signal.SIGKILL)
    with pytest.raises(PeerFailed):
        await _write_much(draft)
    await draft.discard()
    own_sftp.restart()

    assert [entry.key for entry in (await store.list()).entries] == ["before"]
    await store_bytes(store, "after", noise(2 * MIB))
    assert await read(store, "after") == noise(2 * MIB)
    await store.aclose()
    assert budget.used == 0


async def test_a_server_may_restart_between_two_requests(
    own_sftp: SftpServer,
) -> None:
    """Connections that broke while idle are replaced, for reading, writing and deleting."""
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


async def test_a_silent_server_is_a_timeout(
    own_sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call to a stopped server waits for ever; the store works when the server does again."""
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


async def test_a_server_without_posix_rename_can_replace(
    tmp_path: Path,
) -> None:
    """It does not move over a file. Objects are made, replaced twice, read and deleted."""
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


async def test_a_local_folder_works_as_well(tmp_path: Path) -> None:
    """fsspec's own local files are held open, moved, and read in ranges."""
    store = FsspecStore(f"fsspec+file://{tmp_path}/with%20space", Budget(64 * MIB))
    entry = await store_bytes(store, "a/b", noise(3 * MIB), KNOWN)
    assert await store.stat("a/b") == entry
    assert await read(store, "a/b", 1000, 2 * MIB) == noise(3 * MIB)[1000 : 2 * MIB]
    await store.delete("a/b")
    await store.aclose()
    assert sorted(os.listdir(tmp_path / "with space")) == [".sluiceway"]


async def _write_much(draft: Draft) -> None:
    for _ in range(200):
        await draft.write(noise(MIB))


def _read_by(pid: int) -> int:
    """Bytes that a process has read from files and sockets."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("no rchar")


async def test_drafts_of_a_store_below_are_no_objects(tmp_path: Path) -> None:
    """They are not listed, read or deleted through the store above."""
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
