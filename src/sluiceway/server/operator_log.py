"""What the operator learns: errors that were answered, and names that listings omit.

Clients get only the part of an error that is meant for them. Errors of clients are in the access
log alone, unless their response left something out. An omitted name is logged once, so a page that
lists again and again fills no log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from starlette.types import Scope

from sluiceway.errors import SluiceError
from sluiceway.stores.contract import FOLDER_MARKER, Omitted
from sluiceway.wire.names import readable_name

__all__ = ["CODE", "Omissions", "answered_with", "log_error", "loses_data"]

log: logging.Logger = logging.getLogger("sluiceway")

# In a request's scope: the code of the error that it was answered with, for access log and metrics
CODE = "sluiceway.code"
MOST_NAMED = 20  # names in one line of the log
# names; when there are more, all are forgotten, and logged again when they are met again
MOST_REMEMBERED = 10_000


class Omissions:
    """Remembers which names were logged."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, omitted: Iterable[Omitted]) -> None:
        """One warning for the names that were not logged before, if there are any."""
        new = [one for one in omitted if loses_data(one) and one.name not in self._logged]
        if not new:
            return
        if len(self._logged) + len(new) > MOST_REMEMBERED:
            self._logged.clear()
        self._logged.update(one.name for one in new[:MOST_REMEMBERED])
        names = ", ".join(
            f'"{readable_name(one.name)}" ({readable_name(one.detail)})' for one in new[:MOST_NAMED]
        )
        more = f" and {len(new) - MOST_NAMED} more" if len(new) > MOST_NAMED else ""
        log.warning("listings and zips leave out %d: %s%s", len(new), names, more)


def loses_data(one: Omitted) -> bool:
    """Whether leaving it out loses bytes. The objects by which consoles show folders hold none."""
    return one.code != FOLDER_MARKER


def answered_with(scope: Scope, error: SluiceError) -> None:
    """Note the error that a request is answered with. Each response to an error passes here once,
    or through the app, which does the same."""
    scope[CODE] = error.code
    log_error(error, scope["method"])


def log_error(error: SluiceError, method: str | None) -> None:
    """One warning, if the error concerns the operator."""
    if error.fault != "client" or error.public is not None or error.private:
        log.warning("%s %s: %s", error.code, method or "-", error.for_log)
