"""Puts a run's tables into a page of the documents: one marked block a processor and group.

A block of the same processor and group is replaced, so each page keeps the runs of each processor
met. It measures nothing.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

__all__ = ["block", "publish"]

HEADING = "## Runs"
WIDTH = 100
FACTS = ("commit", "kernel", "memory", "disk", "load before", "python", "uvicorn", "uvloop",
         "starlette", "aiohttp", "Flask", "gunicorn", "nginx", "curl", "rclone")  # fmt: skip


def block(group: str, table: str, facts: Mapping[str, str], words: Sequence[str]) -> str:
    """One group's table with a line on where and how it was measured."""
    told = [f"{name} {facts[name]}" for name in FACTS if facts.get(name)]
    paragraph = f"`{group}`: {'; '.join([*words, *told])}."
    return f"{textwrap.fill(paragraph, WIDTH, break_on_hyphens=False)}\n\n{table.strip()}\n"


def publish(page: str, processor: str, group: str, text: str) -> str:
    """The page with `text` as the block of this processor and group.

    A new block goes to the end of its processor's section; a new processor gets a section at the
    end of the part `## Runs`, which is added to a page without one.
    """
    begin, end = f"<!-- bench: {processor}; {group} -->", "<!-- end -->"
    whole = f"{begin}\n{text.strip()}\n{end}\n"
    known = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if known.search(page):
        return known.sub(lambda _: whole, page, count=1)
    if not re.search(rf"^{HEADING}$", page, re.MULTILINE):
        page = f"{page.rstrip()}\n\n{HEADING}\n"
    part = page.index(f"{HEADING}\n")
    section = f"### {processor}\n"
    at = page.find(section, part)
    if at < 0:
        return _insert(page, _next(page, part + len(HEADING), "## "), f"{section}\n{whole}")
    return _insert(page, _next(page, at + len(section), "## ", "### "), whole)


def _next(page: str, start: int, *headings: str) -> int:
    """Where the next of these headings begins; the page's end without one."""
    found = (page.find(f"\n{heading}", start) for heading in headings)
    return min((at + 1 for at in found if at >= 0), default=len(page))


def _insert(page: str, at: int, text: str) -> str:
    before, after = page[:at].rstrip(), page[at:]
    return f"{before}\n\n{text}" + (f"\n{after}" if after else "")
