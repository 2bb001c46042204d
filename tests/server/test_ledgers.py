"""Where no upload outlives its request, the log says why, and what to set; clients get words."""

from __future__ import annotations

from pathlib import Path

from fix_postgres import Database
from fix_server import Serve
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
