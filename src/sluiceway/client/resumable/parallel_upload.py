"""A file that is sent as several uploads at once, which the server of tus joins at the end.

Each part goes on by itself after a cut, and one bookmark names all of them. The object is visible
only when the server has joined the parts. Knows the extension concatenation of tus, nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

from sluiceway.client.file_request import FileRequest
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head, Response
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.bookmarks import Bookmark, BookmarkNotes, BookmarkStep, take_bookmark
from sluiceway.client.resumable.dialects import TusDialect
from sluiceway.client.resumable.offers import Offer
from sluiceway.client.resumable.outcome import Next, after_error
from sluiceway.client.resumable.piece import PieceOfSource
from sluiceway.client.resumable.resumable_upload import ResumableUpload
from sluiceway.client.resumable.steps import UploadSteps
from sluiceway.client.resumable.unsent_bytes import go_on
from sluiceway.client.retry import ANSWERED, connection_broke, reached
from sluiceway.client.upload_job import Resuming, UploadJob
from sluiceway.client.upload_receipt import GOES_ON, because, upload_receipt
from sluiceway.errors import DigestMismatch, NotFound, SluiceError, SourceChanged
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.stages import ANSWER, DESTINATION, Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.tus import ONCE_KEY

__all__ = ["LEAST_PART", "ParallelUpload"]

LEAST_PART = 1 << 20  # bytes; a smaller part costs more round trips than it saves
PROTOCOL = "tus-parts"  # of the bookmark
UNCLEAR = frozenset({500, 502, 504})  # to a join: it may have been carried out
GONE = 410  # to a join that is known by its key: it ended, and there is no object
MOST_ENDED = 16  # joins that ended so, in all runs


class _PartDialect(TusDialect):
    """A partial upload: it becomes no object by itself. `named`: what parts become gets the URL of
    the copy, as far as the server knows such a creation."""

    def __init__(self, named: bool) -> None:
        self._named = named

    def creation(
        self, place: str, request: FileRequest, filename: str, size: int | None
    ) -> tuple[str, str, dict[str, str]]:
        method, url, headers = super().creation(place, request, filename, size)
        if self._named and request.method == "PUT":
            method, url, headers = "PUT", request.url, headers | {"content-type": request.type}
        return method, url, headers | {"upload-concat": "partial"}


class _FinalDialect(_PartDialect):
    """The upload that joins the parts; its size is theirs."""

    def __init__(self, parts: list[str], named: bool) -> None:
        super().__init__(named)
        self._parts = parts

    def creation(
        self, place: str, request: FileRequest, filename: str, size: int | None
    ) -> tuple[str, str, dict[str, str]]:
        method, url, headers = super().creation(place, request, filename, size)
        headers.pop("upload-length", None)
        return method, url, headers | {"upload-concat": "final;" + " ".join(self._parts)}


class _PartBookmark:
    """The part's share of the bookmark: its URL. It stays known when the part is complete."""

    def __init__(self, all_parts: ParallelUpload, number: int, notes: BookmarkNotes | None) -> None:
        self._all, self._number, self.notes = all_parts, number, notes
        self.url = "" if notes is None else notes.url

    def write(self, notes: BookmarkNotes) -> bool:
        self.notes, self.url = notes, notes.url
        return self._all.note(self._number, notes.url)

    def clear(self) -> None:
        self.notes = None

    def close(self) -> None:
        """The whole is closed at its end."""


