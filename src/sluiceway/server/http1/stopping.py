"""How a server stops, as its connections and event streams see it.

The server writes it once, before it asks the connections to end; all others only read. Where
another process goes on at the same port, no connection is closed that may bring a request.
"""

from __future__ import annotations

import select
from dataclasses import dataclass
from typing import Any

from sluiceway.server.http1.limits import ANSWER, BODY, HEAD, IDLE, LENT, UPGRADE

__all__ = ["STOPPING", "Stopping", "close_after", "close_idle", "leave"]

# In the lifespan's state, and so in each request's scope: a Stopping.
STOPPING = "sluiceway.stopping"
UNDER_WAY = {UPGRADE, BODY, LENT, ANSWER}


@dataclass(slots=True)
class Stopping:
    """`port_stays`: other processes accept connections at the port. `idle_for`: seconds for which
    a connection without a request stays open then."""

    begun: bool = False
    port_stays: bool = False
    idle_for: float = 0.0


def leave(connection: Any) -> bool:
    """Whether a SluiceProtocol ends by itself: by its next response, which says so, or when it was
    idle for long enough. Else it is to be closed now.

    A client may be sending its next request on an idle connection, and would not know whether that
    was heard (RFC 9112 9.3.1): an upload would be lost.
    """
    stopping: Stopping | None = connection.app_state.get(STOPPING)
    if stopping is None:
        return False
    stopping.begun = True
    state, cycle = connection._limits.state, connection.cycle
    if not stopping.port_stays:
        # What the kernel has of a request would be thrown away, and the connection reset.
        return state is IDLE and _is_readable(connection)
    if state in UNDER_WAY and not cycle.response_started:
        cycle.keep_alive = False
    elif state is IDLE:
        connection._unset_keepalive_if_required()
        close_after(connection, stopping.idle_for)
    return True


def close_after(connection: Any, seconds: float) -> None:
    """Close a connection that stays idle for so long; the next request stops the timer."""
    connection.timeout_keep_alive_task = connection.loop.call_later(
        seconds, connection.timeout_keep_alive_handler
    )


def close_idle(connection: Any) -> None:
    """A connection was idle for long enough; but a request may have come in this very moment."""
    if connection._limits.state is not HEAD and not _is_readable(connection):
        connection.transport.close()


def _is_readable(connection: Any) -> bool:
    if connection.transport.is_closing() or not hasattr(select, "poll"):  # not on Windows
        return False
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
