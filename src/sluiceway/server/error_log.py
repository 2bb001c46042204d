"""What the operator reads of an error that was answered: all of it, with the facts that its client was not told.

Errors of clients are in the access log alone, unless their answer left something out.
"""

from __future__ import annotations

import logging

from sluiceway.errors import SluiceError

__all__ = ["log_error"]

log: logging.Logger = logging.getLogger("sluiceway")


def log_error(error: SluiceError, method: str | None) -> None:
    """One warning, if there is something for the operator in it."""
    if error.fault != "client" or error.public is not None or error.private:
        log.warning("%s %s: %s", error.code, method or "-", error.for_log)
