"""A lent connection fills the rows of databases, handed back at random bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_server import start_server
from fix_taking import noise
from lent_ways import RANDOM, lent_bytes, lent_env


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_rows_are_filled_from_the_connection(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place, table = f"sqlite:///{tmp_path}/files.db?table=files", ""
    if kind == "postgres":
        database: Database = request.getfixturevalue("database")
        table = database.fresh()
        place = f"{database.url}&table={table}"
        words = [sys.executable, "-m", "sluiceway", "init", place]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
    server = start_server(tmp_path / "root", env=lent_env(tmp_path, RANDOM), to=place)
    try:
        for size in (70_000, 15_000_001):
            body = noise(size)
            response = requests.put(f"{server.url}/files/k{size}", data=body, timeout=60)
            assert response.status_code == 201, response.text
            digest = hashlib.sha256(body).hexdigest()
            assert response.json()["files"][0]["sha-256"] == digest
            stored = requests.get(f"{server.url}/files/k{size}", timeout=60).content
            assert hashlib.sha256(stored).hexdigest() == digest
        assert sum(lent_bytes(server)) > 7_000_000
    finally:
        server.stop()
        if table:
            database.drop(table)
