"""Text for a terminal: amounts of bytes, and names that cannot steer it."""

from __future__ import annotations

__all__ = ["amount", "printable"]


def amount(size: float) -> str:
    """Bytes for people."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def printable(text: str) -> str:
    """Names of files and texts of servers must not steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
