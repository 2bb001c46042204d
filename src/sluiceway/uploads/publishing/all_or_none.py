"""Several files of one upload become visible, or after an error none of them does.

What a file replaced comes back then. Where a store cannot give it back, the new file stays: a key
that was taken is never left free. Knows no states and no progress.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

from sluiceway.errors import PeerFailed, Refused, SluiceError
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace
from sluiceway.stores.keys.revocable import RevocablePublish
from sluiceway.uploads.rules import UploadRules

__all__ = ["AllOrNone", "partly"]

log: logging.Logger = logging.getLogger("sluiceway")

_THERE = "the files before it in the form are there already"
_STAYS = "a file that was stored replaced another one, which cannot come back, and stays"


class AllOrNone:
    """The publishes of `files`, in an order of its own.

    `may_fail_later`: something after the last publish may still refuse it.
    """

    def __init__(
        self,
        rules: UploadRules,
        upload: str,
        files: Sequence[tuple[Draft, str, Replace]],
        *,
        may_fail_later: bool,
    ) -> None:
        self._rules, self._files = rules, files
        self._can_undo = rules.store.traits.undoable
        self.entries: dict[int, Entry] = {}  # of those that are published, by their numbers
        self._revocable: list[RevocablePublish] = []
        self._begun: list[int] = []  # the numbers of those that were tried
        self._alone = AsyncExitStack()  # holds the locks of the keys
        if self._can_undo and (may_fail_later or len(files) > 1):
            self._revocable = [
                RevocablePublish(rules.store, draft, f"{upload}.{number}")
                for number, (draft, _, _) in enumerate(files)
            ]

    async def begin(self) -> Sequence[int]:
        """Wait until no other upload that may be undone changes the keys. Raises Unavailable.

        Returns the numbers of the files. Those come last that replace what could not come back.
        """
        numbers = range(len(self._files))
        if self._revocable:
            locks = self._rules.undo_locks.acquire(*(key for _, key, _ in self._files))
            await self._alone.enter_async_context(locks)
        if self._rules.store.traits.stable_reads or len(numbers) == 1 or not self._revocable:
            return numbers
        for publish, (_, key, replace) in zip(self._revocable, self._files, strict=True):
            await publish.prepare(key, replace)
        return sorted(numbers, key=lambda number: self._revocable[number].replaces)

    async def publish(self, number: int, metadata: Metadata) -> Entry:
        """Raises as `Draft.publish`."""
        draft, key, replace = self._files[number]
        if not self._revocable:
            entry = await draft.publish(key, metadata, replace)
        else:
            self._begun.append(number)
            entry = await self._revocable[number].run(key, metadata, replace)
        self.entries[number] = entry
        return entry

    async def roll_back(self) -> list[int]:
        """Undo what was published, the last one first. Returns the numbers of those that stay."""
        if not self._revocable:
            stay = [] if self._can_undo else sorted(self.entries)
        else:
            stay, copied = [], dict[str, Entry]()
            for number in reversed(self._begun):
                publish, key = self._revocable[number], self._files[number][1]
                # An app may have named one key twice: the earlier file is there as a copy now.
                publish.entry = copied.pop(key, None) or publish.entry
                if not await self._rules.take_back(publish, key):
                    stay.append(number)
                if publish.put_back is not None:
                    copied[key] = publish.put_back
            await self._end()
        if stay:
            keys = " and ".join(self._files[number][1] for number in stay)
            log.warning("A refused upload leaves %s: what it replaced cannot come back", keys)
        return sorted(stay)

    async def settle(self) -> None:
        """They stand."""
        if self._revocable:
            await shield_until_done(self._end())

    async def _end(self) -> None:
        async with self._alone:
            for publish in self._revocable:
                await publish.settle()


def partly(error: SluiceError, stay: Sequence[str], *, is_undoable: bool) -> SluiceError:
    """The same error, which says what stays although the upload was refused.

    The client learns that also where another server's refusal would have been its answer.
    """
    what = _STAYS if is_undoable else _THERE
    if isinstance(error, Refused):
        status = error.status
        error = PeerFailed(f"{error.detail}; {what}", answered=status)
        error.for_operator(f"The destination answered {status}; {what}")
    elif is_undoable:
        public = error.detail if error.public is None else error.public
        error.public = f"{public.rstrip('.')}; {what}"
        error.detail = f"{error.detail.rstrip('.')}; {what}"
    error.members.setdefault("already_taken", list(stay))
    return error
