"""The public keys that sign tokens: a JWK set (RFC 7517) or PEM text, read into a bounded list.

Each key says itself which algorithms it may verify. So a token never chooses how its signature is
checked: an RSA key verifies no HMAC, and nothing verifies "none".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from sluiceway.errors import BadRequest

__all__ = ["MOST_KEYS", "KeySet", "VerifyingKey", "parse_keys"]

MOST_KEYS = 100  # providers publish two to ten; each without an id is tried for a token without one
SMALLEST_RSA = 2048  # bits; NIST SP 800-131A allows no smaller one
SMALLEST_SECRET = 32  # bytes of a key for HMAC: RFC 7518 section 3.2

_CURVES: Mapping[str, str] = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
    "secp256k1": "ES256K",
}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_HMAC = frozenset({"HS256", "HS384", "HS512"})
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key, its id ("" for none), and the algorithms that it verifies."""

    id: str
    key: Any
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that can be used, and how many others stood beside them."""

    keys: tuple[VerifyingKey, ...]
    left_out: int = 0

    def fitting(self, kid: str | None, algorithm: str) -> list[VerifyingKey]:
        """The keys that may have signed a token with this header.

        A key without an id may have signed any token; a token without an id may be any key's.
        """
        return [
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.id in ("", kid))
        ]

    def has(self, kid: str | None) -> bool:
        return kid is None or any(key.id in ("", kid) for key in self.keys)


def parse_keys(text: str, *, secrets: bool = False) -> KeySet:
    """Read a JWK set, one JWK, or public keys in PEM.

    Args:
        text: The document. Keys for encryption, of unknown kinds, too weak, or private are left
            out: a provider may publish keys that are not for us.
        secrets: Whether keys for HMAC count. Only a file that nobody else reads holds such a key.

    Returns:
        The keys, in their order.

    Raises:
        BadRequest: The text is neither, holds no key that can be used, or too many of them.

    Example:
        parse_keys(response_body).fitting("key-1", "RS256")
    """
    if "-----BEGIN" in text:
        found, count = [*_pem_keys(text)], text.count("-----BEGIN")
    else:
        members = _members(text)
        count = len(members)
        if count > MOST_KEYS:
            raise BadRequest(f"it has more than {MOST_KEYS} keys")
        found = [key for one in members if (key := _jwk(one, secrets)) is not None]
    if not found:
        raise BadRequest(
            "it has no key that can be used: give a JWK set, or public keys in PEM, of RSA with at "
            f"least {SMALLEST_RSA} bits, of an elliptic curve, or of Ed25519"
        )
    if count > MOST_KEYS:
        raise BadRequest(f"it has more than {MOST_KEYS} keys")
    return KeySet(tuple(found), count - len(found))


def _members(text: str) -> list[object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("it is neither JSON nor PEM") from None
    if not isinstance(document, dict):
        raise BadRequest("it is not a JWK set: that is an object with the member keys")
    keys = document.get("keys", [document])
    if not isinstance(keys, list):
        raise BadRequest("its member keys is not a list")
    return keys


def _jwk(value: object, secrets: bool) -> VerifyingKey | None:
    """None for a key that is not for us."""
    if not isinstance(value, dict) or "d" in value or value.get("use", "sig") != "sig":
        return None
    uses, kid, named = value.get("key_ops"), value.get("kid", ""), value.get("alg")
    if isinstance(uses, list) and "verify" not in uses:
        return None
    if not isinstance(kid, str):
        return None
    try:
        key = PyJWK({name: value[name] for name in value if name != "alg"}).key
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    algorithms = _algorithms(key)
    if algorithms <= _HMAC and not secrets:
        return None
    if named is not None:
        algorithms &= {named} if isinstance(named, str) else set()
    return VerifyingKey(kid, key, algorithms) if algorithms else None


def _pem_keys(text: str) -> Iterator[VerifyingKey]:
    for block in _PEM.findall(text)[: MOST_KEYS + 1]:
        try:
            key = load_pem_public_key(block.encode())
        except (ValueError, UnsupportedAlgorithm):
            continue
        if algorithms := _algorithms(key):
            yield VerifyingKey("", key, algorithms)


def _algorithms(key: object) -> frozenset[str]:
    """What a key verifies; nothing for one that is too weak or of another kind."""
    if isinstance(key, bytes):
        return _HMAC if len(key) >= SMALLEST_SECRET else frozenset()
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA if key.key_size >= SMALLEST_RSA else frozenset()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return frozenset({_CURVES[key.curve.name]} if key.curve.name in _CURVES else ())
    is_edwards = isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
    return frozenset({"EdDSA"} if is_edwards else ())
