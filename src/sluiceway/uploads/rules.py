"""What holds for every upload of a service: sizes, keys, digests, and who learns of its end.

Values, and the keys that are made of them. Knows no upload under way.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from sluiceway.errors import BadName, DigestMismatch, Exists, NotFound, SluiceError, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import DigestChoice, new_hash
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, Store, UploadRequest
from sluiceway.stores.keys.locks import LOCK_TIMEOUT, KeyLocks
from sluiceway.stores.keys.revocable import RevocablePublish
from sluiceway.stores.unpublished import ChecksRoom, offers
from sluiceway.uploads.access.admission import admitted, counting
from sluiceway.uploads.access.grant import FULL, Grant, Right
from sluiceway.uploads.access.granted_store import granted_store
from sluiceway.uploads.access.link_uses import LinkUses
from sluiceway.uploads.hooks.asking import HookAsker
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.lifetime.lifetimes import Lifetimes, check_none_asked, remove_if_over
from sluiceway.uploads.outbox.outbox import Outbox
from sluiceway.uploads.quota.quotas import Quotas
from sluiceway.uploads.quota.uploading import UploadQuota
from sluiceway.wire.headers.digests import mismatched_digest
from sluiceway.wire.names import check_key, numbered
from sluiceway.wire.numbers import MOST_INTEGER

__all__ = ["HandOver", "UploadRules", "check_digests", "check_no_bytes"]

# Draft, key, metadata and terms of each file -> what its client learns of it
HandOver = Callable[[str, list[tuple[Draft, str, Metadata, Replace]]], Awaitable[list[Entry]]]
# Bytes of a body that is taken before it is known whether its key may be replaced
SMALL = 64 << 10
MOST_NUMBERED = 1000  # names that are tried for a file that must not replace another one


_SHOWN = {"sha": "sha-1", "adler": "adler-32"}  # where the registered name says too little


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What holds for every upload of a service."""

    store: Store
    budget: Budget
    template: KeyTemplate
    digests: DigestChoice
    max_size: int | None  # bytes of one request's files together
    flatten: bool  # folders that clients name are dropped
    outbox: Outbox | None = None  # reports each finished file
    grant: Grant = FULL  # who uploads
    hand_over: HandOver | None = None  # to the uploads that outlive their request
    link_uses: LinkUses | None = None
    lifetimes: Lifetimes | None = None  # where files end or must stay
    quotas: Quotas | None = None
    asker: HookAsker | None = None  # the operator's hooks that may refuse
    # Of publishes that may be undone: two of one key in turn would bring a refused file back
    undo_locks: KeyLocks = dataclasses.field(default_factory=lambda: KeyLocks(LOCK_TIMEOUT))
    quota: UploadQuota = dataclasses.field(init=False)  # the quotas, as this uploader asks them

    def __post_init__(self) -> None:
        object.__setattr__(self, "quota", UploadQuota(self.quotas, self.grant))  # it is frozen

    async def take_back(self, publish: RevocablePublish, key: str) -> bool:
        """Undo a publish. Returns whether nothing of it remains."""
        try:
            async with self.quota.changing(key):
                return await publish.undo()
        except SluiceError:  # another upload is changing it
            return False

    @property
    def accounted_store(self) -> Store:
        """The store, whose deletions are accounted for."""
        return granted_store(self.store, FULL, UploadQuota(self.quotas, FULL))

    async def admit(self, request: UploadRequest, size: int | None = None) -> UploadRequest:
        """What is taken of this, with its owner's name and the times of its file.

        `size` is known of a body that comes at once and is published at its end.
        Raises Forbidden, Exists, Retained, Unsupported, BadRequest.
        """
        if self.lifetimes is not None:
            request = self._keyed(request)
            if not request.key or self.grant.covers(request.key):  # else it is refused below
                request = await self.lifetimes.admit(
                    request, self.accounted_store, self.grant.fields
                )
        elif request.values:
            check_none_asked(request)
        if self.grant is FULL:
            return request
        # Quotas count what a file replaces before its bytes come.
        is_small = size is not None and size <= SMALL and self.quotas is None
        return await admitted(self.grant, self.store, request, self.link_uses, is_small=is_small)

    def _keyed(self, request: UploadRequest) -> UploadRequest:
        """With the key of a file that may be there, and may have to stay, where it is known."""
        key = request.key or self.grant.key
        may_replace = request.replace.allowed and self.grant.has(Right.DELETE)
        if not key and may_replace and not self.template.has_id:
            key = self.make_key(request.filename, "" if self.flatten else request.folders)
        return request if key == request.key else dataclasses.replace(request, key=key)

    def counted(self, files: int) -> AbstractAsyncContextManager[None]:
        """So many files are published in this block. Raises Forbidden if the link allows fewer."""
        if self.grant.count is None:
            return nullcontext()
        return counting(self.link_uses).counted(self.grant, files)

    async def ask_start(self, upload: str, request: UploadRequest, size: int | None) -> None:
        """Before the first byte of a file. Raises UploadRefused, HookUnavailable."""
        if self.asker is not None:
            await self.asker.start(upload, request, size, self.grant)

    async def ask_kept(
        self, upload: str, seed: str, key: str, metadata: Metadata, draft: Draft
    ) -> None:
        """Before a file can be seen. `seed` stands for the event. Raises as `ask_start`."""
        if self.asker is not None:
            await self.asker.kept(upload, seed, key, metadata, draft, self.grant)

    def check_size(self, length: int | None, what: str = "upload") -> None:
        """Raises TooLarge for an upload of this length."""
        most = MOST_INTEGER if self.max_size is None else self.max_size
        if length is not None and length > most:
            shown = f"{length} bytes" if length <= MOST_INTEGER else "more bytes than any file"
            raise self.too_large(f"The {what} has {shown}")

    def too_large(self, text: str) -> TooLarge:
        """The error that says whose limit is passed, and what it is."""
        taker = self.grant.taker(self.max_size)
        most = MOST_INTEGER if self.max_size is None else self.max_size
        return TooLarge(f"{text}; {taker} takes at most {most}", limit=self.max_size)

    def in_full(self, error: TooLarge, limit: int | None, text: str) -> TooLarge:
        """The pump's error, which knows what was left for its bytes: with the whole limit."""
        is_rest = self.max_size is not None and error.members.get("limit") == limit
        return self.too_large(text) if is_rest else error

    async def check_fits(self, length: int | None, kept: int = 0) -> None:
        """As `check_size`, and raises NoSpace where the store has no room for it, of which it has
        `kept` bytes already: before anything of it is written down."""
        self.check_size(length)
        if length is not None and length > kept and offers(self.store, ChecksRoom):
            await self.store.check_room(length - kept)

    def make_key(self, filename: str, folders: str) -> str:
        """Return the key of a file whose client named none.

        Raises BadName: a template can make an unsafe key of a safe name.
        """
        try:
            key = self.grant.prefix + self.template.key(filename, folders)
            return check_key(key, self.store.traits.max_key_bytes)
        except BadName as error:
            raise BadName(
                f"This server makes no safe key of the name {folders + filename!r}: {error.detail}",
                **error.members,
            ) from None

    async def free_key(self, request: UploadRequest, own: Collection[str] = ()) -> str:
        """Return the key of a file whose client named none; `own` are keys of the same upload.

        What is taken is found before the file's first byte; publishing decides. Raises Exists with
        the key, BadName.
        """
        key = self.make_key(request.filename, "" if self.flatten else request.folders)
        if self.template.has_id or not self.store.traits.readable:
            return key
        if key not in own and (request.replace.allowed or not await self._is_taken(key)):
            return key
        for number in range(2, MOST_NUMBERED if request.keeps_both else 0):
            other = check_key(numbered(key, number), self.store.traits.max_key_bytes)
            if other not in own and not await self._is_taken(other):
                return other
        raise Exists(f"There is already a file {key!r}; it was not touched", key=key)

    def keeps_key(self, request: UploadRequest) -> bool:
        """Whether a key that was free at the beginning is the one at the end, too."""
        return self.template.has_id or not request.keeps_both

    async def _is_taken(self, key: str) -> bool:
        try:
            entry = await self.store.stat(key)
        except NotFound:
            return False
        return self.lifetimes is None or not await remove_if_over(
            self.accounted_store, entry, time.time()
        )


def check_digests(
    found: Mapping[str, bytes], expected: Mapping[str, bytes], instead: str = "Send them again"
) -> None:
    """Raises DigestMismatch unless every expected digest was found. `instead` says what to do."""
    wrong = [name for name, value in expected.items() if found[name] != value]
    if wrong:
        shown = _SHOWN.get(wrong[0], wrong[0])
        raise DigestMismatch(
            f"The bytes that arrived do not have the {shown} digest sent along; nothing of them "
            f"was stored. {instead}",
            mismatched_digests=[mismatched_digest(name, expected[name]) for name in wrong],
        )


def check_no_bytes(expected: Mapping[str, bytes]) -> None:
    """Raises DigestMismatch where these are the digests of any bytes."""
    check_digests({name: new_hash(name).digest() for name in expected}, expected)
