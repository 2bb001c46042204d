"""What a failed step of a resumable upload means for the next one.

Decides by what the error says. Knows no request.
"""

from __future__ import annotations

from enum import Enum

from sluiceway.client.retry import ANSWERED, connection_broke
from sluiceway.errors import SluiceError

__all__ = ["LOST_STATUSES", "PASSING_STATUSES", "Next", "after_error"]

LOST_STATUSES = frozenset({404, 410})  # of an upload that was created
# Conflict (the offset is another one), locked, and what else may be over soon.
PASSING_STATUSES = frozenset({408, 409, 423, 425, 429})
# The server will not do it however often it is asked. 507 has no room: people make some.
LASTING_STATUSES = frozenset({501, 505})
# The upload may go on after people did something: gave a token, made room.
KEPT_STATUSES = frozenset({401, 403, 407, 507})
TOO_LARGE = 413


class Next(Enum):
    """What to do."""

    AGAIN = "ask for the offset and go on"
    ANEW = "create another upload"
    SMALLER = "send smaller pieces"
    STOP = "give up, and keep the upload for a later run"
    NEVER = "give up, and forget the upload"


def after_error(error: SluiceError, created: bool) -> Next:
    """`created`: the upload has a URL."""
    answered = error.members.get(ANSWERED)
    if connection_broke(error):
        return Next.AGAIN
    if not isinstance(answered, int) or answered in KEPT_STATUSES:
        return Next.STOP  # of the source, or of this side
    if not created:
        return Next.AGAIN if answered in PASSING_STATUSES - {409} or _fails(answered) else Next.STOP
    if answered in LOST_STATUSES:
        return Next.ANEW
    if answered == TOO_LARGE:
        return Next.SMALLER
    if answered in PASSING_STATUSES or _fails(answered) or 200 <= answered < 300:
        return Next.AGAIN
    return Next.NEVER


def _fails(status: int) -> bool:
    return status >= 500 and status not in LASTING_STATUSES
