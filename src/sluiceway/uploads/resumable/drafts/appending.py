"""The bytes of one request on their way into a draft; with a digest, all of them count or none.

Moves bytes only: what is kept, and written down, is decided by its caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests, Tap
from sluiceway.pipe.pump import Meter, pump
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import Stages
from sluiceway.stores.unpublished import JoinableDraft, ReadableDraft, ResumableDraft
from sluiceway.uploads.resumable.drafts.elsewhere import held_back
from sluiceway.uploads.resumable.drafts.reading import read_draft
from sluiceway.uploads.rules import check_digests

__all__ = ["LateDigests", "append_content", "append_draft"]


@dataclass(frozen=True, slots=True)
class LateDigests:
    """Digests that stand behind the bytes they are of.

    Args:
        algorithms: Those that may come: all of them are computed.
        find: Returns the digests, when all bytes have come. Raises what refuses the bytes.
    """

    algorithms: tuple[str, ...]
    find: Callable[[], Mapping[str, bytes]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.algorithms)


def append_content(
    source: Source,
    draft: ResumableDraft,
    expected: Mapping[str, bytes] | LateDigests | None,
    *,
    taps: Sequence[Tap],
    meter: Meter,
    limit: int | None,
    stages: Stages,
    budget: Budget,
    on_kept: Callable[[int], Awaitable[None]],
    on_offset: Callable[[int], None] | None,
) -> Awaitable[object]:
    """`limit`: bytes that there is room for. Without `expected`, `on_kept` gets what is kept
    meanwhile, and then `on_offset`. Raises DigestMismatch, BodyCut, TooLarge, and what draft and
    source raise."""
    on_kept = on_kept if on_offset is None else _both(on_kept, on_offset)
    copy = partial(pump, source, draft, meter=meter, limit=limit, stages=stages, budget=budget)
    if expected:
        return _append_checked(copy, draft, expected, taps, budget, on_kept)
    return copy(taps=taps, on_kept=on_kept)


def _both(
    on_kept: Callable[[int], Awaitable[None]], on_offset: Callable[[int], None]
) -> Callable[[int], Awaitable[None]]:
    async def keep(offset: int) -> None:
        await on_kept(offset)
        on_offset(offset)

    return keep


async def _append_checked(
    copy: Callable[..., Awaitable[int]],
    draft: ResumableDraft,
    expected: Mapping[str, bytes] | LateDigests,
    taps: Sequence[Tap],
    budget: Budget,
    on_kept: Callable[[int], Awaitable[None]],
) -> None:
    chunk = Digests(expected, budget)
    try:
        with held_back(draft) as is_new:
            if is_new:
                await on_kept(draft.kept)
            await copy(taps=[*taps, chunk])
            wanted = expected.find() if isinstance(expected, LateDigests) else expected
            check_digests(await chunk.finish(), wanted)
    finally:
        await chunk.aclose()


async def append_draft(
    draft: ResumableDraft, other: ResumableDraft, start: int, count: int, budget: Budget
) -> None:
    """Append bytes of another draft, from `start` on. Raises StoreFailed where it cannot be read,
    and what the drafts raise."""
    if isinstance(draft, JoinableDraft):
        await draft.append_draft(other, start, count)
    elif isinstance(other, ReadableDraft):
        await pump(_DraftSource(other, start, count), draft, budget=budget)
    else:
        raise StoreFailed("The kept bytes of an upload cannot be read here").for_operator()


class _DraftSource:
    """`count` bytes of a draft from `start` on."""

    reopenable = True

    def __init__(self, draft: ReadableDraft, start: int, count: int) -> None:
        self._draft, self._start = draft, start
        self.length: int | None = count

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = (self.length or 0) if stop is None else stop
        return read_draft(self._draft, self._start + start, self._start + end)
