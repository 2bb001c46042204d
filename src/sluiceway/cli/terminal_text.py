"""Text for people: amounts of bytes, names that cannot steer a terminal, and the way it gets out.

The only file that writes to the standard streams. A stream that cannot be written (closed, a full
disk) ends a command in words; one that was closed at the start is no other file's number.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

__all__ = ["CannotPrint", "amount", "hold_streams", "is_terminal", "printable", "say"]

STDIN, STDOUT, STDERR = 0, 1, 2  # descriptors


class CannotPrint(click.ClickException):
    """Standard output cannot be written."""

    exit_code = 1

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")

    def show(self, file: object = None) -> None:
        say(f"sluiceway: {self.message}", err=True)


def say(text: str | bytes, *, err: bool = False, nl: bool = True) -> None:
    """Print a line, on standard error with `err`. Raises CannotPrint, and BrokenPipeError.

    That standard error cannot be written has nowhere to go: its lines are lost, and the exit code
    says the rest.
    """
    try:
        click.echo(text, err=err, nl=nl)
    except OSError as error:
        # What it has in its buffer goes nowhere, or Python would end with another error.
        with suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), STDERR if err else STDOUT)
        if err:
            return
        if isinstance(error, BrokenPipeError):  # as of `| head`: the reader has all it wants
            raise
        raise CannotPrint(error) from error


def is_terminal() -> bool:
    """Whether standard error is one. Python has none where it was closed at the start."""
    return sys.stderr is not None and sys.stderr.isatty()


def hold_streams() -> None:
    """Keep the numbers of closed standard streams: a socket that got one would be written to.

    Using them remains an error, as of a closed stream.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == STDIN else os.O_RDONLY)


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
