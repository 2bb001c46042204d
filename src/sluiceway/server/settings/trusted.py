"""Checks of the settings for users whom a proxy in front has let in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.client.http.address_guard import parse_network
from sluiceway.errors import BadRequest
from sluiceway.server.access.named_tokens import parse_rights
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.names import stays_inside

if TYPE_CHECKING:
    from sluiceway.server.settings.listed import SettingList

__all__ = ["check_trusted_users"]

# what every proxy or browser may send with another meaning
NOT_USERS = {"authorization", "cookie", "host", "x-forwarded-for", "forwarded", "via", "origin"}


def check_trusted_users(settings: SettingList) -> None:
    """Raises BadSetting."""
    header, proxies = settings.trust_user_header, settings.trusted_proxies
    if bool(header) != bool(proxies):
        raise BadSetting(
            "--trust-user-header and --trusted-proxies go together: the name of a header, and the "
            "addresses of the proxies that may send it"
        )
    if header and (not TOKEN.fullmatch(header) or header.lower() in NOT_USERS):
        raise BadSetting(f"--trust-user-header takes a name such as X-Remote-User, not {header!r}")
    try:
        for proxy in proxies:
            if parse_network(proxy).prefixlen == 0:
                raise BadRequest("every address would be a proxy")
        parse_rights(settings.user_rights.split(","))
    except BadRequest as error:
        raise BadSetting(f"--trusted-proxies or --user-rights: {error.detail}") from None
    prefix = settings.user_prefix
    inside = stays_inside(prefix.removesuffix("/")) and prefix.isprintable()
    braces = prefix.replace("{user}", "")
    if prefix and not (prefix.endswith("/") and inside and not {"{", "}"} & {*braces}):
        raise BadSetting(
            "--user-prefix is a folder and ends in /, with {user} for the name: '{user}/', not "
            f"{prefix!r}"
        )
