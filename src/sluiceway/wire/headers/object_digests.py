"""The headers that name the digests of a whole object, in responses and in requests for them.

Repr-Digest (RFC 9530) has SHA-256 and SHA-512. It has no CRC64NVME and no BLAKE3: these stand in
X-Checksum-Crc64nvme and X-Checksum-Blake3, as hexadecimal digits. S3 has a header of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from sluiceway.errors import BadRequest
from sluiceway.pipe.hashes import (
    ALGORITHMS,
    CHOICES,
    CRC64NVME,
    digest_pairs,
    is_available,
    is_digest,
)
from sluiceway.wire.headers.digests import (
    MOST_DIGEST_HEADER,
    STANDARD,
    Promise,
    format_digest,
    parse_digests,
)

__all__ = [
    "DIGEST_HEADERS",
    "announced_digests",
    "digest_headers",
    "digests_from_text",
    "digests_to_text",
    "named_in_headers",
    "wanted_digest",
    "wished_headers",
]

_OWN_HEADERS = {f"x-checksum-{name}": name for name in CHOICES if name not in STANDARD}
_S3_HEADER = "x-amz-checksum-crc64nvme"
DIGEST_HEADERS = ("repr-digest", *_OWN_HEADERS)  # of responses, in lower case


def digest_headers(digests: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of a response for the digests of the whole object, in hexadecimal digits."""
    known = dict(digests)
    standard = ", ".join(
        format_digest(name, bytes.fromhex(known[name])) for name in STANDARD if name in known
    )
    headers = {"repr-digest": standard} if standard else {}
    return headers | {header: known[name] for header, name in _OWN_HEADERS.items() if name in known}


def named_in_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the digests of the whole object that a response names, in hexadecimal digits.

    A field that cannot be read names nothing: it may be ignored (RFC 9530 2).
    """
    found = {promise.algorithm: promise for promise in _standard(headers.get("repr-digest", ""))}
    for header, name in _OWN_HEADERS.items():
        digits = headers.get(header, "").strip().lower()
        if is_digest(name, digits):
            found.setdefault(name, Promise(name, bytes.fromhex(digits)))
    if (value := _of_s3(headers)) is not None:
        found.setdefault(CRC64NVME, Promise(CRC64NVME, value))
    return digest_pairs({name: promise.value for name, promise in found.items()})


def announced_digests(headers: Mapping[str, str]) -> tuple[Promise, ...]:
    """Those of `named_in_headers` that can be checked here."""
    return tuple(
        Promise(name, bytes.fromhex(digits))
        for name, digits in named_in_headers(headers)
        if is_available(name)
    )


def wanted_digest(headers: Mapping[str, str]) -> str:
    """The algorithm that Want-Repr-Digest or Want-Content-Digest prefers, "" for none known here.

    A weight of 0 refuses an algorithm; a field that cannot be read asks for nothing (RFC 9530 4).
    """
    weights = _wishes(headers)
    accepted = [name for name in STANDARD if weights.get(name)]
    return max(accepted, key=weights.__getitem__, default="")


def wished_headers(
    digests: Iterable[tuple[str, str]], headers: Mapping[str, str], wanted: str = ""
) -> dict[str, str]:
    """As `digest_headers`, for a client that said which it wants: none of weight 0.

    `wanted` is what an upload was to be counted with; where the file has that, only that is named.
    """
    known = dict(digests)
    if wanted in known:
        return digest_headers([(wanted, known[wanted])])
    refused = {name for name, weight in _wishes(headers).items() if not weight}
    return digest_headers(pair for pair in known.items() if pair[0] not in refused)


def digests_to_text(promises: Iterable[Promise]) -> str:
    """Digests as one short text that `digests_from_text` reads."""
    return " ".join(f"{promise.algorithm}:{promise.value.hex()}" for promise in promises)


def digests_from_text(text: str) -> tuple[Promise, ...]:
    """What is none is left out."""
    pairs = (item.partition(":") for item in text.split())
    return tuple(
        Promise(name, bytes.fromhex(digits))
        for name, _, digits in pairs
        if is_digest(name, digits) and is_available(name)
    )


def _standard(value: str) -> list[Promise]:
    try:
        return parse_digests(None, value) if value else []
    except BadRequest:
        return []


def _of_s3(headers: Mapping[str, str]) -> bytes | None:
    """S3's checksum of the whole object; a response with a part of it may have the part's."""
    if "content-range" in headers or headers.get("x-amz-checksum-type", "FULL_OBJECT") != (
        "FULL_OBJECT"
    ):
        return None
    try:
        value = base64.b64decode(headers.get(_S3_HEADER, ""), validate=True)
    except (ValueError, binascii.Error):
        return None
    return value if len(value) == ALGORITHMS[CRC64NVME].size else None


def _wishes(headers: Mapping[str, str]) -> dict[str, int]:
    """The weights of both fields, by algorithm."""
    weights: dict[str, int] = {}
    for header in ("want-repr-digest", "want-content-digest"):
        for name, weight in _weights(headers.get(header, "")).items():
            weights[name] = max(weight, weights.get(name, 0))
    return weights


def _weights(value: str) -> dict[str, int]:
    if not value or len(value) > MOST_DIGEST_HEADER or not value.isascii():
        return {}
    import http_sf  # here: copies start a tenth sooner without it

    try:
        parsed = http_sf.parse(value.encode("ascii"), tltype="dictionary")
    except (ValueError, ArithmeticError):
        return {}
    items = parsed.items() if isinstance(parsed, dict) else ()
    bare = {name: one[0] if isinstance(one, tuple) else one for name, one in items}
    return {
        name: weight
        for name, weight in bare.items()
        if isinstance(weight, int) and not isinstance(weight, bool) and 0 <= weight <= 10
    }
