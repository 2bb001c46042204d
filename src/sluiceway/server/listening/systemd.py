"""What systemd and other supervisors agree on with a server: sockets that they opened, and notes of
how it is (sd_listen_fds(3), sd_notify(3)).

Environment variables and a datagram; no library is needed. Does nothing where they are not set.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from sluiceway.server.settings.guarded import BadSetting
from sluiceway.wire.numbers import clipped_uint

__all__ = ["activated_sockets", "notify"]

FIRST = 3  # the descriptor of the first socket
MOST = 64


def activated_sockets() -> list[socket.socket]:
    """The listening sockets that this process was started with; none without them.

    Only this process gets them: the variables are removed. Raises BadSetting for other sockets.
    """
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()):
        return []  # they are another process's
    return [_adopt(FIRST + number) for number in range(clipped_uint(count, MOST) or 0)]


def notify(**words: str | int) -> None:
    """Send notes such as READY=1 to the supervisor that asked for them."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    text = "\n".join(f"{name}={value}" for name, value in words.items())
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(text.encode(), address)


def _adopt(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise BadSetting(f"Descriptor {descriptor} was given as a socket, and is none") from None
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    )
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not listens:
        sock.close()
        raise BadSetting(
            f"Descriptor {descriptor} is not a TCP socket that listens; give ListenStream=PORT or "
            "ADDRESS:PORT, with Accept=no"
        )
    return sock
