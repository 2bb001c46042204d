"""Which addresses a URL from a client may lead to: public ones, by a table of our own.

The check is on the number that is about to be connected to; names, redirects and odd spellings are
resolved by then. `ipaddress` only parses: its is_global takes NAT64, 6to4, multicast and others for
public (Python 3.11.7, CVE-2024-4032).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sluiceway.errors import BadRequest, Forbidden

__all__ = ["AddressGuard", "Network", "parse_network", "refused_address"]

log: logging.Logger = logging.getLogger("sluiceway.guard")

# IANA's special-purpose registries (RFC 6890), and ranges that never hold a file server.
# The first match gives the reason.
_V4 = [
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a provider's customers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "an old 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
]
_V6 = [
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "an IPv4 address in a form that was given up"),
    ("::ffff:0:0:0/96", "an IPv4 address for a translator"),
    ("64:ff9b:1::/48", "a translator of this network"),
    ("100::/64", "discarded"),
    ("100:0:0:1::/64", "a dummy"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "for protocols"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "for segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
]
# all that was ever assigned as global unicast (RFC 4291, IANA)
PUBLIC_V6 = IPv6Network("2000::/3")

SPECIAL_V4 = [(IPv4Network(network), what) for network, what in _V4]
SPECIAL_V6 = [(IPv6Network(network), what) for network, what in _V6]

# Services that hand a machine its keys. One of them is public in every table, the others lie in
# ranges that an operator may allow.
METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # AWS ECS tasks
        "169.254.170.23",  # AWS EKS pods
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS pods
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host
        "192.0.0.192",  # Oracle
    )
)

MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
# the upper half of its interface identifiers (RFC 5214 6.1)
ISATAP = frozenset([0x0000_5EFE, 0x0200_5EFE])

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_network(text: str) -> Network:
    """Parse an address or a network, such as 10.1.0.0/16 or fd12::/64. Raises BadRequest."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadRequest(f"This is not a network such as 10.1.0.0/16: {error}") from None


def refused_address(why: str) -> Forbidden:
    """The error for every reason alike.

    A client that could tell the reasons apart could list the names of the network behind the
    server.
    """
    return Forbidden(why).for_operator(
        "This server does not fetch from there: the host is unknown, or its address is not public"
    )


class AddressGuard:
    """A Transport's guard: raises Forbidden for an address that is not public.

    `internal` names networks, as text, that are allowed as well. A metadata service is allowed only
    by a network of exactly its address: 169.254.0.0/16 does not mean it.
    """

    def __init__(self, internal: Iterable[str] = ()) -> None:
        self._internal = [parse_network(text) for text in internal]

    def __call__(self, address: str, port: int) -> None:
        try:
            # A zone (%) names a link, not an address.
            why = self._forbidden(ip_address(address.partition("%")[0]))
        except ValueError:
            why = "no internet address"
        if why is not None:
            # The address is for the log only: the client does not learn it.
            log.warning("did not connect to %s port %d: %s", address, port, why)
            raise refused_address(
                f"The URL leads to an address that is not public ({why}). "
                "To fetch from there, allow it with --fetch-internal"
            )

    def _forbidden(self, address: Address) -> str | None:
        """Why an address must not be connected to; None when it may be."""
        inner = list(_inside(address)) if isinstance(address, IPv6Address) else []
        for form, v4 in inner:
            why = self._forbidden(v4)
            if why is not None:
                return f"{why}, as {form}"
        if self._allowed(address):
            return None
        if address in METADATA:
            return "a cloud's metadata service"
        if isinstance(address, IPv4Address):
            return next((what for network, what in SPECIAL_V4 if address in network), None)
        if address in MAPPED or address in NAT64:
            return None  # only the IPv4 address counts, and it was checked above
        outside = None if address in PUBLIC_V6 else "not assigned"
        return next((what for network, what in SPECIAL_V6 if address in network), outside)

    def _allowed(self, address: Address) -> bool:
        for network in self._internal:
            if address.version == network.version and address in network:
                return network.num_addresses == 1 or address not in METADATA
        return False


def _inside(address: IPv6Address) -> Iterator[tuple[str, IPv4Address]]:
    """Yield the IPv4 addresses that packets to this one may reach, each with the form it has."""
    bits = int.from_bytes(address.packed)
    low = IPv4Address(bits & 0xFFFF_FFFF)
    if address in MAPPED:
        yield "IPv6", low
    elif address in NAT64 or address in NAT64_LOCAL:
        yield "NAT64", low
    elif address in SIX_TO_FOUR:
        yield "6to4", IPv4Address(bits >> 80 & 0xFFFF_FFFF)
    elif address in TEREDO:
        yield "a Teredo server", IPv4Address(bits >> 64 & 0xFFFF_FFFF)
        yield "Teredo", IPv4Address(~bits & 0xFFFF_FFFF)
    if bits >> 32 & 0xFFFF_FFFF in ISATAP:
        yield "ISATAP", low
