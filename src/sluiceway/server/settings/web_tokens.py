"""Checks of the settings for tokens of an identity provider (JWT). Pure; loads no library for them.

The texts NAME=VALUE of the options become tables here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sluiceway.errors import BadRequest
from sluiceway.server.access.named_tokens import parse_rights
from sluiceway.server.settings.guarded import BadSetting, is_loopback
from sluiceway.server.settings.trusted import NOT_USERS
from sluiceway.uploads.access.grant import Right
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.urls import is_url, origin, parse_address

if TYPE_CHECKING:
    from sluiceway.server.settings.listed import SettingList

__all__ = ["algorithms", "check_key_url", "check_web_tokens", "claim_names", "roles"]

CLAIMS = ("name", "rights", "prefix", "max-size", "quota")
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ASYMMETRIC = (*RSA, "ES256", "ES384", "ES512", "ES256K", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")
MOST_LEEWAY = 600.0  # seconds; a clock that is further away belongs to be corrected


def check_web_tokens(settings: SettingList) -> None:
    """Raises BadSetting."""
    claim_names(settings)
    roles(settings)
    algorithms(settings)
    if not 0 <= settings.jwt_leeway <= MOST_LEEWAY:
        raise BadSetting(
            f"--jwt-leeway must be 0 to {MOST_LEEWAY:.0f} seconds, not {settings.jwt_leeway}"
        )
    header = settings.jwt_header
    if header is not None and (not TOKEN.fullmatch(header) or header.lower() in NOT_USERS):
        raise BadSetting(
            f"--jwt-header takes a name such as Cf-Access-Jwt-Assertion, not {header!r}; "
            "Authorization counts without it"
        )
    if settings.jwt_keys is None:
        if settings.jwt_audience or settings.jwt_issuer or header or settings.jwt_claim:
            raise BadSetting("options for tokens are given without --jwt-keys; give the keys, too")
        return
    if not settings.jwt_keys:
        raise BadSetting("--jwt-keys is set but empty; give a URL or a file")
    if not any(settings.jwt_audience) or not all(settings.jwt_audience):
        raise BadSetting(
            "--jwt-keys needs --jwt-audience, the name of this service in its tokens (aud): else "
            "a token for any other service of the issuer would open this one"
        )
    if is_url(settings.jwt_keys):
        try:
            check_key_url(settings.jwt_keys)
        except BadRequest as error:
            raise BadSetting(f"--jwt-keys: {error.detail}") from None


def check_key_url(url: str) -> None:
    """Raises BadRequest for a URL from which keys must not be fetched."""
    scheme, host, _ = origin(parse_address(url).url)
    if scheme != "https" and not is_loopback(host):
        raise BadRequest(
            "keys come by https, or by http from this machine: else the network could replace them"
        )


def claim_names(settings: SettingList) -> Mapping[str, str]:
    """What -> the claim that holds it. Raises BadSetting."""
    found = {"name": "sub"}
    for what, claim in _pairs(settings.jwt_claim, "--jwt-claim"):
        if what not in CLAIMS:
            raise BadSetting(f"--jwt-claim takes {'=…, '.join(CLAIMS)}=…, not {what!r}")
        found[what] = claim
    if settings.jwt_role and "rights" not in found:
        raise BadSetting(
            "--jwt-role says what the words of a claim mean; name the claim: --jwt-claim "
            "rights=CLAIM"
        )
    return found


def roles(settings: SettingList) -> Mapping[str, frozenset[Right]]:
    """A word of the claim with the rights -> those rights. Raises BadSetting."""
    found: dict[str, frozenset[Right]] = {}
    for word, rights in _pairs(settings.jwt_role, "--jwt-role"):
        try:
            found[word] = parse_rights(rights.split(","))
        except BadRequest as error:
            raise BadSetting(f"--jwt-role {word}: {error.detail}") from None
    return found


def algorithms(settings: SettingList) -> frozenset[str]:
    """The algorithms of signatures that count. Raises BadSetting."""
    known = (*ASYMMETRIC, *SYMMETRIC)
    for name in settings.jwt_algorithm:
        if name not in known:
            raise BadSetting(f"--jwt-algorithm takes {', '.join(known)}, not {name!r}")
    named = frozenset(settings.jwt_algorithm) or frozenset(ASYMMETRIC)
    if named & {*SYMMETRIC} and is_url(settings.jwt_keys or ""):
        raise BadSetting(
            "--jwt-algorithm HS… needs a secret in a file that only its owner reads, as --jwt-keys"
        )
    return named


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (name and equals and value) or name in found:
            raise BadSetting(f"{option} is NAME=VALUE, each name once, not {text!r}")
        found[name] = value
    return [*found.items()]
