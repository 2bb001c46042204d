"""The signature of a webhook, in the form of Standard Webhooks: HMAC-SHA-256 of id, time and body.

Pure: the caller has the clock. https://www.standardwebhooks.com has the text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from sluiceway.errors import BadRequest

__all__ = ["parse_secrets", "signed_headers"]

PREFIX = "whsec_"
LEAST_SECRET, MOST_SECRET = 24, 64  # bytes, as the text asks


def parse_secrets(text: str) -> list[bytes]:
    """The keys of one secret, or of several with white space between them.

    Raises BadRequest, which does not repeat the secret.
    """
    keys = []
    for word in text.split():
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not LEAST_SECRET <= len(key) <= MOST_SECRET:
            raise BadRequest(
                f"its secret must be {PREFIX} and {LEAST_SECRET} to {MOST_SECRET} random bytes in "
                "base64; make one with: "
                f'echo "{PREFIX}$(openssl rand -base64 32)" > FILE'
            )
        keys.append(key)
    if not keys:
        raise BadRequest("its secret is set but empty")
    return keys


def signed_headers(keys: Sequence[bytes], name: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a request: the id of its event, seconds since the epoch, the signatures."""
    signed = b"%s.%d.%s" % (name.encode(), timestamp, body)
    found = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in found),
    }
