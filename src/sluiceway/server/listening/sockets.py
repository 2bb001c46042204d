"""Where a server listens: at an address of its own, or with the sockets that it was given.

Whoever opened them, no server without a token answers to other machines.
"""

from __future__ import annotations

import socket

from sluiceway.server.http1.connection_limit import ConnectionLimit
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting, is_loopback

__all__ = ["BACKLOG", "address_of", "bind", "check_given", "shown_address"]

BACKLOG = 2048  # connections


def bind(settings: Settings, replaces: bool = False) -> socket.socket:
    """Raises BadSetting."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        where = f"{settings.host} port {settings.port}"
        if replaces:
            raise BadSetting(
                f"Cannot take over {where}: {error.strerror}, and what listens there is no server "
                "of this user that hands its port over. It may be another program, a server of an "
                "earlier version, or one with another --host. Stop it first"
            ) from None
        raise BadSetting(
            f"Cannot listen on {where}: {error.strerror}. Use another --port (0 takes a free one), "
            "or --replace if it is a server that this one is to take over from"
        ) from None
    sock.listen(ConnectionLimit().backlog(BACKLOG))  # before the address is printed
    sock.set_inheritable(True)
    return sock


def address_of(settings: Settings) -> tuple[str, int]:
    """The address that `bind` would take. Raises BadSetting."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(settings.host, settings.port, family, socket.SOCK_STREAM)
    except OSError as error:
        raise BadSetting(f"--host {settings.host}: {error.strerror}") from None
    address: tuple[str, int] = found[0][4][:2]  # type: ignore[assignment]  # of IP, as asked
    return address


def check_given(settings: Settings, sockets: list[socket.socket]) -> None:
    """As for --host: without a token only this machine may be served. Raises BadSetting."""
    if settings.has_tokens or settings.no_auth:
        return
    for sock in sockets:
        host = str(sock.getsockname()[0])
        if not is_loopback(host):
            raise BadSetting(
                f"The socket that was given listens at {host}, where other machines reach it: give "
                "--token-file, or --no-auth if all of them may upload, read and delete"
            )


def shown_address(sock: socket.socket, scheme: str) -> str:
    """The URL that people open."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
