"""Digest authentication (RFC 7616): the answer to a challenge proves that we know the password, and does not tell it.

One login is for one server. Its challenge is remembered, so that only the first request of a copy is sent in vain. No I/O.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import urlsplit

__all__ = ["DigestLogin"]

# The strongest first. MD5 stands here because most servers of this kind know nothing else.
ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}

_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z0-9-]+)\s+(?=[A-Za-z*-]+\s*=)")
_PARAMETER = re.compile(r'([A-Za-z*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class DigestLogin:
    """Knows no challenge at first, and then answers the last one that `learn` was shown."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] | None = None
        self._count = 0  # of requests with this nonce: a server may want it to grow

    @property
    def known(self) -> bool:
        return self._challenge is not None

    def learn(self, header: str) -> bool:
        """Whether a WWW-Authenticate holds a challenge that can be answered."""
        fitting = [
            told for told in _challenges(header) if _hash_of(told) is not None and told.get("nonce")
        ]
        fitting = [told for told in fitting if "qop" not in told or "auth" in _listed(told["qop"])]
        if not fitting:
            return False
        self._challenge = min(fitting, key=lambda told: list(ALGORITHMS).index(_base(told)))
        self._count = 0
        return True

    def answer(self, method: str, url: str) -> str | None:
        """The Authorization of a request; None as long as no challenge is known."""
        told = self._challenge
        if told is None:
            return None
        name = _hash_of(told) or "md5"

        def digest(text: str) -> str:
            return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        realm, nonce, own = told.get("realm", ""), told["nonce"], secrets.token_hex(16)
        self._count += 1
        count = f"{self._count:08x}"
        secret = digest(f"{self._user}:{realm}:{self._password}")
        if told.get("algorithm", "").upper().endswith("-SESS"):
            secret = digest(f"{secret}:{nonce}:{own}")
        what = digest(f"{method}:{target}")
        proof = digest(
            f"{secret}:{nonce}:{count}:{own}:auth:{what}"
            if "qop" in told
            else f"{secret}:{nonce}:{what}"
        )
        user = (
            digest(f"{self._user}:{realm}")
            if told.get("userhash", "").lower() == "true"
            else self._user
        )
        fields = {
            "username": user,
            "realm": realm,
            "nonce": nonce,
            "uri": target,
            "response": proof,
        }
        if "opaque" in told:
            fields["opaque"] = told["opaque"]
        if "qop" in told:
            fields["cnonce"] = own
        text = ", ".join(f'{key}="{_quoted(value)}"' for key, value in fields.items())
        if "algorithm" in told:
            text += f", algorithm={told['algorithm']}"
        if "qop" in told:
            text += f", qop=auth, nc={count}"
        return f"Digest {text}" + (", userhash=true" if user != self._user else "")


def _challenges(header: str) -> list[dict[str, str]]:
    """The Digest challenges among all of the header: several schemes may stand in one line."""
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


def _base(told: dict[str, str]) -> str:
    return told.get("algorithm", "MD5").upper().removesuffix("-SESS")


def _hash_of(told: dict[str, str]) -> str | None:
    return ALGORITHMS.get(_base(told))


def _listed(text: str) -> list[str]:
    return [item.strip().lower() for item in text.split(",")]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
