"""A sweep deletes exactly the files whose time is over, in each kind of store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fix_s3 import Objects
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.registry import open_root
from sluiceway.stores.values import EXPIRES, RETAINED
from sluiceway.uploads.lifetime.file_sweep import sweep_files

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
LIMIT = 64 << 20
TIMES = {
    "gone": {EXPIRES: str(NOW)},
    "over": {EXPIRES: str(NOW - 1), RETAINED: str(NOW - 1)},
    "later": {EXPIRES: str(NOW + 1)},
    "must-stay": {EXPIRES: str(NOW - 1), RETAINED: str(NOW + 1)},
    "lasts": {},
    "foreign": {"expires": str(NOW - 1)},  # of another program
    "broken": {EXPIRES: "-5"},
}
KINDS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryStore(),
    "disk": lambda folder: DiskStore(str(folder / "files"), Budget(LIMIT)),
    "sqlite": lambda folder: open_root(f"sqlite:///{folder}/files.db", Budget(LIMIT), {}),
    "fsspec": lambda folder: open_root(f"fsspec+file://{folder}/files", Budget(LIMIT), {}),
}


async def put(store: Store, key: str, times: dict[str, str]) -> None:
    draft = await store.draft(f"upload-{key}", 1)
    try:
        await draft.write(b"x")
        await draft.publish(key, Metadata(key, user=tuple(sorted(times.items()))))
    finally:
        await draft.discard()


async def check(store: Store) -> None:
    try:
        for key, times in TIMES.items():
            await put(store, key, times)
        assert await sweep_files(store, NOW) == 2
        assert await sweep_files(store, NOW) == 0
        left = [entry.key for entry in (await store.list()).entries]
        assert left == sorted(TIMES.keys() - {"gone", "over"})
    finally:
        await store.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_exactly_what_is_over_is_deleted(kind: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    await check(KINDS[kind](tmp_path))


async def test_a_bucket_is_asked_for_each_object(s3: Objects) -> None:
    """Its listing tells no metadata."""
    await check(open_root(s3.url(s3.fresh()), Budget(LIMIT), s3.options))
