"""docs/limits.md and the code tell the same figures, and each bound has a test that exists."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest

from sluiceway.wire.sizes import parse_size

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "limits.md"
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1}


@dataclass(frozen=True)
class Row:
    """A line of the page."""

    what: str
    figure: str
    constant: str
    test: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0] not in ("what", "---"):
            found.append(Row(cells[0], cells[1], cells[4].strip("`"), cells[5].strip("`")))
    return found


ROWS = rows()


def value_of(place: str) -> float:
    """`module:CONSTANT`, or `module:Dataclass.field`, whose default counts. Sizes in text are read as settings are."""
    module, _, name = place.partition(":")
    found: object = importlib.import_module(f"sluiceway.{module}")
    owner, _, attribute = name.rpartition(".")
    if owner:
        kind = getattr(found, owner)
        assert isinstance(kind, type)
        assert is_dataclass(kind)
        (value,) = (field.default for field in fields(kind) if field.name == attribute)
        assert value is not MISSING
    else:
        value = getattr(found, name)
    if isinstance(value, str):
        return parse_size(value, place)
    assert isinstance(value, int | float)
    return value


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("row", [row for row in ROWS if row.constant], ids=lambda row: row.constant)
def test_the_figure_is_the_codes(row: Row) -> None:
    """Change both or none."""
    told = re.fullmatch(r"([0-9]+) ?([KMG]iB|B|s|)", row.figure)
    assert told, f"{row.figure!r} is no figure with one of {', '.join(UNITS)}"

    assert int(told[1]) * UNITS[told[2]] == value_of(row.constant), (
        f"{PAGE.name} has another figure for {row.constant}"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.constant or row.what)
def test_each_bound_is_proven_by_a_test_that_exists(row: Row) -> None:
    """`file::test`, found without running it."""
    path, _, name = row.test.partition("::")

    assert name in names_in(path), f"{row.what}: there is no {row.test}"


def test_the_page_is_read_at_all() -> None:
    """A change of its form must not let every row pass by being none."""
    assert len(ROWS) > 80
    assert len({row.constant for row in ROWS if row.constant}) == len(
        [row for row in ROWS if row.constant]
    )
