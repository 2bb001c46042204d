"""What `sluiceway copy` says and where: receipts on standard output, unless that carries the data; else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click

from sluiceway.cli.exits import INTERRUPTED, exit_code

if TYPE_CHECKING:
    from sluiceway.copying.curl import CurlLine
    from sluiceway.errors import SluiceError
    from sluiceway.pipe.receipt import Progress, Receipt

__all__ = ["Output", "amount", "printable"]

LONG = 1.0  # seconds; whoever waited longer may want to know for what


class Output:
    """For people by default, for programs with `as_json`. Used as a block around the transfer: the bar is gone behind it."""

    def __init__(self, as_json: bool, quiet: bool, stdout_is_data: bool) -> None:
        self._json, self._quiet, self._to_stderr = as_json, quiet, stdout_is_data
        self._bar: Callable[[Progress], None] | None = None
        self._leave: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        if not self._json and not self._quiet and sys.stderr.isatty():
            from sluiceway.cli.progress_bar import Bar

            bar = Bar()
            self._bar, self._leave = bar.show, bar.close

    def __exit__(self, *_: object) -> None:
        self._leave()

    def show(self, now: Progress) -> None:
        if now.stage == "left-out" and self._bar is None:
            self._note(
                {"code": "left-out", "source": now.name, "detail": now.note},
                f"{now.name} is left out: {now.note}",
                always=True,
            )
        if self._bar is not None:
            self._bar(now)
        if now.receipt is not None and self._json:
            self._say(json.dumps(now.receipt.to_json()))

    def finish(self, receipt: Receipt) -> None:
        if not self._json and not self._quiet:
            self._say(_line(receipt))

    def curl(self, line: CurlLine) -> None:
        """A line to run, and beside it what it needs and what it does otherwise."""
        if self._json:
            self._say(
                json.dumps({"curl": line.text, "variables": line.variables, "notes": line.notes})
            )
            return
        click.echo(
            os.fsencode(line.text)
        )  # names of files are bytes; they must come out as they are
        if line.variables:
            self._note({}, f"the line reads {', '.join(line.variables)}; export them first")
        for note in line.notes:
            self._note({}, note)

    def fail(self, error: SluiceError) -> NoReturn:
        code = exit_code(error)
        sent = error.members.get("sent")
        already = f" ({sent} files before it were sent)" if sent else ""
        facts = {"code": error.code, "exit": code, "detail": error.detail, **error.members}
        self._note(facts, f"{error.detail}{already}", always=True)
        sys.exit(code)

    def interrupted(self) -> NoReturn:
        self._note(
            {"code": "interrupted", "exit": INTERRUPTED, "detail": "interrupted"},
            "interrupted",
            always=True,
        )
        sys.exit(INTERRUPTED)

    def _note(self, facts: dict[str, object], text: str, always: bool = False) -> None:
        if self._json:
            click.echo(json.dumps(facts, default=str), err=True)
        elif always or not self._quiet:
            click.echo(f"sluiceway: {printable(text)}", err=True)

    def _say(self, text: str) -> None:
        click.echo(text, err=self._to_stderr)


def _line(receipt: Receipt) -> str:
    speed = receipt.size / receipt.seconds if receipt.seconds > 0 else 0.0
    what = (
        f"{len(receipt.parts)} files  {amount(receipt.size)}"
        if receipt.parts
        else amount(receipt.size)
    )
    digest = f"  sha-256 {receipt.sha256}" if receipt.sha256 else ""
    verdict = f"  {receipt.verdict}" if receipt.seconds > LONG and receipt.verdict else ""
    return printable(
        f"{receipt.location}  {what}{digest}  {receipt.seconds:.2f} s  {amount(speed)}/s{verdict}"
    )


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
    """File names and servers' words must not steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
