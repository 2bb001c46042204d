"""The verdicts of a run, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from sluiceway.testing.conformance.case import Case, Level
from sluiceway.testing.conformance.outcomes import NoResponse, NotOffered, Violation

__all__ = ["CaseVerdict", "Result", "judge", "summary", "table", "write_json"]


class CaseVerdict(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"


@dataclass(frozen=True, slots=True)
class Result:
    """A case's verdict in one dialect; `found` says what the server did."""

    dialect: str
    id: str
    rule: str
    reference: str
    level: Level
    verdict: CaseVerdict
    found: str = ""


def judge(case: Case, dialect: str, server: object) -> Result:
    """Run a case. A connection that fails is a verdict, too."""
    verdict, found = CaseVerdict.PASSED, ""
    try:
        case.run(server)
    except NotOffered as reason:
        verdict, found = CaseVerdict.NOT_OFFERED, str(reason)
    except (Violation, NoResponse, OSError, ValueError, KeyError) as error:
        kind = "" if isinstance(error, Violation | NoResponse) else f"{type(error).__name__}: "
        verdict, found = CaseVerdict.FAILED, f"{kind}{error}"
    return Result(dialect, case.id, case.rule, case.reference, case.level, verdict, found)


def table(results: Iterable[Result]) -> str:
    """One line a case; what failed has a second one."""
    lines = []
    for each in results:
        name = each.id if each.dialect == "tus" else f"{each.id} [{each.dialect}]"
        lines.append(f"{each.verdict:11}  {each.level:6}  {name:31}  {each.rule}")
        if each.verdict is CaseVerdict.FAILED:
            lines.append(f"{'':20} {each.found}  ({each.reference})")
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    counted = Counter((each.verdict, each.level) for each in results)
    failed = ", ".join(
        f"{counted[CaseVerdict.FAILED, level]} {level}"
        for level in Level
        if counted[CaseVerdict.FAILED, level]
    )
    by_verdict = Counter(each.verdict for each in results)
    passed, missing = by_verdict[CaseVerdict.PASSED], by_verdict[CaseVerdict.NOT_OFFERED]
    return f"{passed} passed, {failed or '0'} failed, {missing} not offered"


def write_json(results: Iterable[Result]) -> str:
    return json.dumps([asdict(each) for each in results], indent=2)
