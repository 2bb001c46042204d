"""Destinations that depend on the request: so many are open, and none in use is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from starlette.requests import Request

from sluiceway import Sluiceway
from sluiceway.pipe.budget import Budget
from sluiceway.server.mounted.open_places import MOST_PLACES, OpenPlaces
from sluiceway.stores.memory import MemoryStore
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService


class CountedStore(MemoryStore):
    """A real store that counts those that are open."""

    opened: ClassVar[set[str]] = set()

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place
        self.opened.add(place)

    async def aclose(self) -> None:
        self.opened.discard(self._place)
        await super().aclose()


@pytest.fixture
def places() -> OpenPlaces:
    CountedStore.opened.clear()
    budget, table = Budget(64 << 20), ProgressTable()
    return OpenPlaces(lambda place: UploadService(CountedStore(place[0]), budget, table))


async def test_a_place_that_opens_slowly_holds_nobody_else_up() -> None:
    """It is opened once for all who ask, and again after it could not be."""
    budget, table, may_open = Budget(64 << 20), ProgressTable(), threading.Event()
    tried: list[str] = []

    def open_place(place: tuple[str, ...]) -> UploadService:
        tried.append(place[0])
        if place == ("slow",):
            assert may_open.wait(30)
        if place == ("broken",) and tried.count("broken") == 1:
            raise OSError("no such disk")
        return UploadService(MemoryStore(), budget, table)

    places = OpenPlaces(open_place)
    slow = [asyncio.create_task(places.use(("slow",))) for _ in range(2)]
    await asyncio.sleep(0)  # they have begun
    await places.use(("quick",))
    with pytest.raises(OSError, match="no such disk"):
        await places.use(("broken",))
    await places.use(("broken",))
    may_open.set()
    first, second = await asyncio.gather(*slow)
    assert first is second
    assert sorted(tried) == ["broken", "broken", "quick", "slow"]
    await places.aclose()


async def test_beyond_the_bound_the_longest_unused_place_is_closed(places: OpenPlaces) -> None:
    for number in range(MOST_PLACES + 5):
        await places.use((str(number),))
        await places.release((str(number),))
        if number == MOST_PLACES - 1:
            await places.use(("0",))  # used again, so that it is not the oldest
            await places.release(("0",))

    assert len(CountedStore.opened) == MOST_PLACES
    assert "0" in CountedStore.opened
    assert not {"1", "2", "3", "4", "5"} & CountedStore.opened
    await places.aclose()
    assert not CountedStore.opened


async def test_a_place_in_use_stays_open(places: OpenPlaces) -> None:
    used = [await places.use((str(number),)) for number in range(MOST_PLACES + 20)]
    assert len(CountedStore.opened) == MOST_PLACES + 20
    assert await places.use(("7",)) is used[7]
    for number in range(MOST_PLACES + 20):
        await places.release((str(number),))

    assert len(CountedStore.opened) == MOST_PLACES
    assert "7" in CountedStore.opened
    await places.aclose()


def by_user(root: Path) -> Callable[[Request], Awaitable[list[str]]]:
    async def place(request: Request) -> list[str]:
        user = request.headers["X-User"]
        return [str(root / user / "one"), str(root / user / "two")]

    return place


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = Sluiceway(to=by_user(tmp_path), no_auth=True)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    await app.aclose()


async def test_a_function_may_name_several_places(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    for user in ("ann", "bob"):
        put = await client.put("/files/k", content=user, headers={"X-User": user})
        assert put.status_code == 201
    for user in ("ann", "bob"):
        assert (tmp_path / user / "one" / "k").read_text() == user
        assert (tmp_path / user / "two" / "k").read_text() == user


async def test_each_place_is_swept_once_it_was_used(tmp_path: Path) -> None:
    """Also where there are several, and in an app that gets no lifespan."""
    app = Sluiceway(
        to=by_user(tmp_path), no_auth=True, state=str(tmp_path / "state"), expire_after=1.0
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for user in ("ann", "bob"):
            headers = {"X-User": user, "Tus-Resumable": "1.0.0"}
            created = await client.post("/files", headers=headers | {"Upload-Length": "9"})
            piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
            where = created.headers["Location"]
            patched = await client.patch(where, headers=headers | piece, content=b"12345")
            assert patched.status_code == 204
        assert len(list(tmp_path.glob("*/*/.sluiceway/lasting/*"))) == 4
        async with asyncio.timeout(30):
            while list(tmp_path.glob("*/*/.sluiceway/lasting/*")):
                await asyncio.sleep(0.05)
    await app.aclose()


async def test_probes_and_the_page_need_no_place(client: httpx.AsyncClient) -> None:
    for path in ("/readyz", "/healthz", "/"):
        assert (await client.get(path)).status_code == 200


async def test_a_function_that_fails_is_a_500_without_its_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/files")
    assert (answer.status_code, answer.json()["code"]) == (500, "hook-failed")
    assert "X-User" not in answer.text
