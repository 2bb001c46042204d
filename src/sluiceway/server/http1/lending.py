"""Whether a connection may be lent to threads for the middle of the body that it brings.

What the client sends must be bytes of that body and nothing else, and no part of it may be held
here. `pipe/lending.py` says what threads do with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.pipe import lending

if TYPE_CHECKING:
    from sluiceway.server.http1.cycle import SluiceCycle
    from sluiceway.server.http1.flow import FlowControl

__all__ = ["LAST_BYTES", "lendable_bytes"]

LAST_BYTES = 1  # of a body; the parser gets them, and finds the body's end by itself


def lendable_bytes(missing: int | None, cycle: SluiceCycle, flow: FlowControl) -> int:
    """Bytes of the body that threads may read now, 0 for none.

    `missing` is what the parser did not get, None where the length is unknown. Where only the
    chunks that wait are in the way, the cycle reads no more ahead: soon there are none.
    """
    if missing is None or missing - LAST_BYTES < max(1, lending.LEAST):
        return 0
    if cycle.disconnected or cycle.input_ended or cycle.response_started or flow.full:
        return 0
    flow.reads_ahead = False
    return 0 if cycle.queue else missing - LAST_BYTES
