"""What the fields of a form cost beside their limits: memory from the budget, and waiting time.

Both are counted for all fields and part headers of a form together. Files have their own rules.
"""

from __future__ import annotations

import sys
import time

from sluiceway.errors import TooSlow
from sluiceway.pipe.budget import Budget, Reservation
from sluiceway.wire.forms.decoder import FormDecoder

__all__ = ["FIELDS_FREE", "FIELDS_RATE", "FIELDS_TIME", "FieldReading"]

# bytes of fields and part headers that are not counted, so that usual forms never wait for memory
FIELDS_FREE = 16 << 10
FIELDS_TIME = 120.0  # seconds that a client may take for everything in a form but its files
FIELDS_RATE = 8 << 10  # bytes that earn one more second: 4 MiB of fields on a slow connection


class FieldReading:
    """The costs of one form.

    Call `wait` and `came` around each wait for the client, `account` after each chunk, `settle` at
    the end.
    """

    def __init__(self, decoder: FormDecoder, budget: Budget | None = None) -> None:
        self._decoder = decoder
        self._reservation = Reservation(budget, FIELDS_FREE)
        self._waited = 0.0
        self._since: float | None = None
        self._extra = 0  # bytes that decoded texts need beyond their encoded bytes

    def wait(self) -> None:
        """A wait for the client begins. Waits inside a file are not counted."""
        self._since = None if self._decoder.in_file else time.monotonic()

    def came(self) -> None:
        """The wait ended. Raises TooSlow if all waits for fields together were too long."""
        if self._since is not None:
            self._waited += time.monotonic() - self._since
            self._since = None
        if self._waited > FIELDS_TIME + self._decoder.cost / FIELDS_RATE:
            raise TooSlow(
                f"The fields of the form took more than {self._waited:.0f} seconds to arrive; "
                "nothing was stored. Send it again"
            )

    def text(self, text: str, raw: bytes) -> str:
        """Count a field's text, and return it.

        One character beyond Latin-1 makes each character of a text two or four bytes wide.
        """
        self._extra += max(0, sys.getsizeof(text) - len(raw) - 256)  # PART_COST covers the rest
        return text

    async def account(self) -> None:
        """Borrow what the fields and part headers take so far.

        Raises Unavailable if there is no memory for too long.
        """
        await self._reservation.grow_to(self._decoder.cost + self._extra)

    def settle(self) -> None:
        """Return the memory: the fields are no longer needed."""
        self._reservation.release()
