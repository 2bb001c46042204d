"""The HTTP library's errors under our names, without the URL's secrets, in words that say what to do."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.outgoing import Outgoing
from sluiceway.client.retry import UNREACHED, UNREADABLE
from sluiceway.errors import BadRequest, PeerFailed, PeerTimeout, PeerUnreachable
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.wire.urls import redact_url

__all__ = ["head_too_long", "named", "undecoded"]


@contextmanager
def named(url: str, doing: str, limits: Deadlines, body: Outgoing | None = None) -> Iterator[None]:
    """The library's errors under our name, without the URL's secrets; the source's own error where that was the cause."""
    try:
        yield
    except TimeoutError as error:  # aiohttp's timeouts are TimeoutErrors
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        limit = limits.connect if connecting else limits.idle if body is None else limits.answer
        what = "cannot be reached within" if connecting else "did not answer for"
        members = {UNREACHED: True} if connecting else {}
        raise PeerTimeout(
            f"{redact_url(url)} {what} {limit:.0f} seconds; try again later", **members
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        if body is not None and body.failure is not None:
            raise body.failure from error
        if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
            raise head_too_long(url) from error
        if (busy := out_of_descriptors(error)) is not None:
            raise busy from error
        raise _kind(error)(
            f"{doing} {redact_url(url)} failed: {_reason(error)}", **_members(error)
        ) from error
    except ValueError as error:  # a host or a header that the library, or the system's look-up of names, does not take
        raise BadRequest(f"{redact_url(url)} cannot be asked: {_reason(error)}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def head_too_long(url: str) -> PeerFailed:
    return PeerFailed(
        f"{redact_url(url)} answered, and a header of its answer is too long to be read",
        **{UNREADABLE: True},
    )


def undecoded(url: str, coding: str) -> PeerFailed:
    what = f"in the transfer coding {coding!r}, which nobody asked for and this program does not decode"
    return PeerFailed(f"{redact_url(url)} sends its answer {what}", **{UNREADABLE: True})


def _members(error: BaseException) -> dict[str, object]:
    return {UNREADABLE: True} if isinstance(error, aiohttp.ClientResponseError) else {}


def _kind(error: BaseException) -> type[PeerFailed]:
    return (
        PeerUnreachable
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
        else PeerFailed
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy that the environment names cannot be reached"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        asks = (
            " (it wants a user and a password: http://USER:PASSWORD@HOST:PORT)"
            if error.status == 407
            else ""
        )
        return f"the proxy that the environment names refused to connect, with {error.status}{asks}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host; check the name in the URL"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, aiohttp.ClientError
        ):  # its own lacks the reason
            told = (cause.reason or "no reason").lower().replace("_", " ")
            if "certificate" in told and "alert" in told:
                return f"the server does not accept our certificate, or wants one ({told})"
            return f"no TLS can be spoken with the server ({told}); check the port and https://"
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno  # its own text repeats the address
        return f"no connection ({os.strerror(code) if code else 'unknown reason'}); is the server running?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server hung up without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended before the answer was complete"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection broke"
