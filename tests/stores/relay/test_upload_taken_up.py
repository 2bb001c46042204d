"""An upload at a real server is taken up by a later process at any offset that was kept: what was
written behind it, and not kept, is not in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import noise
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.testing.store_suite.resuming_suite import OFFSETS

REST = 123_457  # bytes that come afterwards
BEHIND = 90_000  # bytes that were written and not kept
QUICK = (1, 70_000)  # in every run; all of the store suite's in the long one
DATA = noise(max(OFFSETS) + REST)


@pytest.fixture(scope="module")
def next_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("next") / "root")
    yield server
    server.stop()


def offsets() -> list[object]:
    long = [pytest.param(each, marks=pytest.mark.torture) for each in OFFSETS if each not in QUICK]
    return [*QUICK, *long]


@pytest.mark.parametrize("dialect", ["tus", "ietf"])
@pytest.mark.parametrize("offset", offsets())
async def test_a_draft_is_taken_up_at_its_offset(
    next_server: RunningServer, dialect: str, offset: int
) -> None:
    name = f"{dialect}-{offset}"
    request = UploadRequest(key=name, filename=name)
    backend = Backend(RelayUrl(f"{next_server.url}/files"), resume=dialect)
    total = offset + REST
    store, later = (RelayStore(backend, Budget(64 << 20)) for _ in range(2))
    draft = await store.begin(name, total, request)
    await draft.write(DATA[:offset])
    assert await draft.sync() == offset
    saved = draft.save()
    await draft.write(bytes(BEHIND))
    again = await later.resume(name, saved, offset, total, request, 1)
    assert (again.written, again.kept) == (offset, offset)
    for at in range(offset, total, 50_000):
        await again.write(DATA[at : min(total, at + 50_000)])
    entry = await again.publish(name, Metadata(name))
    assert entry.size == total
    (stored,) = [key for key in next_server.stored() if Path(key).name == name]
    assert (next_server.root / stored).read_bytes() == DATA[:total]
    await store.aclose()
    await later.aclose()
