"""What the doctor found: values alone, for text, JSON and tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sluiceway.client.doctor.hops import Hop

__all__ = ["Diagnosis", "DoctorReport", "Severity"]


class Severity(StrEnum):
    """How bad it is: uploads fail, uploads are slow or hard to resume, or worth to know only."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing on the way to the server.

    `code` is stable. `seen` is what the probe saw; `hop` probably causes it, `directive` is its
    setting, and `fix` the line to write there.
    """

    code: str
    severity: Severity
    seen: str
    hop: Hop
    directive: str
    fix: str

    def to_json(self) -> dict[str, str]:
        """The same by name."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "seen": self.seen,
            "hop": str(self.hop),
            "directive": self.directive,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All findings, and what could be seen.

    `hops` are those that were recognised, from the client on. `not_seen` are sentences about what
    could not be checked, and why. Not `is_whole`: the server was lost before the last probe.
    """

    url: str
    hops: tuple[Hop, ...]
    findings: tuple[Diagnosis, ...]
    not_seen: tuple[str, ...]
    is_whole: bool = True

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to repair; notes do not count."""
        return self.is_whole and all(finding.severity is Severity.NOTE for finding in self.findings)

    def to_json(self) -> dict[str, object]:
        """As one JSON object."""
        return {
            "url": self.url,
            "well": self.is_well,
            "whole": self.is_whole,
            "hops": [str(hop) for hop in self.hops],
            "findings": [finding.to_json() for finding in self.findings],
            "not_seen": list(self.not_seen),
        }
