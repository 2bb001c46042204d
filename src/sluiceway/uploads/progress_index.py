"""The index of shared progress: from the hash of an upload's id to its record, in whichever
process.

Each process's part of the records has buckets of its own, which only that process writes; all read
all. There is no lock: a reader that is led from one bucket's chain into another's, because a record
was reused meanwhile, begins anew. A search through all records took a fifth of a millisecond, ten
times a second for each watcher of an upload that never came.
"""

from __future__ import annotations

import ctypes

from sluiceway.uploads.progress_record import ProgressRecord

__all__ = ["ProgressIndex"]

# How often a reader begins anew; each time a record must have been reused at the very moment.
TRIES = 8


class ProgressIndex:
    """Buckets for `records`, whose chains run through `ProgressRecord.next`.

    A bucket, as a link, is a record's number plus one; 0 is the end of a chain.
    """

    def __init__(
        self,
        records: ctypes.Array[ProgressRecord],
        buckets: ctypes.Array[ctypes.c_uint32],
        parts: int,
        part: int,
    ) -> None:
        self._records, self._buckets = records, buckets
        self._parts, self._part = parts, part
        self._share = len(records) // parts  # records of a part, and its buckets
        self._build()

    def add(self, index: int) -> None:
        """Our own record, after it has its name."""
        record = self._records[index]
        bucket = self._bucket(bytes(record.name), self._part)
        record.next = self._get(bucket)
        self._put(bucket, index + 1)

    def remove(self, index: int) -> None:
        """Our own record, before it gets another name. A record in no chain is left as it is."""
        record = self._records[index]
        bucket = self._bucket(bytes(record.name), self._part)
        link, before = self._get(bucket), None
        for _ in range(self._share + 1):
            if link == index + 1:
                if before is None:
                    self._put(bucket, record.next)
                else:
                    before.next = record.next
                return
            if not link:
                return
            before = self._records[link - 1]
            link = before.next

    def find(self, name: bytes) -> int | None:
        """Return the number of the record with this name, of any process."""
        for part in range(self._parts):
            index = self._search(name, part)
            if index is not None:
                return index
        return None

    def _search(self, name: bytes, part: int) -> int | None:
        bucket = self._bucket(name, part)
        for _ in range(TRIES):
            link = self._get(bucket)
            for _ in range(self._share):
                if not link:
                    return None
                record = self._records[link - 1]
                found = bytes(record.name)
                if self._bucket(found, part) != bucket:
                    break  # reused meanwhile: this is another chain
                if found == name:
                    return link - 1
                link = record.next
        return None

    def _build(self) -> None:
        """A process that died may have left our part in the middle of a change."""
        own = range(self._part * self._share, (self._part + 1) * self._share)
        for index in own:
            self._put(index, 0)
        for index in own:
            if any(self._records[index].name):
                self.add(index)

    def _bucket(self, name: bytes, part: int) -> int:
        """The number of the bucket of a name, which is a hash already."""
        return part * self._share + int.from_bytes(name[:4], "little") % self._share

    def _get(self, bucket: int) -> int:
        return int(self._buckets[bucket])

    def _put(self, bucket: int, link: int) -> None:
        self._buckets[bucket] = link
