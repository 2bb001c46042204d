"""Errors of clouds and their libraries as errors of ours: whose fault, and what to do.

By exception types and the fields of a response alone; obstore has types for the common errors and
text for the rest. Never repeats a key or a signature.
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
from sluiceway.wire.names import readable_name
from sluiceway.wire.numbers import ascii_uint

__all__ = ["map_error"]

# obstore errors without a type of their own. The URL in their text is percent-encoded, so no name
# in it can look like these.
_UNTYPED = frozenset(["GenericError", "BaseError"])
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3})\b")
_HTTP_KIND = re.compile(
    r"HttpError \{\s*kind: ([A-Za-z]+)"
)  # obstore's name for an error below HTTP
_CERTIFICATE = re.compile(r"invalid peer certificate: ")
MOST_CAUSES = 8  # errors wrapped in errors that are looked at

_KEY_REFUSED = "the key was not accepted; check the access key and its secret"
_OTHER_REGION = "the bucket is in another region; name it with --store-option region=…"
_DAMAGED = "the bytes that arrived there differ from those sent; nothing was stored"
_MESSAGES: Mapping[str, str] = {  # S3's error code -> what to do
    "NoSuchBucket": "there is no such bucket; check its name and the endpoint, or make it first",
    "ContainerNotFound": (
        "there is no such container; check its name and the account, or make it first"
    ),
    "InvalidBucketName": "a bucket cannot have this name",
    "InvalidAccessKeyId": _KEY_REFUSED,
    "SignatureDoesNotMatch": _KEY_REFUSED,
    "AuthorizationHeaderMalformed": (
        "the key was not accepted; often the region is another one (--store-option region=…)"
    ),
    "InvalidToken": "the session token was not accepted",
    "ExpiredToken": "the session token has expired; get a new one",
    "AccessDenied": (
        "the key has no right to do this here; "
        "its policy must allow reading, writing, listing and deleting"
    ),
    "AllAccessDisabled": "all access to the bucket is disabled",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it (NTP)",
    "PermanentRedirect": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "InvalidLocationConstraint": _OTHER_REGION,
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "MetadataTooLarge": "its metadata is larger than this cloud takes (S3: 2 KiB)",
    "KeyTooLongError": "its key is longer than this cloud takes",
    "InvalidObjectState": "the object is in an archive and must be restored first",
}
_FULL = frozenset(
    ["QuotaExceeded", "InsufficientStorage", "EntityTooLarge", "StorageFull", "XMinioStorageFull"]
)
_BUSY = frozenset(
    ["SlowDown", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "TooManyRequests"]
)


def map_error(error: BaseException, display_name: str, key: str | None = None) -> SluiceError:
    """The error to raise for one of any cloud library's.

    What concerns the object alone names its key and not the bucket: a client may read it.
    """
    if isinstance(error, SluiceError):
        return error
    if (busy := out_of_descriptors(error)) is not None:
        return busy
    code, status, kind = _parse(error)
    return (
        _from_response(code, status, kind, display_name, key)
        or _from_kind(kind, display_name)
        or _other(code, status, kind, display_name)
    )


def _from_response(
    code: str, status: int, kind: str, display_name: str, key: str | None
) -> SluiceError | None:
    """The error that the cloud answered with, by its code, its status or the library's type."""
    what = "The object" if key is None else f"The object {readable_name(key)!r}"
    if code in _MESSAGES:
        return StoreFailed(f"{display_name}: {_MESSAGES[code]} ({code})", answered=status or None)
    if code in _FULL or status == 507:
        return NoSpace(f"{display_name} is full or over its quota; nothing was stored")
    if code in _BUSY or status in (429, 503):
        return Unavailable(
            f"{display_name} is too busy now, at every attempt; nothing was stored. "
            "Send it again later"
        ).for_operator()
    if status == 412 or kind in ("PreconditionError", "AlreadyExistsError"):
        return PreconditionFailed(f"{what} is not the version that was named")
    if kind == "InvalidPathError":
        return BadName(f"{what}: no object of a bucket can have this key")
    if status == 404 or kind in ("NotFoundError", "FileNotFoundError"):
        return NotFound(
            f"There is no object {readable_name(key)!r}" if key else "There is no such object"
        )
    if status in (401, 403) or kind in ("UnauthenticatedError", "PermissionDeniedError"):
        return StoreFailed(
            f"{display_name}: the key was not accepted, or has no right to do this here "
            f"({status or kind})",
            answered=status or 403,
        )
    return None


def _from_kind(kind: str, display_name: str) -> SluiceError | None:
    """The error that kept the request from being answered."""
    if kind in ("Timeout", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"):
        return PeerTimeout(
            f"{display_name} was silent for too long, at every attempt; nothing was stored"
        )
    if kind == "Certificate":
        return PeerUnreachable(
            f"{display_name}: its certificate is not trusted here; name the file of its CA with "
            "--store-option ca-file=FILE (AWS_CA_BUNDLE and SSL_CERT_FILE are read, too)"
        )
    if kind == "ParamValidationError":
        return StoreFailed(
            f"{display_name} cannot take it: its metadata is not ASCII, or a name is not allowed"
        )
    if kind in ("Connect", "EndpointConnectionError", "ProxyConnectionError", "SSLError"):
        return PeerUnreachable(
            f"{display_name} cannot be reached; check the endpoint and the network"
        )
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return StoreFailed(
            f"{display_name}: no key was found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or name a profile"
        )
    return None


def _other(code: str, status: int, kind: str, display_name: str) -> SluiceError:
    if status >= 500 or not status:
        return PeerFailed(
            f"{display_name} failed at every attempt ({code or status or kind}); "
            "nothing was stored",
            answered=status or None,
        )
    return StoreFailed(f"{display_name} refused ({code or status})", answered=status)


def _parse(error: BaseException) -> tuple[str, int, str]:
    """The code and status of the response, "" and 0 without one; and the kind of failure."""
    kind, response = _kind(error), getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return ("" if code.isdigit() else code), status if isinstance(status, int) else 0, kind
    if kind not in _UNTYPED:
        return "", 0, kind  # the type is enough; the text may hold a name that a client chose
    text = str(error)
    code_match, status_match = _CODE.search(text), _STATUS.search(text)
    status = ascii_uint(status_match[1], "status") if status_match else 0
    if not status and _CERTIFICATE.search(text):
        kind = "Certificate"
    elif http_kind := _HTTP_KIND.search(text):
        kind = http_kind[1]
    return code_match[1] if code_match else "", status, kind


def _kind(error: BaseException) -> str:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return "Certificate"
    return "Timeout" if _timed_out(error) else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: boto3 keeps that in a field, urllib3 among its arguments."""
    found: list[BaseException] = [error]
    for depth in range(MOST_CAUSES):
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
    """botocore reports a body that the server stopped reading as a closed connection.

    The error it caught tells the reason.
    """
    caught = getattr(error, "kwargs", {}).get("error")
    return isinstance(caught, Exception) and any(
        isinstance(one, TimeoutError) for one in (caught, *caught.args)
    )
