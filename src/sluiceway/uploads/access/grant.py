"""Who may do what: a name with its rights and limits, and the one place that decides by them.

Pure values and questions. How a request proves who it is, `server.access` knows; nothing here knows
HTTP.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from sluiceway.errors import Forbidden, NotFound, Unsupported
from sluiceway.stores.contract import Entry
from sluiceway.stores.values import OWNER, Pairs
from sluiceway.wire.headers.media_types import OCTET_STREAM, essence

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
        key: The one key that it knows; "" for all below the prefix.
        types: Media types that it may upload: "image/*"; () for all.
        count: Files that it may upload in all; None for any number.
        fields: Metadata that each of its files gets.
        quota: Bytes of all files and uploads of the owner together; None for no limit.
        link: The id of the signed link that is its proof; "" for a token. Who shares a link sees
            no files of the others, and nothing of this server but them.

    Example:
        Grant("acme", frozenset({Right.UPLOAD}), prefix="acme/")
    """

    owner: str = ""
    rights: frozenset[Right] = frozenset(Right)
    prefix: str = ""
    max_size: int | None = None
    expires: float | None = None
    key: str = ""
    types: tuple[str, ...] = ()
    count: int | None = None
    fields: Pairs = ()
    quota: int | None = None
    link: str = ""

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
        if self.rights.isdisjoint(rights) and not self.is_admin:
            what = "link" if self.link else "token"
            raise Forbidden(f"Your {what} does not have the right to {_ACTS[rights[0]]}")

    def covers(self, key: str) -> bool:
        """Whether the key is one that this name may know."""
        if self.key:
            return key == self.key
        return key.startswith(self.prefix) and key != self.prefix

    def owns(self, owner: str) -> bool:
        """Whether something under way that belongs to `owner` is this name's to see and to end."""
        return self.is_admin or owner == self.owner

    def owns_mark(self, mark: int) -> bool:
        return self.is_admin or mark == self.mark

    def knows(self, entry: Entry) -> bool:
        """Whether this object exists for the name at all."""
        others = self.has(Right.READ) or self.has(Right.LIST) or self.has(Right.DELETE)
        return self.covers(entry.key) and (others or self._is_own(entry))

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
            where = f"have the name {self.key!r}" if self.key else f"belong below {self.prefix!r}"
            raise Forbidden(f"Your files {where}; choose that")

    def check_type(self, media_type: str) -> None:
        """Raises Unsupported for a media type that it may not upload."""
        kind = essence(media_type)
        for allowed in self.types:
            if kind == allowed or (allowed.endswith("/*") and kind.startswith(allowed[:-1])):
                return
        if self.types:
            unnamed = (
                f"; if it is one of them, say which, with curl: -H 'Content-Type: "
                f"{_example(self.types[0])}'"
            )
            raise Unsupported(
                f"Files of the type {kind} are not taken here, but {', '.join(self.types)}"
                + unnamed * (kind == OCTET_STREAM)
            )

    def taker(self, limit: int | None) -> str:
        """Whose limit this is of the bytes of an upload, in words."""
        if limit is None or limit != self.max_size:
            return "this server"
        return "this link" if self.link else "your token"

    def check_remote(self) -> None:
        """Raises Forbidden: a link never makes this server ask another one."""
        if self.link:
            raise Forbidden("A link does not let you fetch from other servers")

    def may_replace(self, entry: Entry) -> bool:
        """Whether a new file may take the place of this one."""
        return self.has(Right.DELETE) or (not self.link and self.owns(entry.metadata.owner))

    @property
    def shows(self) -> tuple[str, ...]:
        """What a page offers to this name."""
        lists = self.has(Right.LIST) or (self.has(Right.UPLOAD) and not self.link)
        offered = {
            "upload": self.has(Right.UPLOAD),
            "list": lists,
            "read": self.has(Right.READ) or (self.has(Right.UPLOAD) and not self.link),
            "delete": self.has(Right.DELETE),
            "terminal": not self.link,  # the lines for curl and Python name no link
        }
        return tuple(name for name, is_offered in offered.items() if is_offered)

    def _is_own(self, entry: Entry) -> bool:
        own = self.has(Right.UPLOAD) and not self.link
        return own and self.owns(entry.metadata.owner)


def owner_mark(owner: str) -> int:
    """The name in shared memory; 0 for none."""
    if not owner:
        return 0
    found = hashlib.blake2b(owner.encode(), digest_size=MARK_BYTES).digest()
    return int.from_bytes(found) or 1


def _example(pattern: str) -> str:
    """A media type of this kind, for a command that a person types."""
    return next((kind for kind in _USUAL if kind.startswith(pattern.removesuffix("*"))), pattern)


FULL = Grant()  # no name, and everything is allowed

_USUAL = ("image/jpeg", "video/mp4", "audio/mpeg", "text/plain", "application/pdf")
_ACTS = {
    Right.UPLOAD: "upload",
    Right.READ: "read files",
    Right.LIST: "list files",
    Right.DELETE: "delete or replace files",
    Right.ADMIN: "administer the server",
}


def owned(user: Pairs, grant: Grant) -> Pairs:
    """The metadata of a file with its owner's name, where there is one, and what a link adds."""
    if not grant.owner:
        return user
    return tuple(sorted({**dict(user), **dict(grant.fields), OWNER: grant.owner}.items()))


def narrowed(grant: Grant, max_size: int | None) -> int | None:
    """The smaller of two limits; None is no limit."""
    limits = [limit for limit in (grant.max_size, max_size) if limit is not None]
    return min(limits, default=None)
