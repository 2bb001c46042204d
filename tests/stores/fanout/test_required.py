"""Every required destination has the file, or none: whoever fails, at whatever byte, and whatever stood there before."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

import pytest

from fix_filesystems import Mount, fill
from fix_taking import eventually
from rude_peer import Exchange, Peer
from sluiceway.errors import (
    Exists,
    NoSpace,
    NotFound,
    PeerFailed,
    PeerUnreachable,
    PreconditionFailed,
    Refused,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import DestinationResult, Metadata, Replace
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.required import together
from sluiceway.stores.fanout.store import FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import pattern, read, store_bytes
from stores.fanout.fanout_legs import (
    LIMIT,
    disk,
    fan_out,
    memory,
    pour,
    put,
    relay,
    rests,
    send,
    whole,
)

MIB = 1 << 20
SIZE = 3 * MIB
OFFSETS = sorted(random.Random(7).sample(range(SIZE), 8))
ALLOWED = Replace(allowed=True)


def takes(exchange: Exchange) -> None:
    """Takes everything, and deletes what it is asked to delete."""
    exchange.read_body()
    if exchange.method == "DELETE":
        exchange.reply(204)
    elif not exchange.cut:
        exchange.reply(201, {"Location": f"/made{exchange.target}", "ETag": '"e1"'})


def refuses(exchange: Exchange) -> None:
    """Reads to the end and says no."""
    exchange.read_body()
    exchange.reply(422, {"Content-Type": "text/plain"}, b"no such book")


# All have it


@pytest.mark.parametrize("told", [True, False], ids=["length-known", "length-unknown"])
async def test_all_get_the_same_bytes_in_one_pass(tmp_path: Path, told: bool) -> None:
    """Disk, memory and another server; the entry is that of the first that can be read, and tells of each."""
    data, budget = pattern(SIZE), Budget(LIMIT)
    with Peer(takes) as peer:
        there, here = relay(peer.url), disk(tmp_path / "d", budget)
        async with fan_out(budget, there, here, memory()) as store:
            entry = await send(store, "book", data, told=told)

            assert entry == await here.store.stat("book")
            assert await read(here.store, "book") == data
        assert [one.body for one in peer.seen] == [data]
        assert entry.reply is None
        assert entry.copies == (
            DestinationResult(peer.url, True, 201, f"{peer.url}/made/book"),
            DestinationResult(str(tmp_path / "d"), True),
            DestinationResult("memory:", True),
        )


async def test_kept_is_what_all_keep(tmp_path: Path) -> None:
    """Memory keeps at once, a disk when it is told to: until then nothing is kept."""
    budget = Budget(LIMIT)
    async with fan_out(budget, memory(), disk(tmp_path, budget)) as store:
        draft = await store.draft("up.0", None)
        await pour(draft, pattern(MIB))

        assert (draft.written, draft.kept) == (MIB, 0)
        assert (await draft.sync(), draft.kept) == (MIB, MIB)
        await draft.discard()


def test_the_traits_are_no_better_than_the_weakest(tmp_path: Path) -> None:
    """What a required destination does not promise, all together do not; a best-effort one takes nothing away."""
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
async def test_one_that_breaks_at_any_byte_leaves_nothing_anywhere(
    tmp_path: Path, offset: int
) -> None:
    """A connection reset at byte N: the error names the place, nothing rests, the other server saw no end or a DELETE."""

    def breaks(exchange: Exchange) -> None:
        left = offset
        while left > 0 and (data := exchange.recv(left)):
            left -= len(data)
        exchange.reset()

    budget = Budget(LIMIT)
    with Peer(breaks) as bad, Peer(takes) as good:
        legs = [memory(), disk(tmp_path, budget), relay(good.url), relay(bad.url)]
        async with fan_out(budget, *legs) as store:
            with pytest.raises(PeerFailed) as caught:
                await send(store, "book", pattern(SIZE))

            assert caught.value.private["destination"] == bad.url
            assert [rests(leg) for leg in legs] == [[]] * 4
        assert whole(good) in ([], ["PUT", "DELETE"])


async def test_the_first_error_ends_what_the_others_wait_for() -> None:
    """One stands still and one fails: that is told at once, and the other does not go on."""
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
        await asyncio.wait_for(together([stands_still(), fails()]), 20)
    assert ended == ["stood still"]


@pytest.mark.parametrize("told", [True, False], ids=["length-known", "length-unknown"])
async def test_an_early_refusal_ends_it_for_all(tmp_path: Path, told: bool) -> None:
    """413 in the middle is that server's own answer; the disk has nothing."""

    def full(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reply(413, {"Content-Type": "text/plain"}, b"too much")

    budget = Budget(LIMIT)
    with Peer(full) as peer:
        here = disk(tmp_path, budget)
        async with fan_out(budget, here, relay(peer.url)) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(7 * MIB), told=told)

            assert (caught.value.status, caught.value.body) == (413, b"too much")
            assert caught.value.private["destination"] == peer.url
            assert rests(here) == []


