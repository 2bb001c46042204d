"""The bar on a terminal: what a Progress says, and 100 % for the stage "done" alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.cli.terminal_text import printable, say
from sluiceway.pipe.receipt import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["ProgressBar"]

MOST_PERCENT = 99  # the last one belongs to the destination's confirmation
MOST_NAME = 40  # columns

STAGE_TEXTS = {
    "connecting": "connecting",
    "sending": "sending",
    "waiting": "waiting for the response",
    "receiving": "receiving",
    "checking": "checking",
    "done": "done",
}


class ProgressBar:
    """A live line on standard error; `close` removes it, so that the receipt stands alone."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None
        self._name = ""

    def show(self, now: Progress) -> None:
        """One report of the transfer."""
        if now.stage in ("retrying", "resuming", "left-out"):
            self._line(f"sluiceway: {now.name}: {now.note}")
            return
        rich, task = self._open(now)
        total = now.total if now.total else None
        rich.update(
            task,
            description=_short(now.name),
            completed=_capped(now),
            total=total,
            stage=STAGE_TEXTS[now.stage],
            percent=_percent(now),
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._rich is not None:
            self._rich.stop()

    def _line(self, text: str) -> None:
        """Stays on the screen, above the bar."""
        if self._rich is None:
            say(text, err=True)
        else:
            from rich.text import Text

            self._rich.console.print(Text(text), soft_wrap=True)

    def _open(self, now: Progress) -> tuple[RichProgress, TaskID]:
        if self._rich is None:
            # Late: rich costs more start-up time than a small transfer, and only terminals need it.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.progress import Progress as RichProgress

            self._rich = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[percent]}"),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[stage]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._rich.start()
        if self._task is None or now.name != self._name:
            if self._task is not None:
                self._rich.remove_task(self._task)
            self._task = self._rich.add_task("", stage="", percent="", total=None)
            self._name = now.name
        return self._rich, self._task


def _percent(now: Progress) -> str:
    if now.stage == "done":
        return "100 %"
    if not now.total:
        return ""
    return f"{min(MOST_PERCENT, 100 * now.done // now.total)} %"


def _capped(now: Progress) -> int:
    """Bytes for the bar, which is never full before the end."""
    if now.stage == "done" or not now.total:
        return now.done
    return min(now.done, now.total * MOST_PERCENT // 100) if now.done >= now.total else now.done


def _short(name: str) -> str:
    """The end of the name; printable, because a file name must not move the cursor."""
    clean = printable(name)
    return clean if len(clean) <= MOST_NAME else "…" + clean[1 - MOST_NAME :]
