"""Redirects: which are followed, and with which headers and cookies. One place for all requests.

A chain of hops is one `RedirectChain`, for requests with a body as for those without; credentials
stay with their origin. Knows the transport only as its caller hands it in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sluiceway.client.http.cookies import ChainCookies
from sluiceway.client.http.exchange import Head
from sluiceway.client.retry import ANSWERED
from sluiceway.errors import BadRequest, PeerFailed
from sluiceway.wire.urls import located, origin, redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library, which a server without fetching needs not
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = [
    "BODY_HEADERS",
    "HARMLESS",
    "MOST_REDIRECTS",
    "SEE_OTHER",
    "RedirectChain",
    "follow_redirects",
    "headers_across",
    "redirect_target",
    "without_body_headers",
]

MOST_REDIRECTS = 5  # sign-in plus storage needs two or three; a loop shows itself soon enough
SEE_OTHER = 303

# Headers that may follow a redirect to another host. The list names harmless ones, because headers
# with credentials have too many names. Conditions are on it: without them another host would
# overwrite what it should not.
HARMLESS = frozenset(
    {
        "accept",
        "accept-language",
        "content-digest",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        "repr-digest",
        "user-agent",
    }
)
# Headers that describe a request's body or its effect; a GET that only asks has none of them.
BODY_HEADERS = frozenset(
    {
        "content-type",
        "content-digest",
        "repr-digest",
        "if-match",
        "if-none-match",
        "idempotency-key",
    }
)


class RedirectChain:
    """A request and its way from hop to hop: URL, headers, cookies, one digest login.

    `cookies` are those of an earlier chain that goes on here.
    """

    url: str  # of the next request

    def __init__(
        self,
        transport: Transport,
        url: str,
        headers: Mapping[str, str],
        cookies: ChainCookies | None = None,
    ) -> None:
        self.url = url
        self.cookies: ChainCookies = cookies or ChainCookies()
        self.own_headers: Mapping[str, str] = dict(headers)  # without the chain's cookies
        self._transport = transport
        self._hops = 0
        self._logged_in = False  # a challenge is met once; a second one means a wrong password

    def headers(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the next request's headers. `extra` ones go with this request alone."""
        return self.cookies.added({**self.own_headers, **(extra or {})}, self.url)

    def challenged(self, head: Head) -> bool:
        """Whether the response asks who we are, and the same request again can prove it."""
        if self._logged_in or not self._transport.challenged(head):
            return False
        self.cookies.learn(head)
        self._logged_in = True
        return True

    def advance(self, head: Head, *, sends_body: bool = False, repeatable: bool = True) -> bool:
        """Move to where a redirect points. False when this is none: then `head` is the answer.

        Raises PeerFailed for a redirect that must not be followed.
        """
        self.cookies.learn(head)
        target = redirect_target(head, self._hops, sends_body=sends_body, repeatable=repeatable)
        if target is None:
            return False
        self.own_headers = headers_across(self.own_headers, self.url, target)
        self.url, self._hops = target, self._hops + 1
        return True


@asynccontextmanager
async def follow_redirects(
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    allow: Callable[[str], None] = lambda url: None,
    cookies: ChainCookies | None = None,
) -> AsyncIterator[OpenResponse]:
    """Yield the first response that is not a redirect. `extra` headers go to every hop, as a range.

    `cookies` are those of an earlier chain that goes on here. `allow` gets the URL of each hop
    before its request, and raises to refuse it.

    Raises PeerFailed and its kinds, also for a redirect that must not be followed.
    """
    chain = RedirectChain(transport, url, headers, cookies)
    while True:
        allow(chain.url)
        async with transport.ask(method, chain.url, chain.headers(extra)) as response:
            if not chain.challenged(response.head) and not chain.advance(response.head):
                yield response
                return


def redirect_target(head: Head, hops: int, *, sends_body: bool, repeatable: bool) -> str | None:
    """Return the URL to go on with; None when the response is not a redirect.

    `hops` were followed before. `repeatable`: the body can be sent once more. Raises PeerFailed,
    with the reason, for a redirect that must not be followed.
    """
    if head.status not in (301, 302, 303, 307, 308) or not head.headers.get("location"):
        return None  # an empty one would lead to the same place for ever
    try:
        target = located(head.url, head.headers["location"])
    except BadRequest as error:
        raise _refused(head, f"something that is not a web address: {error}") from error
    place = redact_url(target)
    if hops >= MOST_REDIRECTS:
        raise _refused(head, f"{place}, the {hops + 1}th place in a row; check the URL")
    if origin(head.url)[0] == "https" and origin(target)[0] == "http":
        raise _refused(
            head,
            f"{place}, where anyone could read what is sent; ask its operator for an https address",
        )
    if sends_body and head.status not in (307, 308):
        raise _refused(
            head,
            f"{place} with a {head.status}, which drops what is sent; "
            "if files go there, use that URL",
        )
    if sends_body and not repeatable:
        raise _refused(
            head,
            f"{place}, and what was read from the stream cannot be sent twice; use that URL",
        )
    return target


def headers_across(headers: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """Return the headers for the next hop: another origin gets only the harmless ones."""
    if origin(old) == origin(new):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() in HARMLESS}


def without_body_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without those that describe a body."""
    return {name: value for name, value in headers.items() if name.lower() not in BODY_HEADERS}


def _refused(head: Head, reason: str) -> PeerFailed:
    return PeerFailed(f"{redact_url(head.url)} redirects to {reason}", **{ANSWERED: head.status})
