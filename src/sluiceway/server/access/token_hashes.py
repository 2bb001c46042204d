"""Secrets as a token file keeps them: a hash that opens nothing by itself.

A secret that this program made is long and random: SHA-256 of it can be looked up at once. A
password that a person chose could be guessed from such a hash, so it gets scrypt (RFC 7914).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sluiceway.errors import BadRequest
from sluiceway.wire.numbers import ascii_uint

__all__ = ["Scrypt", "SecretHash", "hash_password", "hash_secret", "new_secret", "parse_hash"]

SECRET_BYTES = 24  # random bytes of a secret; 32 characters, which cannot be guessed
# OWASP's least cost for scrypt: 32 MiB and 0.1 s of a processor for each try
COST, BLOCK, LANES = 1 << 15, 8, 1
MOST_COST = 1 << 17  # 128 MiB; a larger one in a file would let one login fill the memory
SALT_BYTES, HASH_BYTES = 16, 32

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_SCRYPT = re.compile(r"scrypt:([0-9]{1,7}):([A-Za-z0-9_-]+={0,2}):([A-Za-z0-9_-]+={0,2})")


@dataclass(frozen=True, slots=True)
class Scrypt:
    """The hash of a password. `cost` is scrypt's N."""

    cost: int
    salt: bytes
    found: bytes

    def fits(self, password: bytes) -> bool:
        """Blocking, for a tenth of a second. Compares in constant time."""
        return hmac.compare_digest(_scrypt(password, self.cost, self.salt), self.found)

    def __str__(self) -> str:
        salt, found = (base64.urlsafe_b64encode(each).decode() for each in (self.salt, self.found))
        return f"scrypt:{self.cost}:{salt}:{found}"


SecretHash = bytes | Scrypt  # the SHA-256 of a long random secret, or that of a password


def new_secret() -> str:
    """A secret that cannot be guessed. It has no leading dash, which looks like an option."""
    while (secret := secrets.token_urlsafe(SECRET_BYTES)).startswith("-"):
        pass
    return secret


def hash_secret(secret: str) -> str:
    """As it stands in a token file. Only for secrets of `new_secret`, or as long and random."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"


def hash_password(password: str) -> str:
    """The same of a password that a person chose. Blocking."""
    salt = secrets.token_bytes(SALT_BYTES)
    return str(Scrypt(COST, salt, _scrypt(password.encode(), COST, salt)))


def parse_hash(text: str) -> SecretHash:
    """A hash of a token file. Raises BadRequest."""
    if found := _SHA256.fullmatch(text):
        return bytes.fromhex(found[1])
    if found := _SCRYPT.fullmatch(text):
        cost = ascii_uint(found[1], "the cost")
        try:
            salt, digest = (base64.urlsafe_b64decode(each) for each in found.groups()[1:])
        except binascii.Error:
            raise BadRequest("its hash cannot be read") from None
        if cost.bit_count() == 1 and COST <= cost <= MOST_COST and len(digest) == HASH_BYTES:
            return Scrypt(cost, salt, digest)
    raise BadRequest("its hash cannot be read; make the line with: sluiceway token add NAME")


def _scrypt(password: bytes, cost: int, salt: bytes) -> bytes:
    memory = 256 * cost * BLOCK  # OpenSSL's own bound is below what this cost takes
    return hashlib.scrypt(
        password, salt=salt, n=cost, r=BLOCK, p=LANES, maxmem=memory, dklen=HASH_BYTES
    )
