"""Both kinds of account do the same: on one machine, and in the database of many servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fix_postgres import Database
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.quota.account import Account, Amount, Limits, NotCounted, QuotaRefusal
from sluiceway.uploads.quota.local import LocalAccount
from sluiceway.uploads.quota.postgres import PostgresAccount

Open = Callable[[], Awaitable[Account]]
NO_LIMIT = Limits(None, None)
ODD = "\x00 name"  # of an owner or a key: no text of a database holds a zero

HOLDER = """# in a fork
import asyncio, sys
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.quota.account import Amount, Limits
from sluiceway.uploads.quota.local import LocalAccount
from sluiceway.uploads.quota.postgres import PostgresAccount

async def hold(where):
    is_url = where.startswith("postgres")
    account = PostgresAccount(LedgerDatabase(where)) if is_url else LocalAccount(where)
    assert await account.counts() is None
    await account.hold("dying", Amount("ann", 60), Limits(None, None))
    assert await account.claim("key") is True
    await account.begin("key", Amount("ann", 5))
    seen = "SELECT 1 FROM {t_processes} WHERE name = %s AND lock IS NOT NULL"
    while is_url and not await account._database.rows(seen, account._me):
        await asyncio.sleep(0.05)
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold(sys.argv[1]))
"""


@pytest.fixture(params=["folder", "database"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "account")
    database: Database = request.getfixturevalue("database")
    return f"{database.url}&table={database.fresh()}"


@pytest.fixture
async def opened(where: str) -> AsyncIterator[Open]:
    """Accounts as so many processes have them. All files are counted: `ann` has 10 bytes."""
    async with AsyncExitStack() as stack:

        async def make() -> Account:
            account: Account = LocalAccount(where)
            if where.startswith("postgres"):
                database = LedgerDatabase(where)
                stack.push_async_callback(database.aclose)
                account = PostgresAccount(database)
            if await account.counts():
                await account.counted([Amount("ann", 10)], [("lasting", Amount("bob", 7), "")])
            stack.push_async_callback(account.aclose)
            return account

        yield make


async def left(account: Account, name: str = "ann", total: int | None = None) -> int:
    """Of a quota of 100 bytes of the name, or of all."""
    with pytest.raises(QuotaRefusal) as refused:
        await account.hold("far-too-large", Amount(name, 1000), Limits(total, 100))
    return refused.value.left


async def test_what_is_reserved_and_stored_leaves_the_rest(opened: Open) -> None:
    one, other = await opened(), await opened()
    assert await one.usage() == {"ann": 10}
    await one.hold("a", Amount("ann", 50), Limits(None, 100))
    assert await left(other) == 40
    assert await left(other, "bob") == 93
    assert await left(other, total=100) == 33  # of bob's upload, too
    with pytest.raises(QuotaRefusal):
        await other.hold("b", Amount("ann", 41), Limits(None, 100))
    await other.hold("b", Amount("ann", 40), Limits(None, 100))
    await one.hold("a", Amount("ann", 30), Limits(None, 100))  # it shrinks
    await one.hold("a", Amount("ann", 30), Limits(None, 1))  # what does not grow fits
    assert await left(one) == 20
    await other.release(["a", "b"])
    assert await left(one) == 90


async def test_a_file_that_replaces_another_needs_the_difference(opened: Open) -> None:
    account = await opened()
    await account.hold("a", Amount("ann", 99), Limits(107, 99), Amount("ann", 10))
    await account.release(["a"])
    with pytest.raises(QuotaRefusal) as refused:  # that of another name is no help
        await account.hold("a", Amount("ann", 95), Limits(1000, 100), Amount("bob", 10))
    assert (refused.value.left, refused.value.is_total) == (90, False)


async def test_a_change_counts_what_a_key_has_now(opened: Open) -> None:
    one, other = await opened(), await opened()
    await one.hold("a", Amount(ODD, 30), NO_LIMIT)
    assert await one.claim(ODD) is True
    assert await other.claim(ODD) is False
    await one.begin(ODD, Amount("ann", 10))
    await one.end(ODD, Amount(ODD, 30), "a")
    assert await other.usage() == {ODD: 30}
    assert await left(other, ODD) == 70
    assert await other.claim(ODD) is True
    await other.begin(ODD, Amount(ODD, 30))
    await other.leave(ODD)
    assert await one.abandoned() == [ODD]
    assert await one.claim(ODD) == Amount(ODD, 30)
    await one.end(ODD, Amount("", 0))
    assert await one.usage() == {}
    assert await one.abandoned() == []


async def test_parts_beside_an_upload_are_of_its_bytes(opened: Open) -> None:
    """They count by themselves when it has ended before them."""
    one, other = await opened(), await opened()
    await one.hold("whole", Amount("ann", 90), Limits(None, 100))
    assert await other.hold_part("a", Amount("ann", 50), "whole")
    assert not await one.hold_part("b", Amount("ann", 41), "whole")
    assert await one.hold_part("b", Amount("ann", 40), "whole")
    assert not await one.hold_part("c", Amount("ann", 1), "no such upload")
    assert await left(one) == 0
    assert await left(one, total=117) == 10
    await one.hold("whole", Amount("ann", 90), Limits(None, 100))
    await one.release(["a"])
    assert await left(other) == 0
    assert await other.hold_part("c", Amount("ann", 50), "whole")
    await one.release(["whole"])
    assert await left(other) == 0
    await one.release(["b"])
    assert await left(other) == 40


async def test_parts_become_one_upload(opened: Open) -> None:
    account = await opened()
    for part in "ab":
        await account.hold(part, Amount("ann", 20), NO_LIMIT)
    await account.join("ab", "whole")
    assert await left(account) == 50, "of the parts"
    await account.join([], "whole")
    await account.hold("whole", Amount("ann", 41), Limits(None, 100))
    assert await left(account) == 49


async def test_what_a_killed_process_held_is_found(opened: Open, where: str) -> None:
    account = await opened()
    program = [sys.executable, "-c", HOLDER, where]
    holder = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert "dying" not in await account.unsure()
    assert await account.claim("key") is False
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    holder.stdout.close()
    while "dying" not in await account.unsure():
        assert await account.is_uncertain()
    assert await account.abandoned() == ["key"]
    assert await account.claim("key") == Amount("ann", 5)
    await account.end("key", Amount("ann", 8))
    await account.release(["dying"])
    assert await account.usage() == {"ann": 13}


async def test_a_server_that_was_taken_for_dead_joins_again(database: Database) -> None:
    """It reserves nothing before: another first server may have begun anew meanwhile."""
    place = f"{database.url}&table={(table := database.fresh())}"
    shared = LedgerDatabase(place)
    account = PostgresAccount(shared)
    assert await account.counts()
    await account.counted([], [])
    database.rows(f"DELETE FROM {table}_members")
    with pytest.raises(NotCounted):
        await account.hold("a", Amount("ann", 1), NO_LIMIT)
    assert await account.counts() is True
    await account.counted([Amount("ann", 99)], [])
    assert await left(account) == 1
    await account.aclose()
    await shared.aclose()
