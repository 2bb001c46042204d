"""Every error Sluiceway raises on purpose: one tree, stable codes, texts that say what to do.

`status` is the HTTP status of a server's response, `fault` says who must act, `retryable` whether
the same request may succeed later. Knows nothing of HTTP libraries, stores or sockets.

    SluiceError
    ├── BadRequest            400  bad-request          the request is wrong
    │   ├── BodyCut           400  body-cut             the body ended before it was complete
    │   ├── BadForm           400  bad-form             not a form this server can read
    │   ├── BadName           400  bad-name             no safe key can be made of this name
    │   ├── BadDigest         400  bad-digest           a digest field of the wrong form
    │   ├── DigestMismatch    400  digest-mismatch      what arrived is not what was promised
    │   ├── InconsistentLength 400 inconsistent-length  an upload has two lengths, or more bytes
    │   └── CompletedUpload   400  completed-upload     an append to an upload that is complete
    ├── Unauthorized          401  unauthorized         no token, or a wrong one
    ├── UploadRefused         *    upload-refused       an app or a hook does not want it
    ├── Forbidden             403  forbidden            a symbolic link or a policy forbids it
    ├── NotFound              404  not-found            no such object or upload
    ├── MethodNotAllowed      405  method-not-allowed   the path does not support the method
    ├── TooSlow               408  too-slow             the client sent nothing for too long
    ├── Exists                409  exists               the key or upload id is taken
    │   └── SameName          409  same-name            two objects get one name at the target
    ├── Retained              409  retained             the file must stay until its date
    ├── OffsetMismatch        409  offset-mismatch      the upload goes on at another offset
    ├── Superseded            409  superseded           another request has taken up the upload
    ├── Gone                  410  gone                 the upload expired, was cancelled or lost
    ├── LengthRequired        411  length-required      a body here needs a Content-Length
    ├── PreconditionFailed    412  precondition-failed  If-Match or a similar header does not hold
    ├── TooLarge              413  too-large            above --max-size or a limit of the form
    │   └── OverQuota         413  over-quota           the quota of its name has no room for it
    ├── Unsupported           415  unsupported          a coding or part this server does not decode
    ├── RangeUnsatisfiable    416  range-unsatisfiable  no byte of the object is in the range
    ├── ExpectationFailed     417  expectation-failed   an Expect other than 100-continue
    ├── MissingField          422  missing-field        a required field is not in front of the file
    ├── Locked                423  locked               another request still holds the upload
    ├── HeadTooLarge          431  head-too-large       the header fields are too large
    ├── Cancelled             499  cancelled            the transfer was cancelled before its end
    ├── BadOrder              500  bad-order            a view read a part of a form before its turn
    │   └── WrongOrder        422  wrong-order          the client sent the parts in another order
    ├── SourceFailed          500  source-failed        the source could not be read
    │   └── SourceChanged     500  source-changed       the source is, or became, another version
    ├── StoreFailed           500  store-failed         the destination failed to store or read
    │   └── NoSpace           507  no-space             the destination is full
    ├── Miscounted            500  miscounted           objects neither arrived nor failed
    ├── PeerFailed            502  peer-failed          another server answered wrongly or broke off
    │   ├── PeerUnreachable   502  peer-unreachable     no connection to it could be made
    │   ├── PeerTimeout       504  peer-timeout         it did not read or answer for too long
    │   └── Undelivered       502  undelivered          it has not taken a file that waited for it
    ├── Refused               *    refused              the destination refused: its status and text
    └── Unavailable           503  unavailable          the server is stopping or too busy
        ├── HookUnavailable   503  hook-unavailable     a hook that decides could not be asked
        └── AwaitsBackend     503  backend-waiting      the file waits here for its destination
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

__all__ = [
    "AwaitsBackend",
    "BadDigest",
    "BadForm",
    "BadName",
    "BadOrder",
    "BadRequest",
    "BodyCut",
    "Cancelled",
    "CompletedUpload",
    "DigestMismatch",
    "Exists",
    "ExpectationFailed",
    "Fault",
    "Forbidden",
    "Gone",
    "HeadTooLarge",
    "HookUnavailable",
    "InconsistentLength",
    "LengthRequired",
    "Locked",
    "MethodNotAllowed",
    "Miscounted",
    "MissingField",
    "NoSpace",
    "NotFound",
    "OffsetMismatch",
    "OverQuota",
    "PeerFailed",
    "PeerTimeout",
    "PeerUnreachable",
    "PreconditionFailed",
    "RangeUnsatisfiable",
    "Refused",
    "Retained",
    "SameName",
    "SluiceError",
    "SourceChanged",
    "SourceFailed",
    "StoreFailed",
    "Superseded",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "Undelivered",
    "Unsupported",
    "UploadRefused",
    "WrongOrder",
]

Fault = Literal["client", "server", "destination"]


class SluiceError(Exception):
    """The root of all errors that Sluiceway raises on purpose. Raise one of its subclasses.

    Clients of a server get `public` if it is set (a destination's errors begin with one), else
    `detail`. With `public`, only the log has `detail` and `private`: server paths, addresses of
    backends, names of options.

    Args:
        detail: One sentence for people that says what to do. Default: the title of the class.
        members: Facts for programs, as JSON values: members of the problem+json (RFC 9457 3.2).

    Example:
        `print(error.code, error.detail, "retry" if error.retryable else "")`
    """

    code: ClassVar[str] = "error"
    status: int = 500
    title: ClassVar[str] = "Something went wrong"
    fault: ClassVar[Fault] = "server"
    retryable: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        code: str | None = None,
        status: int | None = None,
        title: str | None = None,
        fault: Fault | None = None,
        retryable: bool | None = None,
    ) -> None:
        """A class inherits from its parent what it does not set itself; a 4xx is the client's."""
        cls.code, cls.title = code or cls.code, title or cls.title
        if status is not None:
            cls.status, cls.fault = status, "client" if status < 500 else cls.fault
        cls.fault = fault or cls.fault
        cls.retryable = cls.retryable if retryable is None else retryable

    def __init__(self, detail: str = "", **members: object) -> None:
        super().__init__(detail or self.title)
        self.detail: str = detail or self.title
        self.public: str | None = None
        self.members: dict[str, object] = members
        self.private: dict[str, object] = {}
        if self.fault == "destination":  # such details name its address or folder
            self.for_operator()

    def for_operator(self, public: str | None = None) -> Self:
        """Keep `detail` for the log alone. Clients get `public`, or the title and what to do."""
        what_to_do = "try again later" if self.retryable else "the server's log has the reason"
        self.public = public or self.public or f"{self.title}; {what_to_do}"
        return self

    def for_everyone(self) -> Self:
        """Let clients read `detail`: it names nothing that they do not know."""
        self.public = None
        return self

    @property
    def for_log(self) -> str:
        """`detail` with the private facts."""
        facts = ", ".join(f"{name} {value}" for name, value in self.private.items())
        return f"{self.detail} ({facts})" if facts else self.detail


class BadRequest(SluiceError, code="bad-request", status=400, title="The request is wrong"): ...


class BodyCut(
    BadRequest, code="body-cut", title="The body ended before it was complete", retryable=True
): ...


class BadForm(BadRequest, code="bad-form", title="The form cannot be read"): ...


class BadName(BadRequest, code="bad-name", title="No safe name can be made of this"): ...


class BadDigest(BadRequest, code="bad-digest", title="A digest field is not well-formed"): ...


class DigestMismatch(
    BadRequest, code="digest-mismatch", title="The digest does not match", retryable=True
): ...


class InconsistentLength(
    BadRequest, code="inconsistent-length", title="The lengths of an upload contradict each other"
): ...


class CompletedUpload(BadRequest, code="completed-upload", title="The upload is complete"): ...


class Unauthorized(SluiceError, code="unauthorized", status=401, title="A token is required"): ...


class Forbidden(SluiceError, code="forbidden", status=403, title="This is not allowed"): ...


class NotFound(
    SluiceError, code="not-found", status=404, title="There is no such object or upload"
): ...


class MethodNotAllowed(
    SluiceError, code="method-not-allowed", status=405, title="This path lacks that method"
): ...


class TooSlow(
    SluiceError, code="too-slow", status=408, title="No bytes arrived for too long", retryable=True
): ...


class Exists(SluiceError, code="exists", status=409, title="The name is taken"): ...


class SameName(Exists, code="same-name", title="Two objects get one name"): ...


class Retained(SluiceError, code="retained", status=409, title="The file must stay"): ...


class OffsetMismatch(
    SluiceError, code="offset-mismatch", status=409, title="The upload goes on at another offset"
): ...


class Superseded(
    SluiceError, code="superseded", status=409, title="Another request has taken up this upload"
): ...


class Gone(SluiceError, code="gone", status=410, title="The upload is gone"): ...


class Locked(
    SluiceError,
    code="locked",
    status=423,
    title="Another request still holds this upload",
    fault="server",
    retryable=True,
): ...


class LengthRequired(
    SluiceError, code="length-required", status=411, title="A Content-Length is required"
): ...


class PreconditionFailed(
    SluiceError, code="precondition-failed", status=412, title="A precondition does not hold"
): ...


class TooLarge(
    SluiceError, code="too-large", status=413, title="This is larger than the server accepts"
): ...


class OverQuota(TooLarge, code="over-quota", title="The quota is used up"): ...


class Unsupported(
    SluiceError, code="unsupported", status=415, title="The server cannot decode this"
): ...


class RangeUnsatisfiable(
    SluiceError, code="range-unsatisfiable", status=416, title="No byte is in that range"
): ...


class ExpectationFailed(
    SluiceError, code="expectation-failed", status=417, title="Only 100-continue is supported"
): ...


class MissingField(SluiceError, code="missing-field", status=422, title="A field is missing"): ...


class HeadTooLarge(
    SluiceError, code="head-too-large", status=431, title="The header fields are too large"
): ...


class Cancelled(SluiceError, code="cancelled", status=499, title="The transfer was cancelled"): ...


class BadOrder(SluiceError, code="bad-order", title="A part of a form was read out of turn"): ...


class WrongOrder(
    BadOrder, code="wrong-order", status=422, title="The parts of the form are in the wrong order"
): ...


class SourceFailed(
    SluiceError, code="source-failed", status=500, title="The source cannot be read", fault="client"
): ...


class SourceChanged(
    SourceFailed, code="source-changed", title="The source changed while it was read"
): ...


class StoreFailed(
    SluiceError, code="store-failed", title="The destination failed", fault="destination"
): ...


class Miscounted(SluiceError, code="miscounted", title="The count of objects does not add up"): ...


class NoSpace(
    StoreFailed, code="no-space", status=507, title="The destination is full", retryable=True
): ...


class PeerFailed(
    SluiceError,
    code="peer-failed",
    status=502,
    title="The other server failed",
    fault="destination",
    retryable=True,
): ...


class PeerUnreachable(
    PeerFailed, code="peer-unreachable", title="The other server cannot be reached"
): ...


class PeerTimeout(
    PeerFailed, code="peer-timeout", status=504, title="The other server was too slow"
): ...


class Undelivered(PeerFailed, code="undelivered", title="The file could not be delivered"): ...


class Refused(
    SluiceError, code="refused", status=502, title="The destination refused it", fault="destination"
):
    """A destination refused the upload; the client gets its status, headers and body."""

    def __init__(
        self, detail: str, status: int, headers: Mapping[str, str], body: bytes, **members: object
    ) -> None:
        super().__init__(detail, **members)
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self.body: bytes = body


class Unavailable(
    SluiceError,
    code="unavailable",
    status=503,
    title="The server is stopping or too busy",
    retryable=True,
): ...


class HookUnavailable(Unavailable, code="hook-unavailable", title="Uploads cannot be checked"): ...


class AwaitsBackend(Unavailable, code="backend-waiting", title="The backend does not answer"): ...


class UploadRefused(SluiceError, code="upload-refused", status=403, title="This upload is refused"):
    """An app's function raises it, or a hook refuses: the client gets this status and these words.

    Args:
        detail: One sentence for people.
        status: 400 to 599.

    Example:
        raise UploadRefused("Your plan takes files up to 1 GiB", 402)
    """

    def __init__(self, detail: str = "", status: int = 403, **members: object) -> None:
        super().__init__(detail, **members)
        self.status: int = status
