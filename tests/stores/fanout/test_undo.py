"""A refusal or a cancellation at the end undoes what other destinations have published."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fix_taking import eventually
from rude_peer import Exchange, Peer
from sluiceway.errors import (
    Exists,
    PeerFailed,
    PreconditionFailed,
    Refused,
)
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
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
)
from stores.fanout.rest_peer import ALLOWED, MIB, SIZE, takes


def refuses(exchange: Exchange) -> None:
    """Reads the body to its end and refuses it."""
    exchange.read_body()
    exchange.reply(422, {"Content-Type": "text/plain"}, b"no such book")


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


async def test_two_that_overlap_and_are_refused_leave_what_was_there(tmp_path: Path) -> None:
    """The key's lock is held to the end of the undo, also while a server decides."""
    budget = Budget(LIMIT)
    with Peer(refuses) as peer:
        destinations = [disk(tmp_path, budget), memory(), relay(peer.url)]
        async with fan_out(budget, *destinations) as store:
            for destination in destinations[:2]:
                await store_bytes(destination.store, "book", b"old")
            drafts = [await store.draft(each, 1, put("book", ALLOWED)) for each in ("u1", "u2")]
            for draft in drafts:
                await draft.write(b"2")
            both = [draft.publish("book", Metadata("book"), ALLOWED) for draft in drafts]
            for outcome in await asyncio.gather(*both, return_exceptions=True):
                assert isinstance(outcome, Refused)
            for draft in drafts:
                await draft.discard()

            for destination in destinations[:2]:
                assert await read(destination.store, "book") == b"old"


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
