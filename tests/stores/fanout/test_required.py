"""Every required destination has the file, or none: at any failure, at any byte, over any older
object.
"""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

import pytest

from fix_filesystems import Mount, fill
from rude_peer import Exchange, Peer
from sluiceway.errors import (
    NoSpace,
    NotFound,
    PeerFailed,
    PeerUnreachable,
    PreconditionFailed,
    Refused,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import (
    DestinationResult,
    Draft,
    Metadata,
    Replace,
    UploadRequest,
)
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.required import run_all
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.fanout.destinations import (
    LIMIT,
    complete_requests,
    disk,
    fan_out,
    memory,
    put,
    relay,
    send,
    stored_names,
    write_chunks,
)
from stores.fanout.rest_peer import ALLOWED, MIB, SIZE, takes

OFFSETS = sorted(random.Random(7).sample(range(SIZE), 8))


# All have it


@pytest.mark.parametrize("length_known", [True, False], ids=["length-known", "length-unknown"])
async def test_all_get_the_same_bytes_in_one_pass(tmp_path: Path, length_known: bool) -> None:
    """Disk, memory and a server: the entry is the first readable one's, with a result for each."""
    data, budget = pattern(SIZE), Budget(LIMIT)
    with Peer(takes) as peer:
        there, here = relay(peer.url), disk(tmp_path / "d", budget)
        async with fan_out(budget, there, here, memory()) as store:
            entry = await send(store, "book", data, length_known=length_known)

            assert entry == await here.store.stat("book")
            assert await read(here.store, "book") == data
        assert [one.body for one in peer.seen] == [data]
        assert entry.reply is None
        assert entry.copies == (
            DestinationResult(peer.url, True, 201, f"{peer.url}/made/book"),
            DestinationResult(str(tmp_path / "d"), True),
            DestinationResult("memory:", True),
        )


async def test_kept_is_the_least_of_all_destinations(tmp_path: Path) -> None:
    """Memory keeps bytes at once, a disk at its sync: until then nothing is kept."""
    budget = Budget(LIMIT)
    async with fan_out(budget, memory(), disk(tmp_path, budget)) as store:
        draft = await store.draft("up.0", None)
        await write_chunks(draft, pattern(MIB))

        assert (draft.written, draft.kept) == (MIB, 0)
        assert (await draft.sync(), draft.kept) == (MIB, MIB)
        await draft.discard()


def test_the_traits_are_those_of_the_weakest_required_destination(tmp_path: Path) -> None:
    """A best-effort destination takes nothing away."""
    budget = Budget(LIMIT)
    one, two = disk(tmp_path / "a", budget), disk(tmp_path / "b", budget)
    both = FanoutStore([one, two, relay("http://127.0.0.1:9", required=False)], budget).traits
    gateway = FanoutStore([relay("http://127.0.0.1:9"), one], budget).traits
    far = FanoutStore([relay("http://127.0.0.1:9"), relay("http://127.0.0.1:8")], budget).traits

    assert (both.name, both.durable, both.create_only, both.undoable, both.remote) == (
        "destinations",
        True,
        True,
        True,
        False,
    )
    assert (gateway.durable, gateway.create_only, gateway.undoable, gateway.remote) == (
        False,
        False,
        False,
        True,
    )
    assert (gateway.readable, far.readable) == (True, False)
    with pytest.raises(StoreFailed):
        FanoutStore([memory(required=False)], budget)


# One fails while bytes come


@pytest.mark.parametrize("offset", OFFSETS)
async def test_a_reset_at_any_byte_leaves_nothing_anywhere(tmp_path: Path, offset: int) -> None:
    """The error names the destination; the other server got no complete request, or a DELETE."""

    def breaks(exchange: Exchange) -> None:
        left = offset
        while left > 0 and (data := exchange.recv(left)):
            left -= len(data)
        exchange.reset()

    budget = Budget(LIMIT)
    with Peer(breaks) as bad, Peer(takes) as good:
        destinations = [memory(), disk(tmp_path, budget), relay(good.url), relay(bad.url)]
        async with fan_out(budget, *destinations) as store:
            with pytest.raises(PeerFailed) as caught:
                await send(store, "book", pattern(SIZE))

            assert caught.value.private["destination"] == bad.url
            assert [stored_names(destination) for destination in destinations] == [[]] * 4
        assert complete_requests(good) in ([], ["PUT", "DELETE"])


async def test_the_first_error_cancels_the_others() -> None:
    """One waits and one fails: the error is raised at once, and none is running then."""
    ended: list[str] = []

    async def stands_still() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stood still")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise NoSpace("full")

    with pytest.raises(NoSpace):
        await asyncio.wait_for(run_all([stands_still(), fails()]), 20)
    assert ended == ["stood still"]


@pytest.mark.parametrize("length_known", [True, False], ids=["length-known", "length-unknown"])
async def test_an_early_refusal_ends_the_upload_everywhere(
    tmp_path: Path, length_known: bool
) -> None:
    """413 on the way is passed on as that server's response; the disk has nothing."""

    def full(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reply(413, {"Content-Type": "text/plain"}, b"too much")

    budget = Budget(LIMIT)
    with Peer(full) as peer:
        here = disk(tmp_path, budget)
        async with fan_out(budget, here, relay(peer.url)) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(7 * MIB), length_known=length_known)

            assert (caught.value.status, caught.value.body) == (413, b"too much")
            assert caught.value.private["destination"] == peer.url
            assert stored_names(here) == []


async def test_an_unreachable_destination_leaves_no_draft_anywhere(tmp_path: Path) -> None:
    """The error comes before the first byte; the drafts at the others are discarded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    budget = Budget(LIMIT)
    destinations = [memory(), disk(tmp_path, budget), relay(url)]
    async with fan_out(budget, *destinations) as store:
        with pytest.raises(PeerUnreachable) as caught:
            await store.draft("up.0", MIB, put("book", Replace()))

        assert caught.value.private["destination"] == url
        assert [stored_names(destination) for destination in destinations[1:]] == [[], []]


@pytest.mark.root
@pytest.mark.parametrize("length_known", [True, False], ids=["length-known", "length-unknown"])
async def test_a_full_disk_among_them_leaves_nothing_anywhere(
    tmp_path: Path, mount: Mount, length_known: bool
) -> None:
    """NoSpace of the full one, before the first byte when the length is known."""
    mount("tmpfs", tmp_path / "small", "size=4m")
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        destinations = [
            disk(tmp_path / "large", budget),
            disk(tmp_path / "small", budget),
            memory(),
            relay(peer.url),
        ]
        async with fan_out(budget, *destinations) as store:
            with pytest.raises(NoSpace) as caught:
                await send(store, "book", pattern(7 * MIB), length_known=length_known)

            assert caught.value.private["destination"] == str(tmp_path / "small")
            assert [stored_names(destination) for destination in destinations] == [[]] * 4
        assert complete_requests(peer) == []


@pytest.mark.root
async def test_a_disk_that_cannot_take_the_last_bytes_fails_before_anything_is_visible(
    tmp_path: Path, mount: Mount
) -> None:
    """Buffered bytes are written first: the destination before it never shows the file."""
    mount("tmpfs", tmp_path / "small", "size=1m")
    budget = Budget(LIMIT)
    large, small = disk(tmp_path / "large", budget), disk(tmp_path / "small", budget)
    fill(tmp_path / "small")
    async with fan_out(budget, large, small) as store:
        before = (tmp_path / "large").stat().st_mtime_ns
        with pytest.raises(NoSpace):
            await send(store, "book", pattern(30_000), length_known=False)

        assert stored_names(large) == []
        assert (tmp_path / "large").stat().st_mtime_ns == before, "a name came and went"


# All copies stay the same


async def test_uploads_of_one_key_at_once_leave_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Twelve uploads replace one key at once: the last one is the last everywhere."""
    budget = Budget(LIMIT)
    first, second = memory(), disk(tmp_path, budget)
    async with fan_out(budget, first, second) as store:
        await asyncio.gather(*(_replace(store, number) for number in range(12)))

        assert await read(first.store, "book") == await read(second.store, "book")
        assert stored_names(second) == ["book"]


async def _replace(store: FanoutStore, number: int) -> None:
    draft = await store.draft(f"up{number}.0", None)
    await write_chunks(draft, pattern(100_000, number))
    await draft.publish("book", Metadata(""), ALLOWED)


async def test_delete_goes_to_every_destination_that_has_the_key(tmp_path: Path) -> None:
    """Best-effort ones too; a missing copy is no error; a wrong tag deletes nothing."""
    budget = Budget(LIMIT)
    first, second, third = (
        memory(),
        disk(tmp_path / "a", budget),
        disk(tmp_path / "b", budget, required=False),
    )
    async with fan_out(budget, first, second, third) as store:
        await send(store, "book", b"1")
        assert [stored_names(destination) for destination in (first, second, third)] == [
            ["book"]
        ] * 3
        with pytest.raises(PreconditionFailed):
            await store.delete("book", Replace(allowed=True, etag="another"))
        assert [stored_names(destination) for destination in (first, second, third)] == [
            ["book"]
        ] * 3
        await store.delete("book")
        assert [stored_names(destination) for destination in (first, second, third)] == [[]] * 3
        with pytest.raises(NotFound):
            await store.delete("book")
        await send(store, "other", b"2")
        await third.store.delete("other")
        await store.delete("other")
        assert [stored_names(destination) for destination in (first, second, third)] == [[]] * 3


async def test_reads_go_to_the_first_readable_required_destination(tmp_path: Path) -> None:
    """A server before it is skipped; a best-effort destination is never read."""
    budget = Budget(LIMIT)
    here = disk(tmp_path, budget)
    async with fan_out(budget, memory(required=False), relay("http://127.0.0.1:9"), here) as store:
        entry = await store_bytes(here.store, "book", b"text")

        assert await store.stat("book") == entry
        assert await read(store, "book") == b"text"
        assert (await store.list()).entries == [entry]
        assert isinstance(here.store, DiskStore)
    async with fan_out(budget, relay("http://127.0.0.1:9"), relay("http://127.0.0.1:8")) as store:
        assert (await store.list()).entries == []
        with pytest.raises(NotFound):
            await store.stat("book")
        with pytest.raises(NotFound):
            await store.delete("book")


async def test_after_an_error_the_draft_can_only_be_discarded(tmp_path: Path) -> None:
    """One destination may have bytes that the other has not."""

    class ListsDrafts(MemoryStore):
        async def draft(
            self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
        ) -> Draft:
            drafts.append(await super().draft(upload, size, upload_request))
            return drafts[-1]

    budget, drafts = Budget(LIMIT), list[Draft]()
    two = Destination(ListsDrafts(), True, "two")
    async with fan_out(budget, memory(), two) as store:
        draft = await store.draft("up.0", None)
        await drafts[0].discard()
        with pytest.raises(StoreFailed):
            await draft.write(b"x")
        for act in (draft.write(b"x"), draft.sync(), draft.publish("book", Metadata(""))):
            with pytest.raises(StoreFailed, match="send the file again"):
                await act
        await draft.discard()
