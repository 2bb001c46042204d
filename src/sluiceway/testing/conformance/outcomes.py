"""How a case can end, other than well."""

from __future__ import annotations

__all__ = ["NoResponse", "NotOffered", "Violation"]


class Violation(Exception):
    """The server does not keep the rule; the text says what it did."""


class NotOffered(Exception):
    """The server does not announce what the case needs."""


class NoResponse(Exception):
    """The server closed the connection, stayed silent, or does not speak HTTP."""
