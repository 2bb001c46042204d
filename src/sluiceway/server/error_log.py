"""Logs the errors that were answered, with all details; clients get only the part meant for them.

Errors of clients are in the access log alone, unless their response left something out.
"""

from __future__ import annotations

import logging

from sluiceway.errors import SluiceError

__all__ = ["log_error"]

log: logging.Logger = logging.getLogger("sluiceway")


def log_error(error: SluiceError, method: str | None) -> None:
    """One warning, if the error concerns the operator."""
    if error.fault != "client" or error.public is not None or error.private:
        log.warning("%s %s: %s", error.code, method or "-", error.for_log)
