"""The HTTP library's errors under our names, without the URL's secrets.

The texts say what to do. Knows nothing of bodies, retries or redirects.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.retry import UNREACHED, UNREADABLE
from sluiceway.errors import BadRequest, PeerFailed, PeerTimeout, PeerUnreachable
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.wire.urls import redact_url

__all__ = ["endless_head", "head_too_long", "map_error", "undecoded"]

_NAME_AUTHORITY = "name the file (PEM) of its authority with --ca-file, or in SSL_CERT_FILE"
_OTHER_NAME = "ask it by a name that is in its certificate"
_CURES: Mapping[int, str] = {  # what OpenSSL found (X509_V_ERR_…) -> what to do
    9: "check this machine's clock",  # not yet valid
    10: "it has to be renewed there",  # expired
    62: _OTHER_NAME,  # a host name
    64: _OTHER_NAME,  # an IP address
}


@contextmanager
def map_error(
    url: str, doing: str, deadlines: Deadlines, *, sends_body: bool = False
) -> Iterator[None]:
    """Raise the library's errors as PeerFailed and its kinds, or BadRequest.

    `doing` begins the sentence, as in "asking".
    """
    try:
        yield
    except TimeoutError as error:  # aiohttp's timeouts are TimeoutErrors
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            what, limit = "cannot be reached within", deadlines.connect
            members: dict[str, object] = {UNREACHED: True}
        else:
            what, members = "did not answer for", {}
            limit = deadlines.answer if sends_body else deadlines.idle
        raise PeerTimeout(
            f"{redact_url(url)} {what} {limit:.0f} seconds; try again later", **members
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
            raise head_too_long(url) from error
        if (busy := out_of_descriptors(error)) is not None:
            raise busy from error
        kind = PeerFailed
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
            kind = PeerUnreachable
        members = {UNREADABLE: True} if isinstance(error, aiohttp.ClientResponseError) else {}
        reason = f"{_reason(error)}{_tls_hint(url, error)}"
        raise kind(f"{doing} {redact_url(url)} failed: {reason}", **members) from error
    except ValueError as error:  # a host or header that the library or the name look-up refuses
        raise BadRequest(f"{redact_url(url)} cannot be asked: {_reason(error)}") from error


def head_too_long(url: str) -> PeerFailed:
    """The error for a response with a header that is too long."""
    return PeerFailed(
        f"{redact_url(url)} answered, and a header of its answer is too long to be read",
        **{UNREADABLE: True},
    )


def endless_head(url: str) -> PeerTimeout:
    """The error for a response whose head comes byte by byte, or behind one 1xx after the other."""
    return PeerTimeout(f"{redact_url(url)} did not come to the end of its answer; try again later")


def undecoded(url: str, coding: str) -> PeerFailed:
    """The error for a response in a transfer coding that is not chunked."""
    return PeerFailed(
        f"{redact_url(url)} sends its answer in the transfer coding {coding!r}, "
        "which was not asked for and which this program does not decode",
        **{UNREADABLE: True},
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy that the environment names cannot be reached"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        login = ""
        if error.status == 407:
            login = " (it wants a user and a password: http://USER:PASSWORD@HOST:PORT)"
        return (
            f"the proxy that the environment names refused to connect, with {error.status}{login}"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host; check the name in the URL"
    for cause in _causes(error):
        if isinstance(cause, aiohttp.ClientError):
            continue  # the library's own SSL errors are SSLErrors as well, without the reason
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted: {_why_untrusted(cause)}"
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "no reason").lower().replace("_", " ")
            if "certificate" in reason and "alert" in reason:
                return f"the server does not accept our certificate, or wants one ({reason})"
            return f"no TLS can be spoken with the server ({reason}); check the port and https://"
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno  # its own text repeats the address
        reason = os.strerror(code) if code else "unknown reason"
        return f"no connection ({reason}); is the server running?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server hung up without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended before the answer was complete"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection broke"


def _why_untrusted(error: ssl.SSLCertVerificationError) -> str:
    cure = _CURES.get(error.verify_code, _NAME_AUTHORITY)
    return f"{(error.verify_message or 'it cannot be verified').rstrip('.')}; {cure}"


def _tls_hint(url: str, error: BaseException) -> str:
    """A server that speaks TLS hangs up on plain HTTP, or answers with bytes of TLS."""
    no_http = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError)
    if url.startswith("http://") and no_http:
        return "; if it speaks TLS at this port, the URL begins with https://"
    return ""
