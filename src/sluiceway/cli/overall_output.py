"""What `sluiceway copy --recursive` prints: failures as they happen, a bar, a report; or JSON.

Computes nothing.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from sluiceway.cli.output import Printer
from sluiceway.cli.terminal_text import amount, is_terminal, printable, say

if TYPE_CHECKING:
    from rich.live import Live

    from sluiceway.copying.report import ObjectResult, Overall, Report

__all__ = ["OverallOutput", "overall_line", "report_line"]

REDRAW_EVERY = 0.1  # seconds
BAR_WIDTH = 24  # columns
# Left out by rule, and yet printed with --quiet: people have them, and a copy does not carry them.
NEVER_SILENT = frozenset({"link", "special-file"})
MOST_PERCENT = 99  # the last one belongs to the report


class OverallOutput(Printer):
    """For many objects. A block around the copy: the bar disappears at its end."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        super().__init__(as_json, quiet)
        self._live: Live | None = None
        self._drawn_at = 0.0
        self._report: Report | None = None

    def __enter__(self) -> None:
        if not self._json and not self._quiet and is_terminal():
            from rich.console import Console  # late: only terminals need it
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, now: Overall) -> None:
        """One report of the copy."""
        if now.report is not None:
            self._report = now.report
        if now.result is not None:
            self._print_result(now.result)
        if now.note and not self._json and self._live is not None:
            self._line(now.note)
        if self._live is not None and time.monotonic() - self._drawn_at >= REDRAW_EVERY:
            from rich.text import Text

            self._drawn_at = time.monotonic()
            self._live.update(
                Text(overall_line(now), overflow="ellipsis", no_wrap=True), refresh=True
            )

    def finish(self) -> None:
        """The final report, if there is one, on standard output."""
        if self._report is None:
            return
        if self._json:
            self._print(json.dumps({"report": self._report.as_dict()}))
        elif not self._quiet:
            self._print(report_line(self._report))

    def _print_result(self, result: ObjectResult) -> None:
        if result.code == "excluded":
            return  # asked for, perhaps a million times: the report has their number
        if self._json:
            self._print(json.dumps(result.as_dict()))
        elif result.state == "failed":
            tried = f", tried {result.attempts} times" if result.attempts else ""
            self._line(f"sluiceway: {result.key} failed ({result.code}{tried}): {result.detail}")
        elif result.state == "left-out" and (not self._quiet or result.code in NEVER_SILENT):
            self._line(f"sluiceway: {result.key} is left out: {result.detail}")
        elif result.state in ("would-copy", "would-replace") and not self._quiet:
            size = "" if result.size is None else f"  {amount(result.size)}"
            self._print(printable(f"{result.state.replace('-', ' ')}  {result.key}{size}"))

    def _line(self, text: str) -> None:
        """Stays on the screen, above the bar."""
        if self._live is None:
            say(printable(text), err=True)
        else:
            from rich.text import Text

            self._live.console.print(Text(printable(text)), soft_wrap=True)


def overall_line(now: Overall) -> str:
    """The bar. While the listing goes on, totals are lower bounds."""
    least = "" if now.listed else "at least "
    done = now.bytes + now.moving
    share = min(MOST_PERCENT, 100 * done // now.total_bytes) if now.total_bytes else 0
    full = BAR_WIDTH * share // 100
    bar = "━" * full + "·" * (BAR_WIDTH - full)
    percent = f" {share} %" if now.listed else ""
    left = now.seconds_left
    ends = f"  {least}{_clock(left)} left" if left is not None else ""
    failed = f"  {now.failed} failed" if now.failed else ""
    objects = f"{now.done} of {least}{now.total} objects"
    sizes = f"{amount(done)} of {least}{amount(now.total_bytes)}"
    return f"{objects}  {bar}{percent}  {sizes}  {amount(now.rate)}/s{ends}{failed}"


def report_line(report: Report) -> str:
    """The result in one line."""
    copied = "would be copied" if report.dry_run else "copied"
    parts = [
        f"{report.copied} {copied} ({amount(report.bytes)})",
        f"{report.skipped} there already",
        f"{report.failed} failed",
    ]
    if report.left_out:
        by_patterns = f" ({report.excluded} by the patterns)" if report.excluded else ""
        parts.append(f"{report.left_out} left out{by_patterns}")
    if not report.complete:
        parts.append("not finished")
    rate = f"  {amount(report.rate)}/s" if report.bytes and not report.dry_run else ""
    return f"{', '.join(parts)}  {report.seconds:.2f} s{rate}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
