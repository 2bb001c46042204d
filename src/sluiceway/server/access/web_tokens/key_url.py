"""The keys of a provider by their URL: fetched when needed, kept, and fetched again.

One fetch at a time, with a deadline and a bound in bytes. While the provider does not answer, the
known keys count for a day. A token that no known key verifies makes a fetch, but not often:
anybody can send one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.tls import Trust
from sluiceway.client.http.transport import Transport
from sluiceway.errors import BadRequest, PeerFailed, SluiceError, Unavailable
from sluiceway.server.access.web_tokens.keys import KeySet, parse_keys
from sluiceway.server.settings.web_tokens import check_key_url
from sluiceway.wire.urls import parse_address, redact_url

__all__ = ["KeyUrl", "fetch_keys"]

FETCH_TIMEOUT = 10.0  # seconds for a fetch in all
DEADLINES = Deadlines(connect=5.0, idle=5.0, answer=5.0)
LARGEST_SET = 256 << 10  # bytes; a set of ten keys has about 10 KiB
REFRESH_AFTER = 600.0  # seconds after which known keys are fetched again, beside the requests
FORGET_AFTER = 86400.0  # seconds for which known keys count while the provider does not answer
UNKNOWN_EVERY = 10.0  # seconds between two fetches for tokens with an unknown key
RETRY_AFTER = 2.0  # seconds in which a failed fetch is not tried again

log: logging.Logger = logging.getLogger("sluiceway")


async def fetch_keys(url: str, trust: Trust) -> tuple[KeySet, str]:
    """Fetch a JWK set, directly or by the document of OpenID Connect discovery that names it.

    Args:
        url: That of the set, or of `/.well-known/openid-configuration`.
        trust: Whose certificates count.

    Returns:
        The keys, and the header Date of the response ("" for none).

    Raises:
        SluiceError: The server did not answer in time, or not with keys.

    Example:
        keys, date = await fetch_keys("https://id.example/jwks.json", Trust())
    """
    try:
        async with asyncio.timeout(FETCH_TIMEOUT), Transport(DEADLINES, trust=trust) as transport:
            text, date = await _get(transport, url)
            if (named := _named_set(text)) is not None:
                check_key_url(named)
                text, date = await _get(transport, named)
            # A set of the largest size takes milliseconds, in which no other request would go on.
            return await asyncio.to_thread(parse_keys, text), date
    except TimeoutError:
        raise PeerFailed(f"{redact_url(url)} did not answer within {FETCH_TIMEOUT:.0f} s") from None
    except BadRequest as error:
        raise BadRequest(f"{redact_url(url)}: {error.detail}") from None


async def _get(transport: Transport, url: str) -> tuple[str, str]:
    address = parse_address(url)
    headers = {"accept": "application/jwk-set+json, application/json"}
    if address.authorization is not None:
        headers["authorization"] = address.authorization
    async with transport.ask("GET", address.url, headers) as response:
        if response.head.status != 200:  # a redirect is none of ours: its target is not trusted
            raise BadRequest(f"it answered {response.head.status} instead of 200")
        body = await response.whole(LARGEST_SET)
        if body is None:
            raise BadRequest(f"it has more than {LARGEST_SET >> 10} KiB")
        return body.decode("utf-8", "replace"), response.head.headers.get("date", "")


def _named_set(text: str) -> str | None:
    """The URL of the set in the document of a discovery; None where the text is the set itself."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    named = document.get("jwks_uri") if isinstance(document, dict) else None
    return named if isinstance(named, str) else None


class KeyUrl:
    """The keys behind one URL, for one event loop. `clock` counts seconds."""

    def __init__(self, url: str, trust: Trust, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._trust, self._clock = url, trust, clock
        self._keys: KeySet | None = None
        self._fetched = self._failed = self._asked_for_unknown = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def keys_for(self, kid: str | None) -> KeySet:
        """The keys, among them the one with this id if the provider has it.

        Raises Unavailable where that cannot be known now.
        """
        now = self._clock()
        known = self._known(now)
        if known is None:
            await self._fetch(now)
        elif not known.has(kid):
            await self._fetch_unknown(now)
        elif now - self._fetched > REFRESH_AFTER and now - self._failed > RETRY_AFTER:
            self._start()
        known = self._known(self._clock())
        if known is None or (not known.has(kid) and self._failed > self._fetched):
            raise Unavailable(
                "This server cannot check tokens now: the keys of their issuer cannot be had. Try "
                "again in a few seconds"
            )
        return known

    async def newer(self, keys: KeySet) -> KeySet:
        """The keys, after these verified nothing: fetched again, unless that was just done."""
        if self._keys is keys:
            await self._fetch_unknown(self._clock())
        return self._keys or keys

    async def aclose(self) -> None:
        """End a fetch under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetching

    def _known(self, now: float) -> KeySet | None:
        return self._keys if now - self._fetched < FORGET_AFTER else None

    async def _fetch_unknown(self, now: float) -> None:
        if now - self._asked_for_unknown > UNKNOWN_EVERY or self._is_fetching:
            self._asked_for_unknown = now
            await self._fetch(now)

    async def _fetch(self, now: float) -> None:
        """Wait for one fetch, which all requests share and none of them can end."""
        if self._is_fetching or now - self._failed > RETRY_AFTER:
            await asyncio.shield(self._start())

    @property
    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    def _start(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._run())
        return self._fetching

    async def _run(self) -> None:
        try:
            self._keys, _ = await fetch_keys(self._url, self._trust)
        except SluiceError as error:
            self._failed = self._clock()
            what = "the known ones count on" if self._known(self._failed) else "there are none yet"
            log.error("the keys of --jwt-keys cannot be fetched, %s: %s", what, error.for_log)
            return
        self._fetched = self._clock()
        if self._keys.left_out:
            log.info("%d keys of --jwt-keys are of no use here", self._keys.left_out)
