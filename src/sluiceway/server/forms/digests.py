"""Checks the digests in the header of a form's request, for code that reads the form part by part.

The end of the last part is held back until the body has ended and its digests match, so code that
reads a file to its end has read checked bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sluiceway.pipe.hashes import CHECKED
from sluiceway.uploads.session import check_digests
from sluiceway.wire.forms.decoder import Event, FormEnded, PartBegan, PartEnded
from sluiceway.wire.headers.checksums import expected_of

__all__ = ["WholeBody", "environ_digests"]


def environ_digests(environ: Mapping[str, Any]) -> dict[str, bytes]:
    """The expected digests of a WSGI request's body, by algorithm. Raises BadDigest, BadRequest."""
    headers = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return expected_of(headers)


class WholeBody:
    """Hashes the bytes of a body, and passes on the events that a form decoder makes of them.

    Does nothing if no digest is expected.
    """

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        self._hashes = {name: CHECKED[name]() for name in expected}
        # the end of the part that may be the last one, and the end of the form
        self._held: list[Event] = []

    def came(self, data: bytes) -> None:
        """Count bytes of the body, in the order of the body."""
        for running in self._hashes.values():
            running.update(data)

    def passing(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, but the end of a part is held back until the next part begins."""
        for event in events:
            if isinstance(event, PartBegan):
                yield from self._held
                self._held.clear()
            if self._hashes and isinstance(event, PartEnded | FormEnded):
                self._held.append(event)
            else:
                yield event

    def ended(self) -> Iterator[Event]:
        """The events that were held back, at the end of the body. Raises DigestMismatch."""
        check_digests(
            {name: running.digest() for name, running in self._hashes.items()}, self._expected
        )
        yield from self._held
