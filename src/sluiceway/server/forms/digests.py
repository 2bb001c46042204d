"""The digests that stand in the head of a form's request, checked for whoever reads the form part by part.

The last part ends only when the body has, and was what its sender promised: whoever reads a file to its end has it checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sluiceway.pipe.hashes import CHECKED
from sluiceway.uploads.service import check_digests
from sluiceway.wire.forms.decoder import Event, FormEnded, PartBegan, PartEnded
from sluiceway.wire.headers.checksums import expected_of

__all__ = ["WholeBody", "environ_digests"]


def environ_digests(environ: Mapping[str, Any]) -> dict[str, bytes]:
    """What a WSGI request's body must hash to, by algorithm. Raises BadDigest, BadRequest."""
    fields = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return expected_of(fields)


class WholeBody:
    """Sees the bytes of a body, and the events that a form's decoder makes of them. Without a promise it does nothing."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        self._running = {name: CHECKED[name]() for name in expected}
        self._held: list[Event] = []  # the end of the part that may be the last, and of the form

    def came(self, data: bytes) -> None:
        for running in self._running.values():
            running.update(data)

    def passing(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events; a part ends when the next one begins."""
        for event in events:
            if isinstance(event, PartBegan):
                yield from self._held
                self._held.clear()
            if self._running and isinstance(event, PartEnded | FormEnded):
                self._held.append(event)
            else:
                yield event

    def ended(self) -> Iterator[Event]:
        """The end of the last part. Raises DigestMismatch."""
        check_digests(
            {name: running.digest() for name, running in self._running.items()}, self._expected
        )
        yield from self._held
