"""A port goes from a running server to its successor, and no connection notices.

The successor gets the listening socket itself (SCM_RIGHTS), so what waits in its queue waits on;
with SO_REUSEPORT the kernel would reset the queue of the socket that closes. The two meet at a name
in Linux's abstract namespace, which is seen exactly where the port is seen and ends with its
process. Each asks the kernel for the other's user.
"""

from __future__ import annotations

import array
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sluiceway.errors import SluiceError
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.progress_memory import ProgressMemory

__all__ = ["HandoverOffer", "Takeover", "can_hand_over"]

log: logging.Logger = logging.getLogger("sluiceway")

PROTOCOL = 1  # of the messages below; raise it when a server of the one cannot follow the other
MOST_MESSAGE = 64 << 10  # bytes
MOST_DESCRIPTORS = 128
ANSWER_TIMEOUT = 10.0  # seconds until the running server has shown its sockets
RETRY_AFTER = 1.0  # seconds from a moment without a free descriptor to the next look
START_TIMEOUT = 120.0  # seconds that a successor may take until it is ready
READY, LEAVING, LATE = b"ready", b"leaving", b"late"


def can_hand_over() -> bool:
    """Whether this system has what it takes: Linux."""
    return hasattr(socket, "SO_PEERCRED") and hasattr(socket, "SOCK_SEQPACKET")


class HandoverOffer:
    """Waits for a successor, in a thread. `leave` is called once, when one is ready."""

    def __init__(
        self,
        sockets: list[socket.socket],
        memory: ProgressMemory | None,
        leave: Callable[[], None],
    ) -> None:
        self._sockets, self._memory, self._leave = sockets, memory, leave
        self.address: tuple[str, int] = sockets[0].getsockname()[:2]

    def start(self) -> None:
        """Logs a warning where no successor could reach this server."""
        if not can_hand_over():
            return
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            waiting.bind(_name(self.address))
            waiting.listen(4)
        except OSError as error:
            waiting.close()
            log.warning("no other server can take over this port: %s", error.strerror)
            return
        threading.Thread(target=self._run, args=(waiting,), daemon=True).start()

    def _run(self, waiting: socket.socket) -> None:
        with waiting:
            while True:
                try:
                    peer, _ = waiting.accept()
                except OSError as error:  # no descriptor is free, say
                    log.warning("a successor cannot be heard now: %s", error.strerror)
                    time.sleep(RETRY_AFTER)
                    continue
                with peer, suppress(OSError):
                    if _user_of(peer) != os.geteuid():
                        log.warning("a process of another user asked for this port; refused")
                    elif self._offer(peer):
                        waiting.close()  # the successor takes the name
                        self._leave()
                        peer.send(LEAVING)
                        return

    def _offer(self, peer: socket.socket) -> bool:
        """Whether the successor is ready. Until it says so, nothing changes here."""
        memory = self._memory
        hello: dict[str, object] = {"protocol": PROTOCOL, "sockets": len(self._sockets)}
        files = [sock.fileno() for sock in self._sockets]
        if memory is not None:
            hello |= {"parts": memory.parts, "slots": memory.slots, "layout": memory.layout}
            files.append(memory.descriptor)
        peer.settimeout(ANSWER_TIMEOUT)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
        peer.sendmsg([json.dumps(hello).encode()], [rights])
        peer.settimeout(START_TIMEOUT)
        try:
            return peer.recv(MOST_MESSAGE) == READY
        except TimeoutError:
            log.warning("another server wanted to take over, and was not ready in time")
            peer.send(LATE)
            return False


class Takeover:
    """The other side: what the running server has handed over.

    It goes on until `finish` says that this one is ready. If this one ends before, nothing has
    happened.
    """

    def __init__(
        self, peer: socket.socket, sockets: list[socket.socket], memory: ProgressMemory | None
    ) -> None:
        self._peer = peer
        self.sockets: list[socket.socket] = sockets
        self.memory: ProgressMemory | None = memory

    @classmethod
    def begin(cls, address: tuple[str, int]) -> Takeover | None:
        """Ask the server at an address. None where no server offers that one. Raises BadSetting."""
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.settimeout(ANSWER_TIMEOUT)
        try:
            peer.connect(_name(address))
        except ConnectionRefusedError:
            peer.close()
            return None
        try:
            return cls._greet(peer)
        except OSError:
            peer.close()
            raise BadSetting(
                "--replace: the running server does not answer; another one may be taking over "
                "from it now. Try again when that one runs"
            ) from None
        except BaseException:
            peer.close()
            raise

    @classmethod
    def _greet(cls, peer: socket.socket) -> Takeover:
        if _user_of(peer) != os.geteuid():
            raise BadSetting("--replace: the running server belongs to another user; run as it")
        head, files, _, _ = socket.recv_fds(peer, MOST_MESSAGE, MOST_DESCRIPTORS)
        if not head:
            raise ConnectionResetError
        for file in files:
            os.set_inheritable(file, False)
        hello = _parse(head)
        if hello.get("protocol") != PROTOCOL:
            raise BadSetting(
                "--replace: the running server is of a version that hands its port over in another "
                "way. Stop it, then start this one"
            )
        count = hello["sockets"]
        sockets = [socket.socket(fileno=file) for file in files[:count]]
        memory = None
        if len(files) > count:
            parts, slots, layout = hello["parts"], hello["slots"], hello["layout"]
            memory = ProgressMemory.adopt(files[count], parts, slots, layout)
        peer.settimeout(START_TIMEOUT)
        return cls(peer, sockets, memory)

    def finish(self) -> None:
        """This server is ready: the other one takes no more connections from now on.

        Raises SluiceError when that one has waited too long, and goes on.
        """
        with self._peer:
            with suppress(ConnectionError):  # it has left, perhaps with a word
                self._peer.send(READY)
            try:
                answer = self._peer.recv(MOST_MESSAGE)
            except (ConnectionError, TimeoutError):
                answer = b""
        if answer == LATE:
            raise SluiceError("This server was not ready in time; the other one goes on")
        if answer != LEAVING:
            log.warning("the server that was to be replaced has died; this one serves")


def _parse(head: bytes) -> Mapping[str, Any]:
    try:
        hello = json.loads(head)
    except ValueError:
        return {}
    return hello if isinstance(hello, dict) else {}


def _name(address: tuple[str, int]) -> str:
    host, port = address
    return f"\0sluiceway-{os.geteuid()}-{host}-{port}"


def _user_of(peer: socket.socket) -> int:
    """Who is at the other end, as the kernel knows it: unix(7)."""
    packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    credentials: tuple[int, int, int] = struct.unpack("3i", packed)
    return credentials[1]
