"""What a download is asked to do. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.client.retry import DEFAULT_POLICY, RetryPolicy
from sluiceway.pipe.hashes import DEFAULT_CHOICE, DigestChoice

__all__ = ["DownloadJob"]


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """One file to download.

    `target` is a path, a folder (the name comes from the server, cleaned) or "-".
    """

    url: str
    headers: Mapping[str, str]
    target: str
    name: str | None = None  # the file's name in a folder, instead of the server's
    force: bool = False  # replace an existing file
    retry_policy: RetryPolicy = DEFAULT_POLICY  # counts requests that brought nothing new
    rate: int | None = None  # bytes a second at most
    digests: DigestChoice = DEFAULT_CHOICE
    parallel: int = 1  # ranges of the file that are fetched at once
