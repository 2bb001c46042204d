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
from sluiceway.stores.fanout.required import run_all
from sluiceway.stores.fanout.store import FanoutStore
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

MIB = 1 << 20
SIZE = 3 * MIB
OFFSETS = sorted(random.Random(7).sample(range(SIZE), 8))
ALLOWED = Replace(allowed=True)


def takes(exchange: Exchange) -> None:
    """Accepts every upload and every DELETE."""
    exchange.read_body()
    if exchange.method == "DELETE":
        exchange.reply(204)
    elif not exchange.cut:
        exchange.reply(201, {"Location": f"/made{exchange.target}", "ETag": '"e1"'})


def refuses(exchange: Exchange) -> None:
    """Reads the body to its end and refuses it."""
    exchange.read_body()
    exchange.reply(422, {"Content-Type": "text/plain"}, b"no such book")


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


# One refuses at the end


async def test_a_refusal_by_one_server_undoes_the_others(tmp_path: Path) -> None:
    """422 after the last byte is passed on; disk and memory have nothing."""
    budget = Budget(LIMIT)
    with Peer(refuses) as peer:
        destinations = [disk(tmp_path, budget), memory(), relay(peer.url)]
        async with fan_out(budget, *destinations) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(SIZE))

            assert (caught.value.status, caught.value.body) == (422, b"no such book")
            assert "already_taken" not in caught.value.members
            assert [stored_names(destination) for destination in destinations] == [[]] * 3


async def test_a_replaced_object_is_put_back(tmp_path: Path) -> None:
    """A refused replacement leaves the old bytes, name and type everywhere."""
    metadata = Metadata("old.txt", "text/plain", (("sha-256", "ab" * 32),))
    budget = Budget(LIMIT)
    with Peer(refuses) as peer:
        destinations = [disk(tmp_path, budget), memory(), relay(peer.url)]
        async with fan_out(budget, *destinations) as store:
            for destination in destinations[:2]:
                await store_bytes(destination.store, "book", pattern(MIB, 5), metadata)
            with pytest.raises(Refused):
                await send(store, "book", pattern(SIZE), ALLOWED)

            for destination in destinations[:2]:
                assert await read(destination.store, "book") == pattern(MIB, 5)
                assert (await destination.store.stat("book")).metadata == metadata
                assert stored_names(destination) == ["book"]


async def test_a_key_taken_at_the_second_destination_stays_free_at_the_first(
    tmp_path: Path,
) -> None:
    """A create-only upload raises Exists, and the first destination has nothing."""
    budget = Budget(LIMIT)
    first, second = memory(), disk(tmp_path, budget)
    async with fan_out(budget, first, second) as store:
        await store_bytes(second.store, "book", b"there before")
        with pytest.raises(Exists) as caught:
            await send(store, "book", b"new")

        assert caught.value.private["destination"] == second.display_name
        assert stored_names(first) == []
        assert await read(second.store, "book") == b"there before"


async def test_a_tag_is_compared_only_where_it_came_from(tmp_path: Path) -> None:
    """The disk compares the tag; memory and the server replace their objects."""
    budget = Budget(LIMIT)
    with Peer(takes) as peer:
        first, second = disk(tmp_path, budget), memory()
        async with fan_out(budget, first, second, relay(peer.url)) as store:
            old = await send(store, "book", b"old")
            await send(store, "book", b"new", Replace(allowed=True, etag=old.etag))
            with pytest.raises(PreconditionFailed):
                await send(store, "book", b"late", Replace(allowed=True, etag=old.etag))

            assert await read(first.store, "book") == await read(second.store, "book") == b"new"
        # The third request is cut off; its peer may notice it a moment later.
        eventually(
            lambda: [one.body for one in peer.seen if not one.cut] == [b"old", b"new"],
            "the third request is cut",
        )
        assert all("if-match" not in one.headers for one in peer.seen)


# Other servers, which must agree to an undo


