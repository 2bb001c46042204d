"""Notes that another program wrote or damaged are used only when every field is valid."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.metadata_json import metadata_from_json, metadata_to_json

ABOUT = Metadata(
    "a.html",
    "text/html",
    (("blake3", "cd" * 32), ("crc64nvme", "0123456789abcdef"), ("sha-256", "ab" * 32)),
    (("cache-control", "no-store"), ("expires", "0")),
    (("owner", "somebody"),),
)
DAMAGED = [
    {"sha256": "no digest"},
    {"sha256": 7},
    {"sha256": "AB" * 32},
    {"filename": None},
    {"type": ["text/html"]},
    {"headers": ["cache-control"]},
    {"headers": {"cache-control": 1}},
    {"user": {"owner": None}},
    {"user": "owner"},
    {"filename": "half a pair \ud800"},
    {"filename": "a\0b"},
    {"type": "text/\udfff"},
    {"user": {"owner": "\ud800"}},
    {"user": {"\udc00": "x"}},
    {"sha256": "ab" * 31},
    {"sha256": "ab" * 32 + "\n"},
]
# no JSON, or JSON of another shape
BROKEN = {
    "not UTF-8": b'{"filename": "\xff\xfe"}',
    "no JSON": b"not ours",
    "empty": b"",
    "a list": b"[]",
    "a number": b"7",
    "nested beyond reason": b"[" * 1500 + b"]" * 1500,
    "an endless number": b'{"size": ' + b"9" * 2500 + b"}",
    "huge": b'{"filename": "' + b"a" * 3800 + b'"}',
}


def test_a_written_note_is_read_back() -> None:
    """With every field, and with as few as possible."""
    for metadata in (ABOUT, Metadata("")):
        assert metadata_from_json(json.loads(json.dumps(metadata_to_json(metadata)))) == metadata


def test_headers_that_no_response_may_carry_are_dropped() -> None:
    """Only headers that describe an object are used."""
    note = {
        **metadata_to_json(ABOUT),
        "headers": {"set-cookie": "a=b", "cache-control": "no-store", "location": "/"},
    }
    found = metadata_from_json(note)
    assert found is not None
    assert found.headers == (("cache-control", "no-store"),)


@pytest.mark.parametrize("note", BROKEN.values(), ids=BROKEN)
async def test_an_invalid_note_is_ignored(tmp_path: Path, note: bytes) -> None:
    """As an attribute and as a sidecar: the file is served and listed."""
    (tmp_path / "attribute").write_bytes(b"bytes")
    (tmp_path / "sidecar").write_bytes(b"bytes")
    os.setxattr(tmp_path / "attribute", "user.sluiceway", note)
    metadata = tmp_path / ".sluiceway" / "about"
    metadata.mkdir(parents=True)
    (metadata / f"{hashlib.sha256(b'sidecar').hexdigest()}.json").write_bytes(note)
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    try:
        assert [entry.metadata for entry in (await store.list()).entries] == [
            Metadata("attribute"),
            Metadata("sidecar"),
        ]
        assert (await store.stat("sidecar")).metadata == Metadata("sidecar")
    finally:
        await store.aclose()


@pytest.mark.parametrize("damage", DAMAGED, ids=ascii)
async def test_a_damaged_attribute_is_ignored_and_hides_no_file(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    """The file is listed without name and digest."""
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    status = path.stat()
    note = {
        **metadata_to_json(ABOUT),
        **damage,
        "size": status.st_size,
        "mtime": status.st_mtime_ns,
    }
    os.setxattr(path, "user.sluiceway", json.dumps(note).encode())
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    try:
        assert [entry.metadata for entry in (await store.list()).entries] == [Metadata("file")]
    finally:
        await store.aclose()
