"""Users whom a proxy in front has let in: it names them in a header that only it may send.

From any other peer the header counts for nothing. The peer is the other end of the connection,
never an address that a header says.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from sluiceway.client.http.address_guard import Network
from sluiceway.errors import BadRequest, Forbidden
from sluiceway.server.access.named_tokens import check_name, parse_rights
from sluiceway.server.settings.checked import Settings
from sluiceway.uploads.access.grant import Grant

__all__ = ["TrustedUsers"]


class TrustedUsers:
    """What the users of a trusted proxy may do. The settings are checked."""

    def __init__(self, settings: Settings) -> None:
        self._header = (settings.trust_user_header or "").lower()
        self._proxies = settings.proxy_networks
        self._rights = parse_rights(settings.user_rights.split(","))
        self._prefix = settings.user_prefix

    def grant(self, request: Request, peer: str | None) -> Grant | None:
        """What the user of this request may do; None for a request that names none.

        Raises Forbidden where the proxy names several users, or one that cannot be a name.
        """
        if not self._header or not _is_inside(peer, self._proxies):
            return None
        users = request.headers.getlist(self._header)
        if not users:
            return None
        try:
            if len(users) > 1:
                raise BadRequest(f"there are {len(users)} of it: the proxy has to replace it")
            check_name(users[0])
        except BadRequest as error:
            raise Forbidden(f"{self._header}: {error.detail}").for_operator(
                "The proxy in front of this server names no user whom the server can know"
            ) from None
        return Grant(users[0], self._rights, self._prefix.replace("{user}", users[0]))


def _is_inside(peer: str | None, networks: tuple[Network, ...]) -> bool:
    """Whether the address of a peer is in one of the networks."""
    try:
        address: IPv4Address | IPv6Address = ip_address((peer or "").partition("%")[0])
    except ValueError:  # a local socket has none
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