async def test_one_that_cannot_be_reached_leaves_no_draft(tmp_path: Path) -> None:
    """Told before the first byte; what the others had begun is gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    budget = Budget(LIMIT)
    legs = [memory(), disk(tmp_path, budget), relay(url)]
    async with fan_out(budget, *legs) as store:
        with pytest.raises(PeerUnreachable) as caught:
            await store.draft("up.0", MIB, put("book", Replace()))

        assert caught.value.private["destination"] == url
        assert [rests(leg) for leg in legs[1:]] == [[], []]


@pytest.mark.root
@pytest.mark.parametrize("told", [True, False], ids=["length-known", "length-unknown"])
async def test_a_full_disk_among_them_leaves_nothing_anywhere(
    tmp_path: Path, mount: Mount, told: bool
) -> None:
    """NoSpace of the one that is full, before the first byte where the length is known."""
    mount("tmpfs", tmp_path / "small", "size=4m")
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        legs = [
            disk(tmp_path / "large", budget),
            disk(tmp_path / "small", budget),
            memory(),
            relay(peer.url),
        ]
        async with fan_out(budget, *legs) as store:
            with pytest.raises(NoSpace) as caught:
                await send(store, "book", pattern(7 * MIB), told=told)

            assert caught.value.private["destination"] == str(tmp_path / "small")
            assert [rests(leg) for leg in legs] == [[]] * 4
        assert whole(peer) == []


@pytest.mark.root
async def test_a_disk_without_room_for_the_last_bytes_is_noticed_before_anything_is_visible(
    tmp_path: Path, mount: Mount
) -> None:
    """What it holds back until the end is written first: the destination in front of it never showed the file."""
    mount("tmpfs", tmp_path / "small", "size=1m")
    budget = Budget(LIMIT)
    large, small = disk(tmp_path / "large", budget), disk(tmp_path / "small", budget)
    fill(tmp_path / "small")
    async with fan_out(budget, large, small) as store:
        before = (tmp_path / "large").stat().st_mtime_ns
        with pytest.raises(NoSpace):
            await send(store, "book", pattern(30_000), told=False)

        assert rests(large) == []
        assert (tmp_path / "large").stat().st_mtime_ns == before, "a name came and went"


# One refuses at the end


async def test_a_refusal_by_another_server_takes_the_others_back(tmp_path: Path) -> None:
    """422 after the last byte: the client gets that answer, and disk and memory have nothing."""
    budget = Budget(LIMIT)
    with Peer(refuses) as peer:
        legs = [disk(tmp_path, budget), memory(), relay(peer.url)]
        async with fan_out(budget, *legs) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(SIZE))

            assert (caught.value.status, caught.value.body) == (422, b"no such book")
            assert "already_taken" not in caught.value.members
            assert [rests(leg) for leg in legs] == [[]] * 3


async def test_what_was_replaced_stands_there_again(tmp_path: Path) -> None:
    """A refused replacement leaves the old bytes, name and type at every place that had them."""
    metadata = Metadata("old.txt", "text/plain", "ab" * 32)
    budget = Budget(LIMIT)
    with Peer(refuses) as peer:
        legs = [disk(tmp_path, budget), memory(), relay(peer.url)]
        async with fan_out(budget, *legs) as store:
            for leg in legs[:2]:
                await store_bytes(leg.store, "book", pattern(MIB, 5), metadata)
            with pytest.raises(Refused):
                await send(store, "book", pattern(SIZE), ALLOWED)

            for leg in legs[:2]:
                assert await read(leg.store, "book") == pattern(MIB, 5)
                assert (await leg.store.stat("book")).metadata == metadata
                assert rests(leg) == ["book"]


async def test_a_key_that_is_taken_at_the_second_place_is_not_touched_at_the_first(
    tmp_path: Path,
) -> None:
    """Create-only: Exists, and the first place has nothing of it."""
    budget = Budget(LIMIT)
    first, second = memory(), disk(tmp_path, budget)
    async with fan_out(budget, first, second) as store:
        await store_bytes(second.store, "book", b"there before")
        with pytest.raises(Exists) as caught:
            await send(store, "book", b"new")

        assert caught.value.private["destination"] == second.display_name
        assert rests(first) == []
        assert await read(second.store, "book") == b"there before"


async def test_a_tag_is_asked_of_the_place_it_came_from(tmp_path: Path) -> None:
    """If-Match with the tag of the disk's object: the disk compares, memory and the other server replace theirs."""
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        first, second = disk(tmp_path, budget), memory()
        async with fan_out(budget, first, second, relay(peer.url)) as store:
            old = await send(store, "book", b"old")
            await send(store, "book", b"new", Replace(allowed=True, etag=old.etag))
            with pytest.raises(PreconditionFailed):
                await send(store, "book", b"late", Replace(allowed=True, etag=old.etag))

            assert await read(first.store, "book") == await read(second.store, "book") == b"new"
        # The third request is cut off; its peer may learn of that a moment later.
        eventually(
            lambda: [one.body for one in peer.seen if not one.cut] == [b"old", b"new"],
            "the third is seen to be cut",
        )
        assert all("if-match" not in one.headers for one in peer.seen)