@pytest.mark.parametrize("length_known", [True, False], ids=["length-known", "length-unknown"])
async def test_an_undo_deletes_the_object_at_an_earlier_server(
    tmp_path: Path, length_known: bool
) -> None:
    """One DELETE of the version that its 201 named, with the operator's headers."""
    budget = Budget(LIMIT)
    with Peer(takes) as first, Peer(refuses) as second:
        here = disk(tmp_path, budget)
        destinations = [
            here,
            relay(f"{first.url}/in", headers={"authorization": "Bearer first"}),
            relay(second.url),
        ]
        async with fan_out(budget, *destinations) as store:
            with pytest.raises(Refused) as caught:
                await send(store, "book", pattern(SIZE), length_known=length_known)

        assert caught.value.status == 422
        assert [(one.method, one.target) for one in first.seen] == [
            ("PUT", "/in/book"),
            ("DELETE", "/made/in/book"),
        ]
        undo = first.seen[1].headers
        assert (undo["authorization"], undo["if-match"]) == ("Bearer first", '"e1"')
        assert [one.method for one in second.seen] == ["PUT"]
        assert stored_names(here) == []


@pytest.mark.parametrize(
    "how", ["replaced", "elsewhere", "nowhere", "around", "itself", "undeletable"]
)
async def test_a_copy_that_cannot_be_undone_is_named_in_the_error(tmp_path: Path, how: str) -> None:
    """It was a replacement, its location is elsewhere, missing or too wide, or DELETE is
    refused.
    """
    asked: list[str] = []

    def other(exchange: Exchange) -> None:
        asked.append(exchange.method)
        exchange.reply(204)

    with Peer(other) as elsewhere, Peer(refuses) as second:

        def takes_without_undo(exchange: Exchange) -> None:
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
        with Peer(takes_without_undo) as first:
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
            assert stored_names(here) == []
    assert asked == []


# Cancelled


async def test_a_cancellation_before_the_last_answer_undoes_everything(
    tmp_path: Path,
) -> None:
    """The client left: file and copy are deleted, and the last request is aborted."""

    def keeps_silent(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.sock.recv(1)  # until the other side hangs up

    budget = Budget(LIMIT)
    with Peer(takes) as first, Peer(keeps_silent) as second:
        destinations = [disk(tmp_path, budget), memory(), relay(first.url), relay(second.url)]
        async with fan_out(budget, *destinations) as store:
            sending = asyncio.create_task(send(store, "book", pattern(MIB)))
            while not (second.seen and len(second.seen[0].body) == MIB):
                await asyncio.sleep(0.01)
            assert stored_names(destinations[0]) == ["book"]
            sending.cancel()
            await asyncio.wait([sending])

            assert sending.cancelled()
            assert [stored_names(destination) for destination in destinations] == [[]] * 4
        assert complete_requests(first) == ["PUT", "DELETE"]


async def test_a_cancellation_after_the_first_publish_skips_the_second(
    tmp_path: Path,
) -> None:
    """The disk publishes although it was cancelled; that is undone, and no request is sent."""
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
            assert stored_names(here) == []
        assert complete_requests(peer) == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_a_cancellation_at_any_turn_leaves_the_file_everywhere_or_nowhere(
    tmp_path: Path, turns: int
) -> None:
    """The two required destinations agree with each other and with the outcome of the call."""
    budget = Budget(LIMIT)
    destinations = [
        disk(tmp_path / "a", budget),
        memory(),
        disk(tmp_path / "b", budget, required=False),
    ]
    async with fan_out(budget, *destinations) as store:
        sending = asyncio.create_task(send(store, "book", pattern(200_000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])

        expected = [] if sending.cancelled() else ["book"]
        assert [stored_names(destinations[0]), stored_names(destinations[1])] == [
            expected,
            expected,
        ]
    if not expected:
        assert stored_names(destinations[2]) == []


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
