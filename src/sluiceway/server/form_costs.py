"""What the fields of a form may cost beside their limits: memory that the budget lends, and seconds of waiting for the client.

Both are for all fields and heads of a form together; the bytes of its files have rules of their own.
"""

from __future__ import annotations

import sys
import time

from sluiceway.errors import TooSlow
from sluiceway.pipe.budget import Budget, Reservation
from sluiceway.wire.forms.decoder import FormDecoder

__all__ = ["FIELDS_FREE", "FIELDS_RATE", "FIELDS_TIME", "FieldReading"]

FIELDS_FREE = (
    16 << 10
)  # bytes of fields and heads that are not counted: usual forms never wait for memory
FIELDS_TIME = 120.0  # seconds a client may take for everything in a form that is not in a file
FIELDS_RATE = 8 << 10  # and one more for so many bytes: 4 MiB of fields may come over a slow line


class FieldReading:
    """For one form: `wait` and `came` around each wait for the client, `account` behind what came."""

    def __init__(self, decoder: FormDecoder, budget: Budget | None = None) -> None:
        self._decoder = decoder
        self._reservation = Reservation(budget, FIELDS_FREE)
        self._waited = 0.0
        self._since: float | None = None
        self._wider = 0  # bytes that the texts have beyond those they were read from

    def wait(self) -> None:
        """The client is waited for."""
        self._since = None if self._decoder.in_file else time.monotonic()

    def came(self) -> None:
        """Raises TooSlow when all waits for fields together took too long."""
        if self._since is not None:
            self._waited += time.monotonic() - self._since
            self._since = None
        if self._waited > FIELDS_TIME + self._decoder.cost / FIELDS_RATE:
            raise TooSlow(
                f"The fields of the form took more than {self._waited:.0f} seconds to come; nothing was stored. Send it again"
            )

    def text(self, text: str, raw: bytes) -> str:
        """A field's text, which will be kept: one letter outside of Latin makes each of its letters two or four bytes wide."""
        self._wider += max(0, sys.getsizeof(text) - len(raw) - 256)  # PART_COST has the rest
        return text

    async def account(self) -> None:
        """Hold what the fields and heads so far take. Raises Unavailable when there is no memory for too long."""
        await self._reservation.grow_to(self._decoder.cost + self._wider)

    def settle(self) -> None:
        """The fields are gone."""
        self._reservation.release()
