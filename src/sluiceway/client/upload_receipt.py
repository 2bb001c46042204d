"""The receipt of an upload, from the server's response: what it says that it keeps is compared.

Knows responses, not how they came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sluiceway.client.http.exchange import Head, Response
from sluiceway.errors import BadRequest, DigestMismatch, SluiceError
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.stages import Stages
from sluiceway.wire.urls import joined, located, origin, redact_url

__all__ = ["GOES_ON", "because", "upload_receipt"]

GOES_ON = "the same command goes on where this one stopped"  # a reason, for `because`

Pairs = tuple[tuple[str, str], ...]


def upload_receipt(
    response: Response,
    name: str,
    size: int,
    digests: Mapping[str, bytes],
    stages: Stages,
    location: str = "",
) -> Receipt:
    """Return the receipt of `size` bytes with these `digests`, after a 2xx.

    `name` is the source's, for people; `location` is used where the response names none. Raises
    DigestMismatch when the server keeps other bytes than were sent.
    """
    answer, head, pairs = _parse_json(response), response.head, digest_pairs(digests)
    entry = _entry(answer)
    _compare(head, entry, size, pairs)
    spent = stages.spent()
    return Receipt(
        size=size,
        digests=pairs,
        location=_location(head, entry, location),
        source=name,
        status=head.status,
        answer=answer,
        seconds=sum(spent.values()),
        stages=spent,
    )


def because(error: SluiceError, reason: str) -> SluiceError:
    """The same error with a reason behind its text."""
    error.detail = f"{error.detail}; {reason}"
    error.args = (error.detail,)
    return error


def _compare(head: Head, entry: Mapping[str, object], size: int, digests: Pairs) -> None:
    """Compare size and digests with those that the destination names, if it does."""
    kept = entry.get("size")
    if isinstance(kept, int) and not isinstance(kept, bool) and kept != size:
        raise DigestMismatch(f"{redact_url(head.url)} keeps {kept} bytes of {size}; send it again")
    for name, digits in digests:
        named = entry.get(name)
        if isinstance(named, str) and named.lower() != digits:
            raise DigestMismatch(
                f"{redact_url(head.url)} keeps other bytes than were sent ({name} differs); "
                "send it again"
            )


def _parse_json(response: Response) -> object:
    if "json" not in response.head.headers.get("content-type", ""):
        return None
    try:
        return json.loads(response.text)
    except (ValueError, RecursionError):
        return None


def _entry(answer: object) -> Mapping[str, object]:
    """The entry of the one file in this project's response, {"files": [entry]}; else empty."""
    files = answer.get("files") if isinstance(answer, dict) else None
    first = files[0] if isinstance(files, list) and len(files) == 1 else None
    return first if isinstance(first, dict) else {}


def _names(url: str, path: str) -> bool:
    """Whether the path is all that the URL has behind its host: most servers answer a PUT so, and
    to resolve it would take a twentieth of a small file's time."""
    return path.startswith("/") and url.endswith(path) and url.removesuffix(path).count("/") == 2


def _location(head: Head, entry: Mapping[str, object], fallback: str) -> str:
    """Where the file is now, without secrets.

    The Location header, else the entry's url, else the URL that it was sent to. tus' last response
    has no Location; servers of this kind name the object in Content-Location.
    """
    headers = head.headers
    if _names(head.url, headers.get("location", "")):
        return head.url
    found = ((located, headers.get("location")), (joined, entry.get("url")))
    for resolve, reference in (*found, (located, fallback and headers.get("content-location"))):
        if isinstance(reference, str) and reference:
            try:
                target = resolve(head.url, reference)
            except BadRequest:
                continue
            # Of another host, such as a bucket's signed URL, the query is most likely a key.
            return target if origin(target) == origin(head.url) else redact_url(target)
    return redact_url(fallback or head.url)
