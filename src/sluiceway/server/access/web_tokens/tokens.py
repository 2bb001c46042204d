"""Tokens of an identity provider (JWT, RFC 7519) that come with requests: checked, then a Grant.

The signature is checked by a key of the operator's set, with an algorithm of that key. What a
token's header says about keys elsewhere (jku, x5u, jwk) counts for nothing.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jwt
from starlette.datastructures import Headers

from sluiceway.client.http.tls import Trust
from sluiceway.errors import Unauthorized
from sluiceway.server.access.web_tokens.claims import ClaimRules
from sluiceway.server.access.web_tokens.key_file import KeyFile
from sluiceway.server.access.web_tokens.key_url import KeyUrl
from sluiceway.server.access.web_tokens.keys import KeySet, VerifyingKey
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.web_tokens import algorithms
from sluiceway.uploads.access.grant import Grant
from sluiceway.wire.urls import is_url

__all__ = ["WebTokens"]

MOST_SEEN = 1000  # tokens that were checked; a signature costs a third of a millisecond
LONGEST_TOKEN = 16 << 10  # characters; Azure's tokens with 200 groups have about 10,000
# RFC 8725, section 3.11: a logout token or a security event, signed by the same keys, opens nothing
TYPES = ("jwt", "at+jwt")

_SHAPE = re.compile(r"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]*={0,2}\.[A-Za-z0-9_-]*={0,2}")
_WORDS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "The token has expired; log in again, or get a new one",
    jwt.ImmatureSignatureError: "The token is not valid yet; the clock of its issuer is ahead",
    jwt.InvalidAudienceError: "The token was made for another service",
    jwt.InvalidIssuerError: "The token comes from an issuer that is not known here",
    jwt.MissingRequiredClaimError: "The token lacks its end, its audience or its issuer",
}


class WebTokens:
    """Checks the tokens of requests. Raises BadSetting for a file of keys that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        source = settings.jwt_keys or ""
        self._source: KeyUrl | KeyFile
        self._source = (
            KeyUrl(source, Trust(settings.ca_file)) if is_url(source) else KeyFile(source)
        )
        self._algorithms = algorithms(settings)
        self._audience, self._issuer = [*settings.jwt_audience], [*settings.jwt_issuer]
        self._leeway, self._header = settings.jwt_leeway, (settings.jwt_header or "").lower()
        self._required = ["exp", "aud", *(["iss"] if self._issuer else [])]
        self._rules = ClaimRules.of(settings)
        self._seen: OrderedDict[bytes, Grant] = OrderedDict()  # by the hash of their tokens
        self._seen_with: KeySet | None = None

    def reload(self) -> None:
        """Read a file of keys again at the next request."""
        if isinstance(self._source, KeyFile):
            self._source.reload()

    async def aclose(self) -> None:
        if isinstance(self._source, KeyUrl):
            await self._source.aclose()

    async def grant(self, headers: Headers, name: str, secret: bytes) -> Grant | None:
        """What the token of a request allows; None for a request without one.

        `name` and `secret` are those of Authorization. The header of --jwt-header goes before it.
        Raises Unauthorized, Forbidden, Unavailable.
        """
        given = headers.getlist(self._header) if self._header else []
        if len(given) > 1:
            raise _refused("There are several tokens; the proxy in front has to replace them")
        if given:
            scheme, _, rest = given[0].strip().partition(" ")
            token = rest.strip() if scheme.lower() == "bearer" else given[0].strip()
            return await self._checked(token)
        token = secret.decode("latin-1")
        if (
            not token.startswith(("ey", "ew")) or token.count(".") != 2
        ):  # '{"' or '{' and a line end
            return None
        grant = await self._checked(token)
        if name not in ("", grant.owner):
            raise _refused("The user name is not the one in the token; leave it empty")
        return grant

    async def _checked(self, token: str) -> Grant:
        """One that was checked with the same keys is looked up: each request of a page has it."""
        if len(token) > LONGEST_TOKEN or not _SHAPE.fullmatch(token):
            raise _refused("The token cannot be read")
        keys, mark = await self._source.keys_for(None), hashlib.sha256(token.encode()).digest()
        if keys is not self._seen_with:
            self._seen.clear()
            self._seen_with = keys
        grant = self._seen.get(mark)
        if grant is None or grant.expires is None or time.time() >= grant.expires:
            grant = await self._checked_anew(token)
            self._seen[mark] = grant
            if len(self._seen) > MOST_SEEN:
                self._seen.popitem(last=False)
        return grant

    async def _checked_anew(self, token: str) -> Grant:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _refused("The token cannot be read") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if str(header.get("typ", "jwt")).lower().removeprefix("application/") not in TYPES:
            raise _refused("This is not a token for access")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _refused("The token is signed in a way that is not accepted here")
        keys = await self._source.keys_for(kid)
        claims = self._verified(token, keys.fitting(kid, algorithm), algorithm)
        if claims is None and (newer := await self._source.newer(keys)) is not keys:
            # Without ids nothing tells that the key is a new one.
            claims = self._verified(token, newer.fitting(kid, algorithm), algorithm)
        if claims is None:
            raise _refused("The token is not signed by a key that is known here")
        return replace(self._rules.grant(claims), expires=float(claims["exp"]) + self._leeway)

    def _verified(
        self, token: str, keys: Sequence[VerifyingKey], algorithm: str
    ) -> Mapping[str, Any] | None:
        """The claims, by the first key that signed the token; None if none did. Raises Unauthorized
        for claims that do not count."""
        for key in keys:
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key.key,
                    algorithms=[algorithm],
                    audience=self._audience,
                    issuer=self._issuer or None,
                    leeway=self._leeway,
                    options={"require": self._required},
                )
                float(claims["exp"])
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
                if not isinstance(error, jwt.InvalidSignatureError):  # this key signed it
                    raise _refused(_WORDS.get(type(error), "The token cannot be used")) from None
            else:
                return claims
        return None


def _refused(words: str) -> Unauthorized:
    """The words are fixed: they stand in a header, too (RFC 6750, section 3)."""
    return Unauthorized(words, refused="invalid_token")
