"""The fields of a response to a whole file that came in one request and cannot be resumed.

Only that to a stored file says Upload-Complete: ?1; an error has no offset, for no
upload of this protocol can go on. Knows versions and no upload.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from sluiceway.server.door.counted_send import MORE_HEADERS
from sluiceway.server.streaming import raw_headers
from sluiceway.wire.resumable import ProtocolVersion, UploadLimits, write_fields

__all__ = ["WholeFields", "note_stored"]

# In the scope of a request: what its response is to say.
WHOLE = "sluiceway.whole"


@dataclass(frozen=True, slots=True)
class WholeFields:
    """What the response says: that to an error, and that to a file that was stored."""

    version: ProtocolVersion
    limits: UploadLimits

    def begin(self, scope: Scope) -> None:
        """Have them sent with each response to this request."""
        scope[WHOLE] = self
        self.add(scope, None, complete=False)

    def add(self, scope: Scope, size: int | None, *, complete: bool) -> None:
        fields = write_fields(
            self.version, offset=size, complete=complete, length=size, limits=self.limits
        )
        scope[MORE_HEADERS] = raw_headers(fields)


def note_stored(scope: Scope, size: int | None) -> None:
    """All bytes were stored: tus-js-client takes a response without Upload-Offset for an error.

    `size` is None where the content of the request was more than the file: a form, an import.
    """
    if (whole := scope.get(WHOLE)) is not None:
        whole.add(scope, size, complete=True)
