"""What the workers of a cluster get to know of a copy.

Values that travel. Nothing that may be secret is in a text that a log or a dashboard shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from sluiceway.copying.arguments.keywords import CopyAllKeywords

__all__ = ["TOPIC", "ClusterJob", "own_version", "worker_keywords"]

# Of the cluster's events; the same for all copies, so that the scheduler keeps one. Each event is a
# copy's id, a task's number, its bytes under way, and a note or "".
TOPIC = "sluiceway-copy"
# Keywords of `copy_all` that the client alone goes by.
CLIENT_ONLY = frozenset({"jobs", "journal", "include", "exclude", "engine", "scheduler"})


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A copy. URLs and options may hold passwords and tokens, so they are in no repr."""

    id: str  # random, of this run
    job_id: str  # of all runs with one journal
    find_first: bool  # whether the target may have some of the objects
    version: str  # of this package at the client
    source: str = field(repr=False)
    target: str = field(repr=False)
    keywords: dict[str, Any] = field(repr=False)


def worker_keywords(options: CopyAllKeywords) -> dict[str, Any]:
    """The options that a worker goes by."""
    return {name: value for name, value in options.items() if name not in CLIENT_ONLY}


def own_version() -> str:
    """Of this package in this process."""
    return version("sluiceway")
