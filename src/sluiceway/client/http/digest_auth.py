"""Digest authentication (RFC 7616): a proof that we know the password, without the password.

One login is for one server. Its challenge is remembered, so that only the first request of a copy
is sent in vain. No I/O.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import urlsplit

__all__ = ["DigestLogin"]

# The strongest first. MD5 is here because most servers of this kind know nothing else.
ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}

_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z0-9-]+)\s+(?=[A-Za-z*-]+\s*=)")
_PARAMETER = re.compile(r'([A-Za-z*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class DigestLogin:
    """A user's login at one server. It answers the last challenge that `learn` got."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] | None = None
        self._count = 0  # of requests with this nonce: a server may want it to grow

    @property
    def known(self) -> bool:
        """Whether a challenge was learned."""
        return self._challenge is not None

    def learn(self, header: str) -> bool:
        """Learn the strongest challenge of a WWW-Authenticate; False when none can be answered."""
        usable = [
            challenge
            for challenge in _challenges(header)
            if _base_algorithm(challenge) in ALGORITHMS
            and challenge.get("nonce")
            and ("qop" not in challenge or "auth" in _list_items(challenge["qop"]))
        ]
        if not usable:
            return False
        strength = list(ALGORITHMS)
        self._challenge = min(usable, key=lambda one: strength.index(_base_algorithm(one)))
        self._count = 0
        return True

    def answer(self, method: str, url: str) -> str | None:
        """Return the Authorization of a request; None as long as no challenge is known."""
        challenge = self._challenge
        if challenge is None:
            return None
        algorithm = ALGORITHMS[_base_algorithm(challenge)]

        def digest(text: str) -> str:
            return hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()

        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        realm, nonce = challenge.get("realm", ""), challenge["nonce"]
        client_nonce = secrets.token_hex(16)
        self._count += 1
        count = f"{self._count:08x}"
        secret = digest(f"{self._user}:{realm}:{self._password}")
        if challenge.get("algorithm", "").upper().endswith("-SESS"):
            secret = digest(f"{secret}:{nonce}:{client_nonce}")
        request = digest(f"{method}:{target}")
        user = self._user
        if challenge.get("userhash", "").lower() == "true":
            user = digest(f"{user}:{realm}")
        has_qop = "qop" in challenge
        fields = {
            "username": user,
            "realm": realm,
            "nonce": nonce,
            "uri": target,
            "response": digest(
                f"{secret}:{nonce}:{count}:{client_nonce}:auth:{request}"
                if has_qop
                else f"{secret}:{nonce}:{request}"
            ),
        }
        if "opaque" in challenge:
            fields["opaque"] = challenge["opaque"]
        if has_qop:
            fields["cnonce"] = client_nonce
        text = ", ".join(f'{key}="{_quoted(value)}"' for key, value in fields.items())
        if "algorithm" in challenge:
            text += f", algorithm={challenge['algorithm']}"
        if has_qop:
            text += f", qop=auth, nc={count}"
        return f"Digest {text}" + (", userhash=true" if user != self._user else "")


def _challenges(header: str) -> list[dict[str, str]]:
    """The Digest challenges of a header, which may name several schemes."""
    starts = [*_SCHEME.finditer(header)]
    ends = [*(start.start() for start in starts[1:]), len(header)]
    return [
        {
            found[1].lower(): re.sub(r"\\(.)", r"\1", found[2])
            if found[2] is not None
            else found[3]
            for found in _PARAMETER.finditer(header, start.end(), end)
        }
        for start, end in zip(starts, ends, strict=False)
        if start[1].lower() == "digest"
    ]


def _base_algorithm(challenge: dict[str, str]) -> str:
    return challenge.get("algorithm", "MD5").upper().removesuffix("-SESS")


def _list_items(text: str) -> list[str]:
    return [item.strip().lower() for item in text.split(",")]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
