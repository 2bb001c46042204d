"""What `sluiceway copy` prints: receipts on standard output, unless that carries the data.

`Printer` is what a copy of one object and of many share; the bars are elsewhere. Computes nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from sluiceway.cli.exits import INTERRUPTED, UNPRINTED, exit_code
from sluiceway.cli.terminal_text import CannotPrint, amount, is_terminal, printable, say

if TYPE_CHECKING:
    from sluiceway.copying.curl import CurlLine
    from sluiceway.errors import SluiceError
    from sluiceway.pipe.receipt import Progress, Receipt

__all__ = ["Output", "Printer"]

LONG_COPY = 1.0  # seconds from which on the receipt says where the time went


class Printer:
    """Text for people by default, JSON lines for programs."""

    def __init__(self, as_json: bool, quiet: bool, stdout_is_data: bool = False) -> None:
        self._json, self._quiet, self._to_stderr = as_json, quiet, stdout_is_data
        self._unprinted = False

    def fail(self, error: SluiceError) -> NoReturn:
        """Prints the error and exits with its code."""
        code = exit_code(error)
        sent = error.members.get("sent")
        already = f" ({sent} files before it were sent)" if sent else ""
        facts = {"code": error.code, "exit": code, "detail": error.detail, **error.members}
        self._note(facts, f"{error.detail}{already}", always=True)
        sys.exit(code)

    def interrupted(self) -> NoReturn:
        """Exits as after SIGINT."""
        facts = {"code": "interrupted", "exit": INTERRUPTED, "detail": "interrupted"}
        self._note(facts, "interrupted", always=True)
        sys.exit(INTERRUPTED)

    def left_out(self, name: str, code: str, detail: str) -> None:
        """One of many that is missing from what is printed, or could not be deleted."""
        facts: dict[str, object] = {"key": name, "code": code, "detail": detail}
        self._note(facts, f"{name}: {detail}", always=True)

    def _note(self, facts: dict[str, object], text: str, always: bool = False) -> None:
        """On standard error."""
        if self._json:
            say(json.dumps(facts, default=str), err=True)
        elif always or not self._quiet:
            say(f"sluiceway: {printable(text)}", err=True)

    def _print(self, text: str | bytes) -> None:
        """On standard output. That it cannot be written ends no transfer; it is said once."""
        try:
            say(text, err=self._to_stderr)
        except (CannotPrint, BrokenPipeError) as error:
            self._unprinted = True
            detail = error.message if isinstance(error, CannotPrint) else "the reader has left"
            facts: dict[str, object] = {"code": "unprinted", "exit": UNPRINTED, "detail": detail}
            self._note(facts, detail, always=True)

    def check_printed(self) -> None:
        """Called after success. Exits with its own code if something could not be printed."""
        if self._unprinted:
            sys.exit(UNPRINTED)


class Output(Printer):
    """For one object. A block around the transfer: the bar disappears at its end."""

    def __init__(self, as_json: bool, quiet: bool, stdout_is_data: bool) -> None:
        super().__init__(as_json, quiet, stdout_is_data)
        self._bar: Callable[[Progress], None] | None = None
        self._close_bar: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        if not self._json and not self._quiet and is_terminal():
            from sluiceway.cli.progress_bar import ProgressBar

            bar = ProgressBar()
            self._bar, self._close_bar = bar.show, bar.close

    def __exit__(self, *_: object) -> None:
        self._close_bar()

    def show(self, now: Progress) -> None:
        """One report of the transfer."""
        if now.stage == "left-out" and self._bar is None:
            self._note(
                {"code": "left-out", "source": now.name, "detail": now.note},
                f"{now.name} is left out: {now.note}",
                always=True,
            )
        if now.stage == "resuming" and self._bar is None:
            self._note(
                {"code": "resuming", "source": now.name, "detail": now.note},
                f"{now.name}: {now.note}",
            )
        if self._bar is not None:
            self._bar(now)
        if now.receipt is not None and self._json:
            self._print(json.dumps(now.receipt.to_json()))

    def finish(self, receipt: Receipt) -> None:
        """The receipt in one line; in JSON `show` printed it."""
        if not self._json and not self._quiet:
            self._print(_receipt_line(receipt))

    def curl(self, line: CurlLine) -> None:
        """A line to run; beside it the variables it reads, and how it differs from a copy."""
        if self._json:
            self._print(
                json.dumps({"curl": line.text, "variables": line.variables, "notes": line.notes})
            )
            return
        # As bytes: file names must come out as they are.
        self._print(os.fsencode(line.text))
        if line.variables:
            self._note({}, f"the line reads {', '.join(line.variables)}; export them first")
        for note in line.notes:
            self._note({}, note)


def _receipt_line(receipt: Receipt) -> str:
    speed = receipt.size / receipt.seconds if receipt.seconds > 0 else 0.0
    files = f"{len(receipt.parts)} files  " if receipt.parts else ""
    digest = "".join(f"  {name} {digits}" for name, digits in receipt.digests)
    verdict = f"  {receipt.verdict}" if receipt.seconds > LONG_COPY and receipt.verdict else ""
    return printable(
        f"{receipt.location}  {files}{amount(receipt.size)}{digest}  {receipt.seconds:.2f} s  "
        f"{amount(speed)}/s{verdict}"
    )
