"""What the claims of a checked token mean: a name, its rights, its folder and its limits. Pure.

A claim that should hold the name, the rights or the folder and does not is not a permission. Words
that are not rights here give none: a provider's list has many that are not for us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from sluiceway.errors import BadRequest, Forbidden
from sluiceway.server.access.named_tokens import WORDS, check_name, parse_rights, token_limits
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.web_tokens import claim_names, roles
from sluiceway.uploads.access.grant import Grant, Right

__all__ = ["ClaimRules"]

MOST_WORDS = 1000  # of the claim with the rights; directories put people into hundreds of groups


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Which claim says what.

    Args:
        claims: "name", "rights", "prefix", "max-size", "quota" -> the claim.
        roles: A word of the claim with the rights -> those rights; empty: the words are rights.
        rights: Those of all, where no claim has them.
        prefix: The folder of each, with {user} for the name, below the folder of the claim.

    Example:
        ClaimRules({"name": "sub"}, {}, frozenset({Right.UPLOAD}), "").grant(claims)
    """

    claims: Mapping[str, str]
    roles: Mapping[str, frozenset[Right]]
    rights: frozenset[Right]
    prefix: str

    @classmethod
    def of(cls, settings: Settings) -> ClaimRules:
        """The rules of checked settings."""
        rights = parse_rights(settings.user_rights.split(","))
        return cls(claim_names(settings), roles(settings), rights, settings.user_prefix)

    def grant(self, claims: Mapping[str, object]) -> Grant:
        """What the token allows.

        Args:
            claims: Those of a token whose signature, times and audience have been checked.

        Returns:
            The grant, without its end.

        Raises:
            Forbidden: A claim is missing, or has a value that cannot be used.
        """
        try:
            name = self._name(claims)
            rights = self._rights(claims)
            if Right.ADMIN in rights:
                return Grant(name, rights)
            limits: dict[str, object] = {"prefix": self._prefix(claims, name)}
            for limit in ("max-size", "quota"):
                if (size := self._find(claims, limit)) is not None:
                    if isinstance(size, bool) or not isinstance(size, int | str):
                        raise BadRequest(f"{limit} is a number of bytes or text such as 10GiB")
                    limits[limit] = size
            return token_limits(name, rights, limits)
        except BadRequest as error:
            raise Forbidden(f"a token's claims cannot be used: {error.detail}").for_operator(
                "Your token is genuine, but this server cannot tell from it who you are or what "
                "you may do"
            ) from None

    def _name(self, claims: Mapping[str, object]) -> str:
        name = self._find(claims, "name")
        if not isinstance(name, str):
            raise BadRequest(f"the claim {self.claims['name']} with the name is missing")
        check_name(name)
        # OpenID Connect Core, section 5.7: an address that the provider did not check is anybody's.
        if self.claims["name"] == "email" and claims.get("email_verified", True) not in (
            True,
            "true",
        ):
            raise BadRequest("the address in the claim email is not verified")
        return name

    def _rights(self, claims: Mapping[str, object]) -> frozenset[Right]:
        if "rights" not in self.claims:
            return self.rights
        known = self.roles or WORDS
        found = (known[word] for word in _words(self._find(claims, "rights")) if word in known)
        return reduce(frozenset.union, found, frozenset[Right]())

    def _prefix(self, claims: Mapping[str, object], name: str) -> str:
        below = self.prefix.replace("{user}", name)
        if "prefix" not in self.claims:
            return below
        folder = self._find(claims, "prefix")
        if not isinstance(folder, str) or not folder.strip("/"):
            raise BadRequest(f"the claim {self.claims['prefix']} with the folder is missing")
        return folder.removesuffix("/") + "/" + below

    def _find(self, claims: Mapping[str, object], what: str) -> object:
        """The value of a claim; a name with dots may lead into objects: realm_access.roles."""
        name = self.claims.get(what)
        if name is None or name in claims:
            return None if name is None else claims[name]
        value: object = claims
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        return value


def _words(value: object) -> Iterable[str]:
    """Text with spaces or commas (RFC 8693's scope), or a list of texts."""
    if isinstance(value, str):
        return value.replace(",", " ").split()[:MOST_WORDS]
    if isinstance(value, list):
        return [word for word in value[:MOST_WORDS] if isinstance(word, str)]
    return []
