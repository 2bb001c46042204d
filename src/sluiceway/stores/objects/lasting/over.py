"""Which uploads to a bucket are over that outlive their process, by the keys beside them.

All of a draft stays as long as one of its objects may be needed: each key says for how long. Knows
no ledger, and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluiceway.stores.contract import Entry
from sluiceway.stores.objects.bucket import Bucket
from sluiceway.stores.objects.lasting.state import is_marker_of, is_over, lasting_folder
from sluiceway.stores.objects.metadata import is_lasting

__all__ = ["DraftsBeside", "OverDrafts"]


class DraftsBeside:
    """Whose the multipart uploads of a bucket are. Each folder is listed once."""

    def __init__(self, bucket: Bucket, now: float) -> None:
        self._bucket, self._now = bucket, now
        self._folders: dict[str, list[Entry]] = {}

    async def find(self, key: str, upload: str) -> tuple[bool, list[str]]:
        """Whether a multipart upload may be gone on with, and the keys of its draft."""
        there = await self._list(lasting_folder(key))
        drafts = {_draft_of(each.key) for each in there if is_marker_of(each.key, upload)}
        its = [each for each in there if _draft_of(each.key) in drafts]
        lives = any(not is_over(each.key, each.modified, self._now) for each in its)
        return lives, [each.key for each in its]

    async def _list(self, folder: str) -> list[Entry]:
        if folder not in self._folders:
            self._folders[folder] = [
                found
                async for page in self._bucket.pages(folder, "", 1000)
                for own, found in page
                if own and isinstance(found, Entry)
            ]
        return self._folders[folder]


class OverDrafts:
    """Which drafts of a listing are over. It has all keys of a draft one after the other."""

    def __init__(self, since: float, now: float, live: Iterable[str]) -> None:
        """Drafts of which something was written after `since`, and those in `live`, stay."""
        self._since, self._now, self._live = since, now, frozenset(live)
        self._draft, self._keys, self._stays = "", list[str](), False

    def next(self, found: Entry) -> list[str]:
        """Returns the keys of the draft before, if that is over."""
        over = [] if (draft := _draft_of(found.key)) == self._draft else self.end()
        self._draft = draft
        self._keys.append(found.key)
        lives = not is_over(found.key, found.modified, self._now)
        self._stays = self._stays or lives or found.modified > self._since
        return over

    def end(self) -> list[str]:
        stays = self._stays or self._draft.rpartition("/")[2] in self._live
        keys, self._keys, self._stays = self._keys, [], False
        return [] if stays else keys


def _draft_of(own: str) -> str:
    """Folder and id."""
    folder, _, name = own.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}" if is_lasting(own) else ""
