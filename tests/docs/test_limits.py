"""docs/limits.md has the same figures as the code, and names a test that exists for each bound."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

from sluiceway.wire.sizes import parse_size

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "limits.md"
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1, "ms": 0.001}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

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
    """Returns the value of `module:CONSTANT`, or the default of `module:Dataclass.field`.

    A size in text ("64 MiB") is parsed as settings are.
    """
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


def test_the_figures_are_those_of_the_code() -> None:
    """A limit is changed in both places."""
    wrong = []
    for row in ROWS:
        figure = re.fullmatch(r"([0-9]+) ?([KMG]iB|B|m?s|)", row.figure)
        if not row.constant:
            continue
        if not figure:
            wrong.append(f"{row.what}: {row.figure!r} is no figure with a unit of {list(UNITS)}")
        elif int(figure[1]) * UNITS[figure[2]] != value_of(row.constant):
            wrong.append(f"{row.constant} is {value_of(row.constant)}, not {row.figure}")

    assert not wrong, "\n".join(wrong)


def test_each_bound_names_a_test_that_exists() -> None:
    """As `file::test`."""
    wrong = []
    for row in ROWS:
        path, _, name = row.test.partition("::")
        if not (ROOT / path).is_file() or name not in names_in(path):
            wrong.append(f"{row.what}: there is no {row.test}")

    assert not wrong, "\n".join(wrong)


def test_the_table_is_found() -> None:
    """A change of the page's form must not let every row pass."""
    assert len(ROWS) > 80
    constants = [row.constant for row in ROWS if row.constant]
    assert len(set(constants)) == len(constants)
