"""What holds for a spool, and which failures of a destination it bridges.

Values and decisions only: no file, no connection.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sluiceway.client.retry import ANSWERED, IDEMPOTENT, parse_retry_after
from sluiceway.errors import PeerFailed, Refused, SluiceError
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.request import build_request

__all__ = ["SpoolRules", "is_passing", "is_repeatable", "is_unknown", "wait_before"]

FIRST_WAIT = 0.5  # seconds before the second try, doubled after each one
MOST_WAIT = 60.0  # seconds
MOST_ASKED = 3600.0  # seconds that the destination may ask for (Retry-After)
# A proxy that waited in vain for its backend; all other 5xx say that the file was not taken.
GATEWAY_TIMEOUT = 504
# Statuses below 500 by which a server says "later"
LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class SpoolRules:
    """What the operator wants of the spool.

    Args:
        most_bytes: Bytes of all files in it.
        wait: Seconds for which a client that has sent everything waits for the destination.
        lasts: Seconds from the first failure after which a file is given up.
        is_idempotent: The destination takes a file once, however often it is sent.
    """

    most_bytes: int
    wait: float
    lasts: float
    is_idempotent: bool


def is_passing(error: SluiceError) -> bool:
    """Whether the destination may take the same file later."""
    if isinstance(error, Refused):
        return error.status >= 500 or error.status in LATER
    return isinstance(error, PeerFailed)


def is_unknown(error: SluiceError, is_sent: bool) -> bool:
    """Whether the destination may have taken the file although it seemed to fail."""
    answered = error.members.get(ANSWERED)
    if not isinstance(answered, int):
        return is_sent
    return 200 <= answered < 300 or (is_sent and answered == GATEWAY_TIMEOUT)


def is_repeatable(backend: Backend, request: UploadRequest, rules: SpoolRules) -> bool:
    """Whether a request whose outcome is unknown may be sent again.

    A PUT may (RFC 9110 9.2.2), but not under a precondition: the first one may have broken it.
    """
    if rules.is_idempotent:
        return True
    plan = build_request(backend, request, list(request.fields), bytes(16))
    return plan.method in IDEMPOTENT and not {"if-match", "if-none-match"} & {*plan.headers}


def wait_before(tries: int, error: SluiceError) -> float:
    """Seconds between try number `tries` (the first is 1), which ended so, and the next one."""
    wait = min(MOST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 20))
    wait *= random.uniform(0.5, 1.0)  # noqa: S311  # no secret
    asked = error.headers.get("retry-after", "") if isinstance(error, Refused) else ""
    return max(wait, min(MOST_ASKED, parse_retry_after(asked) or 0.0))
