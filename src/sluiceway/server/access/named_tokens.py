"""The text of a token file: names with their secrets, rights and limits, by line or as TOML.

    alice  sha256:9f86…  upload-only  prefix=alice/  max-size=1GiB  expires=2027-01-31

Each error names the line or table and says what it takes, and never repeats a secret.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.server.access.token_hashes import SecretHash, parse_hash
from sluiceway.server.settings.guarded import BadSetting, check_token_text
from sluiceway.uploads.access.grant import Grant, Right
from sluiceway.wire.names import stays_inside
from sluiceway.wire.sizes import parse_size

__all__ = [
    "LIMITS",
    "NamedToken",
    "check_name",
    "is_toml",
    "parse_rights",
    "parse_tokens",
    "token_limits",
]

MOST_TOKENS = 10_000
LONGEST_NAME = 64
SHORTEST_SECRET = 16  # characters of a secret in clear: there are many to be guessed
WORDS: Mapping[str, frozenset[Right]] = {
    "upload-only": frozenset({Right.UPLOAD}),
    "read-only": frozenset({Right.READ, Right.LIST}),
    **{right.value: frozenset({right}) for right in Right},
}
LIMITS = ("prefix", "max-size", "quota", "expires")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A name, how it proves itself, and what it may do."""

    name: str
    secret: SecretHash
    grant: Grant


def parse_tokens(text: str) -> list[NamedToken]:
    """All tokens of a file. Raises BadSetting."""
    tables = _tables(text) if is_toml(text) else list(_lines(text))
    if len(tables) > MOST_TOKENS:
        raise BadSetting(f"it has more than {MOST_TOKENS} tokens; let a proxy say who users are")
    found: dict[str, NamedToken] = {}
    for where, name, table in tables:
        try:
            token = _token(name, table)
        except SluiceError as error:
            raise BadSetting(f"{where}: {error.detail}") from None
        if name in found:
            raise BadSetting(f"{where}: the name {name!r} stands there twice")
        found[name] = token
    hashes = [token.secret for token in found.values() if isinstance(token.secret, bytes)]
    if len(set(hashes)) < len(hashes):
        raise BadSetting("two names have the same secret; give each one of its own")
    return list(found.values())


def is_toml(text: str) -> bool:
    """Whether a file has tables, and not lines."""
    return any(line.lstrip().startswith("[") for line in text.splitlines())


def check_name(name: str) -> None:
    """Raises BadRequest."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise BadRequest(
            f"a name has 1 to {LONGEST_NAME} letters, digits and . _ @ + -, not {name!r}"
        )


def parse_rights(words: Iterable[str]) -> frozenset[Right]:
    """Raises BadRequest."""
    rights: frozenset[Right] = frozenset()
    for word in words:
        if word not in WORDS:
            raise BadRequest(f"there is no right {word!r}; there are {', '.join(WORDS)}")
        rights |= WORDS[word]
    if not rights:
        raise BadRequest(f"it has no right; give some of {', '.join(WORDS)}")
    return rights


def token_limits(name: str, rights: frozenset[Right], given: Mapping[str, object]) -> Grant:
    """What a name may do with these limits. Raises BadRequest."""
    prefix = given.get("prefix", "")
    if not isinstance(prefix, str):
        raise BadRequest("prefix is text that ends in /")
    inside = stays_inside(prefix.removesuffix("/")) and prefix.isprintable()
    if prefix and not (prefix.endswith("/") and inside):
        raise BadRequest(f"prefix is a folder and ends in /: {name}/, not {prefix!r}")
    if Right.ADMIN in rights and given.keys() & {"prefix", "max-size", "quota"}:
        raise BadRequest("admin opens everything; leave prefix, max-size and quota out")
    size, quota = given.get("max-size"), given.get("quota")
    return Grant(
        name,
        rights,
        prefix,
        None if size is None else parse_size(str(size), "max-size"),
        _time(given.get("expires")),
        quota=None if quota is None else parse_size(str(quota), "quota"),
    )


def _token(name: str, table: Mapping[str, object]) -> NamedToken:
    check_name(name)
    unknown = sorted(set(table) - {"secret", "hash", "rights", *LIMITS})
    if unknown:
        raise BadRequest(f"there is no {unknown[0]!r}; known are {', '.join(LIMITS)}")
    rights = table.get("rights", [])
    words = rights.split(",") if isinstance(rights, str) else rights
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise BadRequest('rights is a list of words, such as ["upload", "read"]')
    return NamedToken(name, _secret(table), token_limits(name, parse_rights([*words]), table))


def _secret(table: Mapping[str, object]) -> SecretHash:
    secret, hashed = table.get("secret"), table.get("hash")
    if isinstance(hashed, str) and secret is None:
        return parse_hash(hashed)
    if not isinstance(secret, str) or hashed is not None:
        raise BadRequest("give one of secret and hash, as text")
    check_token_text(secret, "its secret")
    if len(secret) < SHORTEST_SECRET:
        raise BadRequest(
            f"its secret has fewer than {SHORTEST_SECRET} characters and can be guessed; make one "
            "with: sluiceway token add NAME"
        )
    return hashlib.sha256(secret.encode()).digest()


def _time(value: object) -> float | None:
    """Seconds since the epoch of a date (its beginning) or a time, in UTC unless it says else."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise BadRequest(
                f"expires is a date or a time such as 2027-01-31T12:00Z, not {value!r}"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise BadRequest("expires is a date or a time such as 2027-01-31T12:00Z")
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _tables(text: str) -> list[tuple[str, str, Mapping[str, object]]]:
    try:
        parsed = tomllib.loads(text)
    except ValueError as error:
        raise BadSetting(f"it is not TOML: {error}") from None
    found: list[tuple[str, str, Mapping[str, object]]] = []
    for name, table in parsed.items():
        if not isinstance(table, dict):
            raise BadSetting(
                f"{name} is not a table; a token is [NAME] with secret, hash, rights …"
            )
        given = {key.replace("_", "-"): value for key, value in table.items()}
        found.append((f"[{name}]", name, given))
    return found


def _lines(text: str) -> Iterable[tuple[str, str, Mapping[str, object]]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"line {number}"
        if len(words) < 3:
            raise BadSetting(f"{where}: a line is NAME SECRET RIGHTS, and limits behind them")
        name, secret, rights, *limits = words
        is_hash = secret.startswith(("sha256:", "scrypt:"))
        table: dict[str, object] = {"hash" if is_hash else "secret": secret, "rights": rights}
        for limit in limits:
            key, equals, value = limit.partition("=")
            if not equals or key in table or key not in LIMITS:
                raise BadSetting(f"{where}: limits are {'=…, '.join(LIMITS)}=…, each once")
            table[key] = value
        yield where, name, table