# Other servers, which cannot be undone but by their own leave


@pytest.mark.parametrize("told", [True, False], ids=["length-known", "length-unknown"])
async def test_what_an_earlier_server_took_is_deleted_there(tmp_path: Path, told: bool) -> None:
    """Its 201 said where: one DELETE there, of that version only, with the operator's headers; the second's no is the answer."""
    budget = Budget(LIMIT)
    with Peer(takes) as first, Peer(refuses) as second:
        here = disk(tmp_path, budget)
        legs = [
            here,
            relay(f"{first.url}/in", headers={"authorization": "Bearer first"}),
            relay(second.url),
        ]
        async with fan_out(budget, *legs) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(SIZE), told=told)

        assert caught.value.status == 422
        assert [(one.method, one.target) for one in first.seen] == [
            ("PUT", "/in/book"),
            ("DELETE", "/made/in/book"),
        ]
        undo = first.seen[1].headers
        assert (undo["authorization"], undo["if-match"]) == ("Bearer first", '"e1"')
        assert [one.method for one in second.seen] == ["PUT"]
        assert rests(here) == []


@pytest.mark.parametrize(
    "how", ["replaced", "elsewhere", "nowhere", "around", "itself", "undeletable"]
)
async def test_a_copy_that_cannot_be_taken_back_is_told(tmp_path: Path, how: str) -> None:
    """It replaced something, named another host, no place or too large a one, or refuses DELETE: the error says what remains."""
    asked: list[str] = []

    def other(exchange: Exchange) -> None:
        asked.append(exchange.method)
        exchange.reply(204)

    with Peer(other) as elsewhere, Peer(refuses) as second:

        def takes_for_good(exchange: Exchange) -> None:
            exchange.read_body()
            if exchange.method == "DELETE":
                exchange.reply(405)
            elif how == "replaced":
                exchange.reply(200, {"Location": "/in/7/book"})
            else:
                place = {
                    "elsewhere": f"{elsewhere.url}/in/7/book",
                    "around": "/in/",
                    "itself": "/in/7",
                    "undeletable": "/in/7/book",
                }
                exchange.reply(201, {"Location": place[how]} if how in place else {})

        budget = Budget(LIMIT)
        with Peer(takes_for_good) as first:
            here = disk(tmp_path, budget)
            async with fan_out(
                budget, here, relay(f"{first.url}/in/7"), relay(second.url)
            ) as store:
                with pytest.raises(PeerFailed) as caught:
                    await send(store, "book", b"all of it")

            assert caught.value.private["copies"] == [f"{first.url}/in/7"]
            assert caught.value.private["destination"] == second.url
            assert caught.value.members["answered"] == 422
            assert f"A copy remains at {first.url}" in caught.value.detail
            assert [one.method for one in first.seen] == (
                ["PUT", "DELETE"] if how == "undeletable" else ["PUT"]
            )
            assert rests(here) == []
    assert asked == []


# Cancelled


