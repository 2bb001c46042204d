"""What listings and zips leave out, told to the operator: each name once, so that a page that lists anew fills no log.

Names come from a store's listing as people can read them; here they only reach the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sluiceway.stores.contract import FOLDER_MARKER, Omitted
from sluiceway.wire.names import readable_name

__all__ = ["Omissions", "missing"]

log: logging.Logger = logging.getLogger("sluiceway")

MOST_NAMED = 20  # names in one line of the log
MOST_REMEMBERED = (
    10_000  # names; beyond that they are forgotten, and told again when they are met again
)


class Omissions:
    """What was told already."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, omitted: Iterable[Omitted]) -> None:
        new = [one for one in omitted if missing(one) and one.name not in self._told]
        if not new:
            return
        if len(self._told) + len(new) > MOST_REMEMBERED:
            self._told.clear()
        self._told.update(one.name for one in new[:MOST_REMEMBERED])
        names = ", ".join(
            f'"{readable_name(one.name)}" ({readable_name(one.detail)})' for one in new[:MOST_NAMED]
        )
        more = f" and {len(new) - MOST_NAMED} more" if len(new) > MOST_NAMED else ""
        log.warning("listings and zips leave out %d: %s%s", len(new), names, more)


def missing(one: Omitted) -> bool:
    """Whether bytes are missing where it is left out; what a console makes to show a folder holds none."""
    return one.code != FOLDER_MARKER
