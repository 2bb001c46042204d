"""Finds out whom a request is from: by the admin's token, or by a name and its secret.

Secrets are compared in constant time, or found by a hash under a key of this process; none is
logged. The answer is a Grant, or 401.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request

from sluiceway.errors import Gone, NotFound, Unauthorized, Unavailable
from sluiceway.server.access.link_keys import LinkKeys, link_keys_file
from sluiceway.server.access.named_tokens import NamedToken
from sluiceway.server.access.owned_file import WatchedFile
from sluiceway.server.access.token_file import watched_tokens
from sluiceway.server.access.token_hashes import COST, HASH_BYTES, SALT_BYTES, Scrypt
from sluiceway.server.access.trusted_user import TrustedUsers
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.log.audit import audit_change
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.uploads.access.grant import FULL, Grant

if TYPE_CHECKING:
    from sluiceway.server.access.web_tokens.tokens import WebTokens

__all__ = ["Door"]

OPEN_PATHS = {"/healthz", "/readyz"}  # probes carry no secret, and the answers hold none
# What was found right is remembered, by a hash: a client sends the same each time.
MOST_REMEMBERED = 1000
MOST_WAITING = 32  # requests whose password waits to be tried; each try takes a tenth of a second


class Door:
    """The tokens of one app. Raises BadSetting for a token file that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._token = None if settings.token is None else settings.token.encode()
        self._file: WatchedFile[list[NamedToken]] | None = None
        if settings.token_file is not None:
            self._file = watched_tokens(settings.token_file)
        self._links: WatchedFile[LinkKeys] | None = None
        if settings.link_key_file is not None:
            self._links = link_keys_file(settings.link_key_file)
        self._users = TrustedUsers(settings)
        self._web_tokens = _web_tokens(settings)
        self._takes_any = not settings.has_tokens
        self._needs_proxy = not (settings.token or settings.token_file or settings.jwt_keys)
        self._key = secrets.token_bytes(32)
        self._nobody = Scrypt(COST, secrets.token_bytes(SALT_BYTES), bytes(HASH_BYTES))
        self._trying, self._waiting = asyncio.Lock(), 0
        self._known: dict[bytes, Grant] = {}  # by marks of whole fields that were found right
        self._index()

    def reload(self) -> None:
        """Read the files again at the next request."""
        self._known = {}
        for file in (self._file, self._links):
            if file is not None:
                file.look_again()
        if self._web_tokens is not None:
            self._web_tokens.reload()

    async def aclose(self) -> None:
        """End what runs for the checks of requests."""
        if self._web_tokens is not None:
            await self._web_tokens.aclose()

    def link(self, text: str) -> Grant:
        """What the holder of a link may do. Raises NotFound, Gone."""
        found = None
        if self._links is not None:
            self._links.changed()
            found = self._links.value.read(text)
        if found is None:
            raise NotFound("There is no such link, or it was revoked; ask for a new one")
        if found.grant.expires is not None and time.time() >= found.grant.expires:
            raise Gone("The link is over; ask for a new one")
        return found.grant

    async def grant(self, request: Request, path: str) -> Grant:
        """What the sender of a request may do. Raises Unauthorized, Forbidden, Unavailable."""
        if self._takes_any or path in OPEN_PATHS:
            return FULL
        if (user := self._users.grant(request, _peer(request))) is not None:
            return user
        if self._file is not None and self._file.changed():
            self._log_changes(self._by_name, self._file.value)
            self._index()
        header, known = request.headers.get("authorization", ""), self._known
        mark = self._mark(header.encode("latin-1", "replace"))
        if (grant := known.get(mark)) is None:
            name, secret = _credentials(header)
            if self._web_tokens is not None:
                user = await self._web_tokens.grant(request.headers, name, secret)
                if user is not None:
                    return user
            grant = await self._grant_of(name, secret)
            if grant is not None:
                # Where the tokens have changed meanwhile, `known` is no longer asked.
                known[mark] = grant
                if len(known) > MOST_REMEMBERED:
                    del known[next(iter(known))]
        if grant is not None and grant.expires is not None and time.time() >= grant.expires:
            end = datetime.fromtimestamp(grant.expires, UTC).strftime("%Y-%m-%d at %H:%M UTC")
            raise Unauthorized(f"This token has ended on {end}; ask for a new one")
        if grant is None:
            if self._needs_proxy:
                raise Unauthorized(
                    "This server learns from the proxy in front of it who you are, and takes no "
                    "tokens: use the address of that proxy, and sign in there"
                )
            raise Unauthorized(
                "This server needs a token: send 'Authorization: Bearer TOKEN', or use the token "
                "as the password (curl -u :TOKEN)"
            )
        return grant

    async def _grant_of(self, name: str, secret: bytes) -> Grant | None:
        is_named = name in self._by_name
        if self._token and not is_named and hmac.compare_digest(secret, self._token):
            return FULL
        if self._file is None or not secret:
            return None
        found = self._by_mark.get(self._mark(hashlib.sha256(secret).digest()))
        if found is not None:
            return found.grant if name in ("", found.name) else None
        return await self._by_password(name, secret) if name and self._has_passwords else None

    async def _by_password(self, name: str, password: bytes) -> Grant | None:
        """A name that does not exist takes as long as a wrong password."""
        token = self._by_name.get(name)
        is_one = token is not None and isinstance(token.secret, Scrypt)
        tried = token.secret if token is not None and is_one else self._nobody
        if not (isinstance(tried, Scrypt) and await self._fits(tried, password)) or token is None:
            return None
        return token.grant

    async def _fits(self, tried: Scrypt, password: bytes) -> bool:
        """One at a time: passwords that are guessed take no more than one processor and 32 MiB."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Too many passwords are being checked; try again in a few seconds")
        self._waiting += 1
        try:
            async with self._trying:
                return await asyncio.to_thread(tried.fits, password)
        finally:
            self._waiting -= 1

    def _log_changes(self, before: Mapping[str, NamedToken], tokens: Iterable[NamedToken]) -> None:
        """Names alone: of a token nothing else is for the log."""
        now = {token.name: token for token in tokens}
        changes = {
            "added": sorted(now.keys() - before.keys()),
            "removed": sorted(before.keys() - now.keys()),
            "changed": sorted(
                name for name in now.keys() & before.keys() if now[name] != before[name]
            ),
        }
        found = {what: _few(names) for what, names in changes.items() if names}
        text = "; ".join(f"{what}: {names}" for what, names in found.items())
        audit_change("reload-tokens", f"tokens read again ({text or 'no change'})", **found)

    def _index(self) -> None:
        tokens: list[NamedToken] = [] if self._file is None else self._file.value
        self._by_name = {token.name: token for token in tokens}
        self._has_passwords = any(isinstance(token.secret, Scrypt) for token in tokens)
        self._by_mark = {
            self._mark(token.secret): token for token in tokens if isinstance(token.secret, bytes)
        }
        self._known = {}

    def _mark(self, secret: bytes) -> bytes:
        """How a secret is found: no client can choose what is compared."""
        return hashlib.blake2b(secret, key=self._key).digest()


def _few(names: Sequence[str], most: int = 20) -> str:
    """Names on one line of the log."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _peer(request: Request) -> str | None:
    """The address of the other end of the connection. What a server of ours has in the scope may
    be what X-Forwarded-For says."""
    client = getattr(request.scope.get(PROTOCOL), "client", None) or request.scope.get("client")
    return str(client[0]) if client else None


def _web_tokens(settings: Settings) -> WebTokens | None:
    """What checks JWTs. Its libraries are an extra, and take time to load."""
    if settings.jwt_keys is None:
        return None
    try:
        from sluiceway.server.access.web_tokens.tokens import WebTokens
    except ImportError:
        raise BadSetting(
            "--jwt-keys needs a library that is not installed: pip install 'sluiceway[jwt]'"
        ) from None
    return WebTokens(settings)


def _credentials(header: str) -> tuple[str, bytes]:
    """Name and secret of Authorization; the name is empty for a bearer token."""
    scheme, _, rest = header.partition(" ")
    credentials = rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        return _basic(credentials)
    return "", credentials if scheme.lower() == "bearer" else b""


def _basic(credentials: bytes) -> tuple[str, bytes]:
    """Name and password; both empty where they cannot be read."""
    try:
        name, _, password = base64.b64decode(credentials, validate=True).partition(b":")
        return name.decode(), password
    except (binascii.Error, ValueError):
        return "", b""
