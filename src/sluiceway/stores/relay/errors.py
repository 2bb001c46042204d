"""What a response that is not a success means, and which texts about it a client may read.

A destination's own 4xx and 5xx go through to the client. Whatever only a gateway can understand is
a 502.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Response
from sluiceway.client.http.redirects import redirect_target
from sluiceway.errors import BadForm, NotFound, PeerFailed, Refused, SluiceError
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.response import passable
from sluiceway.wire.urls import redact_url

__all__ = ["addresses_hidden", "keeps_none", "map_response", "more_follows"]

# What gives the backend a credential: --token would be the gateway's own.
CREDENTIAL = "--relay-header 'Authorization: …' or USER:PASSWORD@ before the host in --to"


def map_response(response: Response, backend: Backend) -> SluiceError:
    """The error for a response that is not a success."""
    head, place = response.head, redact_url(response.head.url)
    if 200 <= head.status < 300:
        return PeerFailed(
            f"{place} answered {head.status} before it had everything; nothing is certain",
            answered=head.status,
        )
    if not 300 <= head.status < 600:  # no client could read it from us, either
        return PeerFailed(
            f"{place} answered {head.status}, which is not a status of HTTP for an upload"
        )
    if 300 <= head.status < 400:
        try:
            redirect_target(head, 0, sends_body=True, repeatable=False)
        except PeerFailed as reason:
            return reason
        return PeerFailed(f"{place} answered {head.status}, which is no answer to an upload")
    # A status counts without its body: an early refusal is often followed by a reset.
    body = b"" if response.cut or response.error is not None else response.body
    text = refusal(head, body.decode("utf-8", "replace"), CREDENTIAL).detail
    reply = passable(head, body, backend.answer_headers, backend.hidden(head.url))
    return Refused(text, head.status, reply.headers, reply.body, answered=head.status)


@contextmanager
def addresses_hidden() -> Iterator[None]:
    """Errors inside may name where the backend is: that is for the log, not for clients."""
    try:
        yield
    except PeerFailed as error:
        error.for_operator()
        raise


def more_follows() -> SluiceError:
    what = (
        "Something follows the file in this form, or its closing delimiter is not followed by "
        "exactly one CRLF: the file's length was derived as that of the last part"
    )
    cure = (
        "Send fields before the file and one file in a form, and end the form with the closing "
        "delimiter, CRLF, and nothing else"
    )
    return BadForm(f"{what}. {cure}, or start this server with --relay-chunked").for_operator(
        f"{what}. {cure}"
    )


def keeps_none() -> SluiceError:
    return NotFound("This server passes files on and keeps none; ask the server they go to")
