"""What a draft and its store may offer besides, for code that looks at a draft before it publishes.

A framework's storage does: what validates a form reads the file. Protocols only.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["FileBackedDraft", "KeyFirst", "ReadableDraft", "TellsReplaced"]


@runtime_checkable
class ReadableDraft(Protocol):
    """A Draft whose bytes can be read before it is published."""

    async def read(self, start: int, size: int) -> bytes:
        """Read bytes of a draft that is complete: no `write` follows.

        Args:
            start: The offset of the first byte.
            size: The most bytes.

        Returns:
            At least one byte, unless the draft ends at `start` or before.

        Raises:
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...


@runtime_checkable
class FileBackedDraft(Protocol):
    """A Draft that is a regular file of this machine."""

    async def file_path(self) -> str:
        """The path of the file. The draft is complete, and the file has all of its bytes.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...


@runtime_checkable
class KeyFirst(Protocol):
    """A Store in which an upload under way holds its key, although no reader sees it there yet."""

    async def is_claimed(self, key: str) -> bool:
        """Whether an upload of any process, which has not ended, was begun under this key."""
        ...


class TellsReplaced(Protocol):
    """A Draft that knows what `publish` did. Every draft of a store with the trait is one."""

    @property
    def replaced(self) -> bool:
        """Whether `publish` replaced an object; False before."""
        ...