class ParallelUpload:
    """One upload of a source of known length that can be read at several places. Use it once."""

    def __init__(
        self,
        transport: Transport,
        job: UploadJob,
        resuming: Resuming,
        offer: Offer,
        on_progress: OnProgress | None,
        stages: Stages,
    ) -> None:
        self._transport, self._job, self._resuming = transport, job, resuming
        self._offer, self._on_progress, self._stages = offer, on_progress, stages
        self._size = job.source.length or 0
        count = max(1, min(resuming.parallel, self._size // LEAST_PART))
        edges = [self._size * number // count for number in range(count + 1)]
        self._spans = [*pairwise(edges)]
        self._done, self._kept = [0] * count, [0] * count
        self._bookmark: Bookmark | None = None
        self._changed = False  # since an earlier run
        self._not_here = False  # the server takes no such upload at this URL
        self._digests = RunningDigests(job.counted)

    async def run(self) -> Receipt | None:
        """Send all parts and have them joined. Raises as `upload` does.

        None: the server takes no such upload here, and nothing was sent.
        """
        identity, request = self._resuming.identity, self._resuming.request
        if identity is not None:
            names = (PROTOCOL, str(len(self._spans)), request.method, request.url, request.type)
            self._bookmark = await in_thread(
                partial(take_bookmark, identity.place, *names, self._resuming.filename)
            )
        try:
            parts = await in_thread(self._known_parts)
            if self._changed:
                self._say("the file changed since its upload broke off; it is sent anew")
            digests = await self._send(parts)
            return await self._join([part.url for part in parts], digests)
        except (SourceChanged, DigestMismatch):
            self._clear()
            raise
        except NotFound:
            if not self._not_here:
                raise
            self._clear()
            return None
        finally:
            await self._digests.aclose()
            if self._bookmark is not None:
                await in_thread(self._bookmark.close)

    def note(self, number: int, url: str) -> bool:
        """Blocking. A part has a URL now."""
        step = BookmarkStep(number, 0, "", (f"{number} {url}",))
        return self._bookmark is not None and self._bookmark.add(step)

    # Inside

    def _known_parts(self) -> list[_PartBookmark]:
        """Blocking. The parts, with the URLs that an earlier run noted for the same bytes."""
        bookmark, identity = self._bookmark, self._resuming.identity
        urls: dict[int, str] = {}
        version = identity.version if identity is not None else ""
        if bookmark is not None:
            notes, step = bookmark.notes, bookmark.step
            if notes is not None and (notes.version, notes.size) == (version, self._size):
                for text in step.parts if step is not None else ():
                    number, _, url = text.partition(" ")
                    if (known := clipped_uint(number)) is not None:
                        urls[known] = url
            else:
                self._changed = notes is not None
                bookmark.write(BookmarkNotes("", PROTOCOL, version, self._size))
        return [
            _PartBookmark(self, number, self._notes(urls.get(number), start, stop))
            for number, (start, stop) in enumerate(self._spans)
        ]

    def _notes(self, url: str | None, start: int, stop: int) -> BookmarkNotes | None:
        return None if url is None else BookmarkNotes(url, "tus", "", stop - start)

    async def _send(self, parts: list[_PartBookmark]) -> Mapping[str, bytes]:
        self._stages.enter(DESTINATION)
        self._report("connecting")
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(parts)):
                    group.create_task(self._send_part(number, parts[number]))
                counting = group.create_task(self._count())
        except BaseExceptionGroup as errors:
            error = next((one for one in errors.exceptions if isinstance(one, SluiceError)), None)
            if error is None:
                raise
            if self._bookmark is not None and any(part.url for part in parts):
                because(error, GOES_ON)
            else:
                self._clear()
            raise error from None
        return counting.result()

    async def _send_part(self, number: int, bookmark: _PartBookmark) -> None:
        start, stop = self._spans[number]

        def moved(now: Progress) -> None:
            self._done[number] = now.done
            self._kept[number] = now.kept or 0
            if now.stage == "done":
                self._done[number] = self._kept[number] = stop - start
            shown = now.stage if now.stage in ("retrying", "resuming") else "sending"
            self._report(shown, f"part {number + 1}: {now.note}" if now.note else "")

        piece = PieceOfSource(self._job.source, start, stop)
        job = replace(self._job, source=piece, promises=(), algorithms=(), resuming=None)
        resuming = replace(self._resuming, identity=None, on_note=None)
        part = ResumableUpload(
            self._transport,
            job,
            resuming,
            self._offer,
            moved,
            Stages(),
            _PartDialect(self._offer.joins_named),
            bookmark,
        )
        if await part.run() is None:
            self._not_here = True
            raise NotFound(f"There is no place for parts of {self._job.name}")

    async def _count(self) -> Mapping[str, bytes]:
        """The digests of the whole, in order: the file is read once more, from the page cache."""
        await go_on(self._digests, self._job.source, self._size)
        found = await self._digests.finish()
        self._job.check_promises(found)
        return found

    async def _join(self, urls: list[str], digests: Mapping[str, bytes]) -> Receipt:
        """Have the server make one object of the parts."""
        self._stages.enter(ANSWER)
        self._report("waiting")
        dialect = _FinalDialect(urls, self._offer.joins_named)
        steps = UploadSteps(
            self._transport, dialect, self._resuming, self._job.headers, lambda _: None
        )
        attempt = ended = 0
        while True:
            attempt += 1
            try:
                head = await steps.create(self._size, {ONCE_KEY: _once(urls, ended)})
                break
            except SluiceError as error:
                gone = self._offer.joins_once and error.members.get(ANSWERED) == GONE
                if gone and ended < MOST_ENDED:  # that join ended without an object
                    ended += 1
                else:
                    await self._before_next_join(error, attempt)
        if not 200 <= head.status < 300:
            raise refusal(head, "")
        self._clear()
        # Location names the upload that joined them, Content-Location the object.
        named = {
            name: value
            for name, value in head.headers.items()
            if name != "location" or "content-location" not in head.headers
        }
        receipt = upload_receipt(
            Response(Head(head.status, named, head.url), b""),
            self._job.name,
            self._size,
            digests,
            self._stages,
            steps.url,
        )
        self._done, self._kept = [self._size], [self._size]
        self._report("done", receipt=receipt)
        return receipt

    async def _before_next_join(self, error: SluiceError, attempt: int) -> None:
        """Wait. Raises `error` where another join does not help, or could make a second object."""
        answered = error.members.get(ANSWERED)
        unclear = reached(error) and (connection_broke(error) or answered in UNCLEAR)
        if unclear and not self._offer.joins_once:
            raise because(
                error,
                "the server may have joined the parts already; look there before you copy it again",
            )
        again = after_error(error, created=False) is Next.AGAIN
        wait = self._resuming.retry_policy.wait(error, attempt) if again else None
        if wait is None:
            if self._bookmark is not None and again:
                because(error, GOES_ON)
            raise error
        self._report("retrying", f"{error.detail}; trying again in {wait:.0f} s")
        await asyncio.sleep(wait)

    def _clear(self) -> None:
        if self._bookmark is not None:
            self._bookmark.clear()

    def _say(self, text: str) -> None:
        self._report("resuming", text)
        if self._resuming.on_note is not None:
            self._resuming.on_note(text)

    def _report(self, stage: Stage, note: str = "", receipt: Receipt | None = None) -> None:
        if self._on_progress is not None:
            done, kept = sum(self._done), sum(self._kept)
            name = self._job.name
            self._on_progress(Progress(name, stage, done, self._size, note, receipt, kept=kept))


def _once(urls: list[str], ended: int) -> str:
    """The key of a join: the same in a later run, and known to nobody who does not know the parts.

    `ended`: how many joins of them ended without an object."""
    found = hashlib.sha256("\n".join((*urls, str(ended))).encode())
    return f'"{found.hexdigest()[:32]}"'
