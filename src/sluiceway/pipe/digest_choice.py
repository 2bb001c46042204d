"""Which digests of a file are counted: the value of `--digest`, of a server and of a copy.

What a sender promises is always counted and checked. Knows no headers, stores or settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sluiceway.errors import BadRequest
from sluiceway.pipe.hashes import CHOICES, CRC64NVME, SHA256, is_available, new_hash

__all__ = ["DEFAULT_CHOICE", "DIGEST_HELP", "DigestChoice"]

DIGEST_HELP = (
    f"{', '.join(CHOICES[:-1])} or {CHOICES[-1]}, several with commas; auto: {SHA256} where the "
    f"client or the destination asks for it, else {CRC64NVME} if it is installed; or none."
)


@dataclass(frozen=True, slots=True)
class DigestChoice:
    """The algorithms to count for every file; `is_auto`: those that somebody asks for.

    Example:
        DigestChoice.parse("auto").to_count(asked=["sha-256"])
    """

    algorithms: tuple[str, ...] = (SHA256,)
    is_auto: bool = False

    @classmethod
    def parse(cls, text: str) -> DigestChoice:
        """Read the value of the option.

        Raises BadRequest for an unknown name, and for a library that is not installed, with the
        extra that installs it.
        """
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if names == ("none",):
            return cls(())
        if names == ("auto",):
            is_available(CRC64NVME)  # loads the library now, and not at the first upload
            return cls((), is_auto=True)
        if not names or any(name not in CHOICES for name in names):
            raise BadRequest(f"--digest must be {', '.join(CHOICES)}, auto or none, not {text!r}")
        for name in names:
            new_hash(name)
        return cls(names)

    def to_count(self, promised: Iterable[str] = (), asked: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the algorithms to count for one file.

        `promised`: of digests that the bytes must have. `asked`: what the client or the destination
        asks for; only `auto` heeds it, as far as it is installed.
        """
        promised = tuple(promised)
        if not self.is_auto:
            return tuple(dict.fromkeys((*promised, *self.algorithms)))
        names = (*promised, *filter(is_available, asked))
        if not any(name in CHOICES for name in names) and is_available(CRC64NVME):
            names = (*names, CRC64NVME)
        return tuple(dict.fromkeys(names))


DEFAULT_CHOICE = DigestChoice()
