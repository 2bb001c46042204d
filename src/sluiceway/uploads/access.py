"""Who may do what: a name with its rights and limits, and the one place that decides by them.

Pure values and questions. How a request proves who it is, `server.access` knows; nothing here knows
HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from sluiceway.errors import Forbidden, NotFound
from sluiceway.stores.contract import Entry
from sluiceway.stores.values import OWNER, Pairs

__all__ = ["FULL", "Grant", "Right", "narrowed", "owned", "owner_mark"]

MARK_BYTES = 8  # of the hash of a name, in the table that all processes share


class Right(StrEnum):
    """What a name may do. `ADMIN` has all others, for the files and uploads of all names."""

    UPLOAD = "upload"
    READ = "read"
    LIST = "list"
    DELETE = "delete"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """A name, what it may do, and where.

    A name without `read` or `list` that may upload sees its own files and uploads, and no others: a
    drop box. What a name must not know of does not exist for it (404); what it knows of and must
    not do is forbidden (403).

    Args:
        owner: The name that its files and uploads get; "" for none.
        rights: What it may do.
        prefix: Its folder, "acme/": it knows no key outside. "" for all keys.
        max_size: Bytes of one upload; None is the server's limit.
        expires: Seconds since the epoch from which on it opens nothing; None: never.

    Example:
        Grant("acme", frozenset({Right.UPLOAD}), prefix="acme/")
    """

    owner: str = ""
    rights: frozenset[Right] = frozenset(Right)
    prefix: str = ""
    max_size: int | None = None
    expires: float | None = None

    @property
    def is_admin(self) -> bool:
        return Right.ADMIN in self.rights

    @property
    def mark(self) -> int:
        """As `owner_mark`."""
        return owner_mark(self.owner)

    def has(self, right: Right) -> bool:
        return right in self.rights or Right.ADMIN in self.rights

    def require(self, *rights: Right) -> None:
        """Raises Forbidden unless one of these rights is there."""
        if not any(self.has(right) for right in rights):
            raise Forbidden(f"Your token does not have the right to {_ACTS[rights[0]]}")

    def covers(self, key: str) -> bool:
        """Whether the key is one that this name may know."""
        return key.startswith(self.prefix) and key != self.prefix

    def owns(self, owner: str) -> bool:
        """Whether something under way that belongs to `owner` is this name's to see and to end."""
        return self.is_admin or owner == self.owner

    def owns_mark(self, mark: int) -> bool:
        return self.is_admin or mark == self.mark

    def knows(self, entry: Entry) -> bool:
        """Whether this object exists for the name at all."""
        others = self.has(Right.READ) or self.has(Right.LIST) or self.has(Right.DELETE)
        return self.covers(entry.key) and (others or self.owns(entry.metadata.owner))

    def lists(self, entry: Entry) -> bool:
        """Whether a listing has this object."""
        return self.covers(entry.key) and (self.has(Right.LIST) or self._is_own(entry))

    @property
    def reading(self) -> Grant:
        """The same name, which lists only what it may read."""
        if self.has(Right.READ) or not self.has(Right.LIST):
            return self
        return replace(self, rights=self.rights - {Right.LIST})

    @property
    def lists_all(self) -> bool:
        """Whether a listing below the prefix has every object: none needs to be looked at."""
        return self.has(Right.LIST)

    def check_known(self, entry: Entry) -> None:
        """Raises NotFound, in the words of a store, for an object that the name must not know."""
        if not self.knows(entry):
            raise NotFound(f"There is no object {entry.key!r}")

    def reads(self, entry: Entry) -> bool:
        """Whether its bytes may be read."""
        return self.covers(entry.key) and (self.has(Right.READ) or self._is_own(entry))

    def check_read(self, entry: Entry) -> None:
        """Raises NotFound, Forbidden."""
        self.check_known(entry)
        if not self.reads(entry):
            self.require(Right.READ)

    def check_delete(self, key: str) -> None:
        """Raises NotFound, Forbidden."""
        if not self.covers(key):
            raise NotFound(f"There is no object {key!r}")
        self.require(Right.DELETE)

    def check_new_key(self, key: str) -> None:
        """Raises Forbidden for a key under which the name must not store."""
        self.require(Right.UPLOAD)
        if not self.covers(key):
            raise Forbidden(f"Your files belong below {self.prefix!r}; choose a name there")

    def _is_own(self, entry: Entry) -> bool:
        return self.has(Right.UPLOAD) and self.owns(entry.metadata.owner)


def owner_mark(owner: str) -> int:
    """The name in shared memory; 0 for none."""
    if not owner:
        return 0
    found = hashlib.blake2b(owner.encode(), digest_size=MARK_BYTES).digest()
    return int.from_bytes(found) or 1


FULL = Grant()  # no name, and everything is allowed

_ACTS = {
    Right.UPLOAD: "upload",
    Right.READ: "read files",
    Right.LIST: "list files",
    Right.DELETE: "delete or replace files",
    Right.ADMIN: "administer the server",
}


def owned(user: Pairs, grant: Grant) -> Pairs:
    """The metadata of a file with the name of its owner, where there is one."""
    if not grant.owner:
        return user
    others: Iterable[tuple[str, str]] = (pair for pair in user if pair[0] != OWNER)
    return tuple(sorted((*others, (OWNER, grant.owner))))


def narrowed(grant: Grant, max_size: int | None) -> int | None:
    """The smaller of two limits; None is no limit."""
    limits = [limit for limit in (grant.max_size, max_size) if limit is not None]
    return min(limits, default=None)
