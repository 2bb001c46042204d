"""A store as a name may use it: every look, read, listing and deletion asks the grant.

Handlers get no other store, so none can forget to ask. Uploads go through `admission`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sluiceway.errors import Forbidden, NotFound
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Page,
    Replace,
    Store,
    Traits,
    UploadRequest,
)
from sluiceway.uploads.access.grant import Grant, Right
from sluiceway.uploads.lifetime.download_counts import DownloadCounts
from sluiceway.uploads.lifetime.lifetimes import check_deletable, is_over
from sluiceway.uploads.quota.uploading import UploadQuota

__all__ = ["GrantedStore", "granted_store"]

LOOKED_UP = 16  # objects at a time, where a listing does not say whose they are


class GrantedStore:
    """See `Store`. Raises Forbidden besides, and NotFound for what the name must not know."""

    def __init__(
        self,
        store: Any,
        grant: Grant,
        quota: UploadQuota,
        has_dates: bool,
        counts: DownloadCounts | None,
    ) -> None:
        self._store, self._grant, self._quota = store, grant, quota
        self._has_dates, self._counts = has_dates, counts
        renames = grant.has(Right.DELETE) and grant.has(Right.UPLOAD)
        self._traits: Traits = store.traits
        if self._traits.renames and not renames:
            self._traits = dataclasses.replace(self._traits, renames=False)

    @property
    def traits(self) -> Traits:
        return self._traits

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        self._grant.require(Right.UPLOAD)
        if upload_request.key:
            self._grant.check_new_key(upload_request.key)
        draft: Draft = await self._store.draft(upload, size, upload_request)
        return draft

    async def stat(self, key: str) -> Entry:
        self._check_covered(key)
        entry: Entry = await self._store.stat(key)
        self._grant.check_known(entry)
        self._check_there(entry)
        return entry

    async def open(self, key: str) -> ObjectReader:
        """Raises Forbidden besides for a file whose downloads are counted one by one."""
        reader = await self.open_alone(key)
        if self._counts is not None and reader.entry.metadata.downloads is not None:
            await reader.aclose()
            raise Forbidden("The file is for a few downloads only: download it by itself")
        return reader

    async def open_alone(self, key: str) -> ObjectReader:
        """As `open`, for whoever counts the download."""
        self._check_covered(key)
        reader: ObjectReader = await self._store.open(key)
        try:
            self._grant.check_read(reader.entry)
            self._check_there(reader.entry)
        except BaseException:
            await reader.aclose()
            raise
        return reader

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """A page may have fewer entries than there are, or none; `next` says where it ends."""
        self._grant.require(Right.LIST, *(() if self._grant.link else (Right.UPLOAD,)))
        own = self._grant.prefix
        if own.startswith(prefix):
            prefix = own
        elif not prefix.startswith(own):
            return Page(complete=True)
        page: Page = await self._store.list(prefix, after, limit)
        if self._has_dates:
            now = time.time()
            there = [
                entry
                for entry in page.entries
                if not is_over(entry, now) and not await self._is_used_up(entry)
            ]
            page = dataclasses.replace(page, entries=there)
        if self._grant.lists_all:
            return page
        entries: Sequence[Entry] = page.entries
        if not self._traits.lists_metadata:
            entries = await self._looked_up(entries)
        own_entries = [entry for entry in entries if self._grant.lists(entry)]
        # what is omitted has no owner, and its name is not this name's to know
        return Page(own_entries, page.next, complete=page.complete)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        self._grant.check_delete(key)
        async with self._quota.changing(key) as change:
            await self._store.delete(key, await self._deletable(key, replace))
            change.has(key, None)

    async def aclose(self) -> None:
        """The store is its service's to close."""

    def _check_covered(self, key: str) -> None:
        if not self._grant.covers(key):
            raise NotFound(f"There is no object {key!r}")

    def _check_there(self, entry: Entry) -> None:
        """Raises NotFound for a file whose time is over, also before a sweep deletes it."""
        if self._has_dates and is_over(entry, time.time()):
            raise NotFound(f"There is no object {entry.key!r} any more: its time is over")

    async def _is_used_up(self, entry: Entry) -> bool:
        limit = entry.metadata.downloads
        return (
            self._counts is not None
            and limit is not None
            and await self._counts.is_used_up(limit[1], limit[0])
        )

    async def _deletable(self, key: str, replace: Replace) -> Replace:
        """The version that was looked at, where some must stay. Raises Retained, NotFound."""
        if not self._has_dates:
            return replace
        entry: Entry = await self._store.stat(key)
        check_deletable(entry)
        return replace if replace.etag else Replace(allowed=True, etag=entry.etag)

    async def _looked_up(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        found: Sequence[Entry] = []
        for at in range(0, len(entries), LOOKED_UP):
            some = [self._stat_or_none(entry.key) for entry in entries[at : at + LOOKED_UP]]
            looked = [entry for entry in await asyncio.gather(*some) if entry is not None]
            found = [*found, *looked]
        return found

    async def _stat_or_none(self, key: str) -> Entry | None:
        try:
            entry: Entry = await self._store.stat(key)
        except NotFound:  # deleted meanwhile
            return None
        return entry


class _Renaming(GrantedStore):
    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        self._grant.check_delete(key)
        self._grant.check_new_key(new_key)
        async with self._quota.changing(key, new_key):
            guard = await self._deletable(key, Replace(allowed=True, etag=etag))
            entry: Entry = await self._store.rename(key, new_key, guard.etag)
            return entry


class _ReadingSmall(GrantedStore):
    async def read_small(
        self, keys: Sequence[str], most: int, room: int
    ) -> Sequence[tuple[Entry, bytes]]:
        grant = self._grant
        grant.require(Right.READ, Right.UPLOAD)
        known = [key for key in keys if grant.covers(key)]
        found: Sequence[tuple[Entry, bytes]] = await self._store.read_small(known, most, room)
        now = time.time()
        return [
            (entry, data)
            for entry, data in found
            if grant.reads(entry)
            and not (self._has_dates and is_over(entry, now))
            and not (self._counts is not None and entry.metadata.downloads is not None)
        ]


class _SigningUrls(GrantedStore):
    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        self._grant.check_read(entry)
        self._check_there(entry)
        if self._has_dates and entry.metadata.expires is not None:
            seconds = max(1.0, min(seconds, entry.metadata.expires - time.time()))
        url: str = await self._store.signed_url(entry, seconds, disposition)
        return url


_OPTIONAL = {"rename": _Renaming, "read_small": _ReadingSmall, "signed_url": _SigningUrls}


def granted_store(
    store: Store,
    grant: Grant,
    quota: UploadQuota,
    *,
    has_dates: bool = False,
    counts: DownloadCounts | None = None,
) -> GrantedStore:
    """The store, with the protocols of `contract` that it implements, as the grant allows.

    `has_dates`: files end at their time, and must stay until theirs. `counts`: of downloads.
    """
    return _class_for(type(store))(store, grant, quota, has_dates, counts)


@lru_cache(64)
def _class_for(store: type) -> type[GrantedStore]:
    bases = tuple(base for name, base in _OPTIONAL.items() if hasattr(store, name))
    return type("GrantedStore", bases or (GrantedStore,), {})
