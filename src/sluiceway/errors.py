"""Every error Sluiceway raises on purpose: one tree, each with a stable code.

Knows nothing of HTTP libraries, stores or sockets. `status` is the HTTP status a server answers with, `fault` says
whose turn it is to act, `retryable` whether the same request may succeed later. The text says what to do.

    SluiceError
    ├── BadRequest            400  bad-request            the request contradicts itself
    │   ├── BodyCut           400  body-cut               the body ended before it was complete
    │   ├── BadForm           400  bad-form               not a form this server can read
    │   ├── BadName           400  bad-name               no safe key can be made of this name
    │   ├── BadDigest         400  bad-digest             a digest field of the wrong form
    │   └── DigestMismatch    400  digest-mismatch        what arrived is not what was promised
    ├── Unauthorized          401  unauthorized           no token, or a wrong one
    ├── Forbidden             403  forbidden              the way is closed (a symbolic link, a policy)
    ├── NotFound              404  not-found              no such object or upload
    ├── MethodNotAllowed      405  method-not-allowed     this path does not offer the method
    ├── TooSlow               408  too-slow               the client sent nothing for too long
    ├── Exists                409  exists                 the key or upload id is taken
    ├── LengthRequired        411  length-required        this server cannot take a body without Content-Length
    ├── PreconditionFailed    412  precondition-failed    If-Match and its relatives said no
    ├── TooLarge              413  too-large              above --max-size or a limit of the form
    ├── Unsupported           415  unsupported            a content coding or part this server does not decode
    ├── RangeUnsatisfiable    416  range-unsatisfiable    no byte of the object is in the range
    ├── ExpectationFailed     417  expectation-failed     an Expect other than 100-continue
    ├── MissingField          422  missing-field          a field that is needed does not stand before the file
    ├── HeadTooLarge          431  head-too-large         more header fields than a request may have
    ├── Cancelled             499  cancelled              the transfer was cancelled before its end
    ├── BadOrder              500  bad-order              a program asked for a part of a form before its turn
    ├── SourceFailed          500  source-failed          the source could not be read, or changed while it was
    ├── StoreFailed           500  store-failed           the destination could not keep or find the bytes
    │   └── NoSpace           507  no-space               the destination is full
    ├── PeerFailed            502  peer-failed            another server answered wrongly, or broke off
    │   ├── PeerUnreachable   502  peer-unreachable       no connection to it could be made
    │   └── PeerTimeout       504  peer-timeout           it took or said nothing for too long
    ├── Refused               *    refused                the destination said no: its own status, its own words
    └── Unavailable           503  unavailable            stopping, or too busy; try again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

__all__ = [
    "BadDigest",
    "BadForm",
    "BadName",
    "BadOrder",
    "BadRequest",
    "BodyCut",
    "Cancelled",
    "DigestMismatch",
    "Exists",
    "ExpectationFailed",
    "Fault",
    "Forbidden",
    "HeadTooLarge",
    "LengthRequired",
    "MethodNotAllowed",
    "MissingField",
    "NoSpace",
    "NotFound",
    "PeerFailed",
    "PeerTimeout",
    "PeerUnreachable",
    "PreconditionFailed",
    "RangeUnsatisfiable",
    "Refused",
    "SluiceError",
    "SourceFailed",
    "StoreFailed",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "Unsupported",
]

Fault = Literal["client", "server", "destination"]


class SluiceError(Exception):
    """The root. `detail` is one sentence for people; `members` are extra facts for programs (JSON values)."""

    code: ClassVar[str] = "error"
    status: int = 500
    title: ClassVar[str] = "Something went wrong"
    fault: ClassVar[Fault] = "server"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", **members: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.members = members


class BadRequest(SluiceError):
    code, status, title, fault = "bad-request", 400, "The request contradicts itself", "client"


class BodyCut(BadRequest):
    code, title, retryable = "body-cut", "The body ended before it was complete", True


class BadForm(BadRequest):
    code, title = "bad-form", "The form cannot be read"


class BadName(BadRequest):
    code, title = "bad-name", "No safe name can be made of this"


class BadDigest(BadRequest):
    code, title = "bad-digest", "A digest field is not well-formed"


class DigestMismatch(BadRequest):
    code, title, retryable = "digest-mismatch", "What arrived is not what was promised", True


class Unauthorized(SluiceError):
    code, status, title, fault = "unauthorized", 401, "A token is needed", "client"


class Forbidden(SluiceError):
    code, status, title, fault = "forbidden", 403, "This is not allowed", "client"


class NotFound(SluiceError):
    code, status, title, fault = "not-found", 404, "There is nothing here", "client"


class MethodNotAllowed(SluiceError):
    code, status, title, fault = "method-not-allowed", 405, "This path does not offer that method", "client"


class TooSlow(SluiceError):
    code, status, title, fault, retryable = "too-slow", 408, "Nothing arrived for too long", "client", True


class Exists(SluiceError):
    code, status, title, fault = "exists", 409, "The name is taken", "client"


class LengthRequired(SluiceError):
    code, status, title, fault = "length-required", 411, "A Content-Length is needed", "client"


class PreconditionFailed(SluiceError):
    code, status, title, fault = "precondition-failed", 412, "A precondition does not hold", "client"


class TooLarge(SluiceError):
    code, status, title, fault = "too-large", 413, "This is larger than the server takes", "client"


class Unsupported(SluiceError):
    code, status, title, fault = "unsupported", 415, "The server does not decode this", "client"


class RangeUnsatisfiable(SluiceError):
    code, status, title, fault = "range-unsatisfiable", 416, "No byte of the object is in the range", "client"


class ExpectationFailed(SluiceError):
    code, status, title, fault = "expectation-failed", 417, "The server knows only 100-continue", "client"


class MissingField(SluiceError):
    code, status, title, fault = "missing-field", 422, "A field is missing", "client"


class HeadTooLarge(SluiceError):
    code, status, title, fault = "head-too-large", 431, "The header fields are too large", "client"


class Cancelled(SluiceError):
    code, status, title, fault = "cancelled", 499, "The transfer was cancelled", "client"


class BadOrder(SluiceError):
    code, title = "bad-order", "A part of the form was asked for before its turn"


class SourceFailed(SluiceError):
    code, status, title, fault = "source-failed", 500, "The source cannot be read", "client"


class StoreFailed(SluiceError):
    code, status, title, fault = "store-failed", 500, "The destination failed", "destination"


class NoSpace(StoreFailed):
    code, status, title, retryable = "no-space", 507, "The destination is full", True


class PeerFailed(SluiceError):
    code, status, title, fault, retryable = "peer-failed", 502, "The other server failed", "destination", True


class PeerUnreachable(PeerFailed):
    code, title = "peer-unreachable", "The other server cannot be reached"


class PeerTimeout(PeerFailed):
    code, status, title = "peer-timeout", 504, "The other server was too slow"


class Refused(SluiceError):
    """The destination's answer is the client's: status, headers and body go through as they came."""

    code, status, title, fault = "refused", 502, "The destination refused it", "destination"

    def __init__(self, detail: str, status: int, headers: Mapping[str, str], body: bytes, **members: object) -> None:
        super().__init__(detail, **members)
        self.status, self.headers, self.body = status, headers, body


class Unavailable(SluiceError):
    code, status, title, retryable = "unavailable", 503, "The server is stopping or too busy", True
