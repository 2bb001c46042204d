"""What a hook is: something outside that gets an event and may say no. A URL or a command is one.

Values and one protocol. Knows no HTTP and no processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

__all__ = ["Hook", "HookCall", "HookResponse", "HookWhen"]


class HookWhen(StrEnum):
    """When a hook is called: the words of its option and of the metrics."""

    START = "on-start"  # before the first byte of a file is taken; may refuse it
    KEPT = "on-kept"  # all bytes are kept, and no reader can see the file yet; may refuse it
    FINISH = "on-finish"  # the file is published; in the background, at least once


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call.

    Args:
        id: That of the event, the same in each repetition of it.
        body: The event as JSON.
        path: The file on this machine, for a command; None where there is none to be read.
    """

    id: str
    body: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class HookResponse:
    """What came of one call.

    Args:
        outcome: "accepted"; "refused", by the hook's own decision; "failed", because it could not
            be asked, was too slow or did not make sense.
        words: For the client, why it is refused; "" for none.
        status: The HTTP status that the client is to get, 400 to 499; 0 leaves it to the server.
        why: For the log.
        wait: Seconds for which the hook wants to be left alone.
        is_final: The hook wants this event never again.
    """

    outcome: Literal["accepted", "refused", "failed"]
    words: str = ""
    status: int = 0
    why: str = ""
    wait: float = 0.0
    is_final: bool = False


class Hook(Protocol):
    """A URL or a command. `at_once` is how many calls of a process it takes at the same time."""

    at_once: int

    async def call(self, call: HookCall) -> HookResponse:
        """One try. Its caller bounds the time; a cancelled call leaves nothing behind."""
        ...

    async def aclose(self) -> None:
        """Close what `call` has opened."""
        ...
