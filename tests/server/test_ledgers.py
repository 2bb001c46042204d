"""Where no upload outlives its request, the log says why, and what to set; clients get words."""

from __future__ import annotations

from pathlib import Path

import requests

from fix_postgres import Database
from fix_server import Serve
from fix_taking import eventually
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres.store import PostgresStore
from tus_by_hand import Tus, creation


async def test_without_a_ledger_the_log_says_what_to_set(
    database: Database, serve: Serve, tmp_path: Path
) -> None:
    """And a client that begins an upload learns that it cannot be resumed here."""
    table = database.fresh()
    place = f"{database.url}&table={table}"
    store = PostgresStore(place, Budget(16 << 20))
    await store.init()
    await store.aclose()
    for options, status in ([], 400), (["--state", str(tmp_path / "state")], 201):
        server = serve(*options, to=place)
        client = Tus(server.url)
        response = client.post(creation(5))
        assert response.status_code == status
        if status == 400:
            assert "send the whole file in one request" in response.json()["detail"]
        client.session.close()
        server.stop()
        assert ("give --state FOLDER or --ledger" in server.log()) == (status == 400)
    assert list((tmp_path / "state").glob("*/uploads.sqlite"))
    database.drop(table)


def test_a_server_whose_ledger_cannot_be_reached_is_not_ready(
    database: Database, serve: Serve
) -> None:
    """The destination is there, but no resumable upload would succeed."""
    role = database.fresh()
    database.rows(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}")
    try:
        url = database.url.replace("postgres:", f"{role}:") + f"&table={role}"
        server = serve("--ledger", url)
        for rights, status in ("LOGIN", 200), ("NOLOGIN", 503), ("LOGIN", 200):
            database.rows(f"ALTER ROLE {role} {rights}")
            probe_until(server.url, status)
        assert requests.get(f"{server.url}/healthz", timeout=10).status_code == 200
        server.stop()
    finally:
        database.rows(f"DROP OWNED BY {role}; DROP ROLE {role}")


def probe_until(url: str, status: int) -> None:
    eventually(lambda: requests.get(f"{url}/readyz", timeout=10).status_code == status)
