"""What clouds and their libraries say, as errors of ours: whose turn it is, and what to do. Never a key or a signature.

By exception types and the fields of an answer alone. obstore has types for the common answers and text for the rest.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping

from sluiceway.errors import (
    BadName,
    NoSpace,
    NotFound,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    PreconditionFailed,
    SluiceError,
    StoreFailed,
    Unavailable,
)
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.wire.numbers import ascii_uint

__all__ = ["map_error"]

# Of an obstore error that has no type of its own; its URL is percent-encoded, so no name in it can look like these.
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3})\b")
_INNER = re.compile(
    r"HttpError \{\s*kind: ([A-Za-z]+)"
)  # obstore's own word for what went wrong below HTTP
_CERTIFICATE = re.compile(r"invalid peer certificate: ")

_KEY = "the key was not accepted; check the access key and its secret"
_WORDS: Mapping[str, str] = {  # what S3 calls it -> what to do; {called} is the place
    "NoSuchBucket": "there is no such bucket; check its name and the endpoint, or make it first",
    "ContainerNotFound": "there is no such container; check its name and the account, or make it first",
    "InvalidBucketName": "this is no name a bucket can have",
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "AuthorizationHeaderMalformed": "the key was not accepted; often the region is another one (--store-option region=…)",
    "InvalidToken": "the session token was not accepted",
    "ExpiredToken": "the session token has expired; get a new one",
    "AccessDenied": "the key has no right to do this here; its policy must allow reading, writing, listing and deleting",
    "AllAccessDisabled": "the bucket is closed to everybody",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it (NTP)",
    "PermanentRedirect": "the bucket is in another region; name it with --store-option region=…",
    "IllegalLocationConstraintException": "the bucket is in another region; name it with --store-option region=…",
    "InvalidLocationConstraint": "the bucket is in another region; name it with --store-option region=…",
    "BadDigest": "what arrived there is not what was sent; nothing was stored",
    "InvalidDigest": "what arrived there is not what was sent; nothing was stored",
    "XAmzContentSHA256Mismatch": "what arrived there is not what was sent; nothing was stored",
    "MetadataTooLarge": "its metadata is larger than this cloud takes (S3: 2 KiB)",
    "KeyTooLongError": "its key is longer than this cloud takes",
    "InvalidObjectState": "the object rests in an archive and must be restored first",
}
_FULL = frozenset(
    ["QuotaExceeded", "InsufficientStorage", "EntityTooLarge", "StorageFull", "XMinioStorageFull"]
)
_BUSY = frozenset(
    ["SlowDown", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "TooManyRequests"]
)


def map_error(error: BaseException, display_name: str) -> SluiceError:
    """`called`: the place, for people."""
    if isinstance(error, SluiceError):
        return error
    if (busy := out_of_descriptors(error)) is not None:
        return busy
    code, status, kind = _answered(error)
    if code in _WORDS:
        return StoreFailed(f"{display_name}: {_WORDS[code]} ({code})", answered=status or None)
    if code in _FULL or status == 507:
        return NoSpace(f"{display_name} is full or over its quota; nothing was stored")
    if code in _BUSY or status in (429, 503):
        return Unavailable(
            f"{display_name} is too busy now and said so at every attempt; nothing was stored. Send it again later"
        )
    if status == 412 or kind in ("PreconditionError", "AlreadyExistsError"):
        return PreconditionFailed(f"{display_name}: it is not the version that was named")
    if kind == "InvalidPathError":
        return BadName(f"{display_name}: no key of a bucket is spelled so")
    if status == 404 or kind in ("NotFoundError", "FileNotFoundError"):
        return NotFound(f"{display_name}: there is no such object")
    if status in (401, 403) or kind in ("UnauthenticatedError", "PermissionDeniedError"):
        return StoreFailed(
            f"{display_name}: the key was not accepted, or has no right to do this here ({status or kind})",
            answered=status or 403,
        )
    if kind in ("Timeout", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"):
        return PeerTimeout(
            f"{display_name} took or said nothing for too long, at every attempt; nothing was stored"
        )
    if kind == "Certificate":
        return PeerUnreachable(
            f"{display_name}: its certificate is not trusted here; name the file of its CA with --store-option ca-file=FILE "
            "(AWS_CA_BUNDLE and SSL_CERT_FILE are read, too)"
        )
    if kind == "ParamValidationError":
        return StoreFailed(
            f"{display_name} cannot take it: its metadata is no plain ASCII, or a name is not allowed"
        )
    if kind in ("Connect", "EndpointConnectionError", "ProxyConnectionError", "SSLError"):
        return PeerUnreachable(
            f"{display_name} cannot be reached; check the endpoint and the network"
        )
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return StoreFailed(
            f"{display_name}: no key was found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile"
        )
    if status >= 500 or not status:
        told = code or status or kind
        return PeerFailed(
            f"{display_name} failed at every attempt ({told}); nothing was stored",
            answered=status or None,
        )
    return StoreFailed(f"{display_name} refused ({code or status})", answered=status)


def _answered(error: BaseException) -> tuple[str, int, str]:
    """The code and the status of the answer, "" and 0 where there was none; and what kind of failure it was."""
    kind, answer = _kind(error), getattr(error, "response", None)
    if isinstance(answer, dict):
        code = str(answer.get("Error", {}).get("Code", ""))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return ("" if code.isdigit() else code), status if isinstance(status, int) else 0, kind
    if kind not in _UNTYPED:
        return "", 0, kind  # its type says it, its text may hold anybody's words
    text = str(error)
    code_found, status_found, inner = _CODE.search(text), _STATUS.search(text), _INNER.search(text)
    status = ascii_uint(status_found[1], "status") if status_found else 0
    if not status and _CERTIFICATE.search(text):
        kind = "Certificate"
    elif inner:
        kind = inner[1]
    return code_found[1] if code_found else "", status, kind


_UNTYPED = frozenset(["GenericError", "BaseError"])


def _kind(error: BaseException) -> str:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
        return "Certificate"
    return "Timeout" if _timed_out(error) else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made of: boto3 keeps that in its fields, urllib3 among its arguments."""
    found: list[BaseException] = [error]
    for depth in range(8):
        if depth >= len(found):
            return
        one = found[depth]
        yield one
        inner = (
            getattr(one, "kwargs", {}).get("error"),
            one.__cause__,
            one.__context__,
            getattr(one, "reason", None),
            *one.args,
        )
        found += [
            other for other in inner if isinstance(other, BaseException) and other not in found
        ]


def _timed_out(error: BaseException) -> bool:
    """botocore calls a body that nobody takes any more a closed connection; what it caught says why."""
    caught = getattr(error, "kwargs", {}).get("error")
    return isinstance(caught, Exception) and any(
        isinstance(one, TimeoutError) for one in (caught, *caught.args)
    )