async def test_cancelled_while_another_server_thinks_everything_is_taken_back(
    tmp_path: Path,
) -> None:
    """The client left before the answer: the disk's file goes, the first server's copy is deleted, the request is broken off."""

    def thinks(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.sock.recv(1)  # until the other side hangs up

    budget = Budget(LIMIT)
    with Peer(takes) as first, Peer(thinks) as second:
        legs = [disk(tmp_path, budget), memory(), relay(first.url), relay(second.url)]
        async with fan_out(budget, *legs) as store:
            sending = asyncio.create_task(send(store, "book", pattern(MIB)))
            while not (second.seen and len(second.seen[0].body) == MIB):
                await asyncio.sleep(0.01)
            assert rests(legs[0]) == ["book"]
            sending.cancel()
            await asyncio.wait([sending])

            assert sending.cancelled()
            assert [rests(leg) for leg in legs] == [[]] * 4
        assert whole(first) == ["PUT", "DELETE"]


async def test_cancelled_when_the_first_has_just_published_the_second_is_not_asked(
    tmp_path: Path,
) -> None:
    """A disk that was cancelled too late answers all the same; the upload is over nevertheless, and its file goes."""
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        here = disk(tmp_path, budget)
        async with fan_out(budget, here, relay(peer.url)) as store:
            sending = asyncio.create_task(send(store, "book", pattern(300_000)))
            while not (tmp_path / "book").exists():
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])

            assert sending.cancelled()
            assert rests(here) == []
        assert whole(peer) == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_cancelled_at_any_turn_all_or_none_have_it(tmp_path: Path, turns: int) -> None:
    """Three places, one of them best-effort: cancelled anywhere, the required two agree, and with what the caller was told."""
    budget = Budget(LIMIT)
    legs = [disk(tmp_path / "a", budget), memory(), disk(tmp_path / "b", budget, required=False)]
    async with fan_out(budget, *legs) as store:
        sending = asyncio.create_task(send(store, "book", pattern(200_000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])

        expected = [] if sending.cancelled() else ["book"]
        assert [rests(legs[0]), rests(legs[1])] == [expected, expected]
    if not expected:
        assert rests(legs[2]) == []


# Copies do not part


async def test_uploads_of_one_key_at_once_leave_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Twelve replace one key at the same time: whoever is last is last at all places."""
    budget = Budget(LIMIT)
    first, second = memory(), disk(tmp_path, budget)
    async with fan_out(budget, first, second) as store:
        await asyncio.gather(*(_replace(store, number) for number in range(12)))

        assert await read(first.store, "book") == await read(second.store, "book")
        assert rests(second) == ["book"]


async def _replace(store: FanoutStore, number: int) -> None:
    draft = await store.draft(f"up{number}.0", None)
    await pour(draft, pattern(100_000, number))
    await draft.publish("book", Metadata(""), ALLOWED)


async def test_delete_goes_to_every_place_that_has_it(tmp_path: Path) -> None:
    """Also to a best-effort one; one that never had it is no error; a wrong tag touches nothing."""
    budget = Budget(LIMIT)
    first, second, third = (
        memory(),
        disk(tmp_path / "a", budget),
        disk(tmp_path / "b", budget, required=False),
    )
    async with fan_out(budget, first, second, third) as store:
        await send(store, "book", b"1")
        assert [rests(leg) for leg in (first, second, third)] == [["book"]] * 3
        with pytest.raises(PreconditionFailed):
            await store.delete("book", Replace(allowed=True, etag="another"))
        assert [rests(leg) for leg in (first, second, third)] == [["book"]] * 3
        await store.delete("book")
        assert [rests(leg) for leg in (first, second, third)] == [[]] * 3
        with pytest.raises(NotFound):
            await store.delete("book")
        await send(store, "other", b"2")
        await third.store.delete("other")
        await store.delete("other")
        assert [rests(leg) for leg in (first, second, third)] == [[]] * 3


async def test_reading_is_from_the_first_that_can_be_read(tmp_path: Path) -> None:
    """Another server in front of it is passed over; a best-effort place is never read."""
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


async def test_after_an_error_nothing_more_is_taken(tmp_path: Path) -> None:
    """One place may have a byte the other has not: the draft can only be discarded."""
    budget = Budget(LIMIT)
    one, two = memory(), memory()
    async with fan_out(budget, one, two) as store:
        draft = await store.draft("up.0", None)
        assert isinstance(two.store, MemoryStore)
        await two.store.drafts["up.0"].discard()
        with pytest.raises(StoreFailed):
            await draft.write(b"x")
        for act in (draft.write(b"x"), draft.sync(), draft.publish("book", Metadata(""))):
            with pytest.raises(StoreFailed, match="send the file again"):
                await act
        await draft.discard()
