"""The port of a server from its start to its end: where the sockets come from, when the server
before this one hears that it can leave, and when this one offers them to the next.

What is shared with the server before it, the memory of the progress table, comes with the port.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Sequence

from sluiceway.errors import SluiceError
from sluiceway.server.listening.handover import HandoverOffer, Takeover, can_hand_over
from sluiceway.server.listening.sockets import address_of, bind, check_given
from sluiceway.server.listening.successor import SUCCEEDS
from sluiceway.server.listening.systemd import activated_sockets, notify
from sluiceway.server.metrics.endpoint import serve_metrics
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.progress_memory import ProgressMemory
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.totals import Totals

__all__ = ["Port"]

log: logging.Logger = logging.getLogger("sluiceway")


class Port:
    """Taken at the start, before anything is opened; `open` when all else is ready."""

    sockets: list[socket.socket]
    is_activated: bool  # the supervisor opened it, and goes on holding it
    memory: ProgressMemory | None

    def __init__(self, settings: Settings) -> None:
        """Asks the running server, if this one is to take over from it. Raises BadSetting."""
        self._settings = settings
        self.sockets = activated_sockets()
        self.is_activated = bool(self.sockets)
        check_given(settings, self.sockets)
        self._takeover = self._ask_running_server()
        self.memory = self._find_memory()

    @property
    def is_taken_over(self) -> bool:
        """Whether another server has it until this one is ready."""
        return self._takeover is not None

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self.sockets[0].getsockname()[:2]
        return address

    def open_table(self) -> ProgressTable | None:
        """The progress table of a server that is one process. Raises SluiceError, OSError."""
        if self.memory is None:
            return None
        return self.memory.open(is_alone=self._takeover is None)

    def open(self) -> None:
        """Listen. Raises BadSetting."""
        if not self.sockets and self._takeover is not None:
            self.sockets = self._takeover.sockets
            check_given(self._settings, self.sockets)
        if not self.sockets:
            self.sockets = [bind(self._settings, self._settings.replace)]

    def serve(self, leave: Callable[[], None], read: Callable[[], Sequence[Totals]]) -> None:
        """This server accepts connections. The one before it leaves now; for the one after it,
        `leave` will be called. `read` is for metrics. Raises SluiceError."""
        if self._takeover is not None:
            self._takeover.finish()
            log.info("this server has taken over the port; the one before it ends its uploads")
        close_metrics = self._serve_metrics(read)

        def leave_port() -> None:
            log.info("another server has taken over the port; this one ends with its last upload")
            leave()
            close_metrics()

        HandoverOffer(self.sockets, self.memory, leave_port).start()
        # The supervisor that started the first server follows its successors, too.
        notify(MAINPID=os.getpid(), READY=1)

    def _serve_metrics(self, read: Callable[[], Sequence[Totals]]) -> Callable[[], None]:
        try:
            return serve_metrics(self._settings, read)
        except BadSetting as error:
            if self._takeover is None:
                raise
            log.error("%s", error)  # the port is ours already
            return lambda: None

    def _ask_running_server(self) -> Takeover | None:
        given = os.environ.pop(SUCCEEDS, None)
        if given is None and not self._settings.replace:
            return None
        if not can_hand_over():
            raise BadSetting("--replace: this system cannot hand over a port; stop the other first")
        if given is not None:
            host, port = json.loads(given)
        elif self.sockets:
            host, port = self.address
        else:
            host, port = address_of(self._settings)
        takeover = Takeover.begin((host, port))
        if takeover is None and given is not None:
            raise SluiceError("The server that started this one has ended; this one ends, too")
        return takeover

    def _find_memory(self) -> ProgressMemory | None:
        workers = self._settings.workers
        if self._takeover is not None and (found := self._takeover.memory) is not None:
            if found.has_room(workers):
                return found
            log.info("uploads of the running server cannot be watched at this one")
            os.close(found.descriptor)
        return ProgressMemory.make(workers)
