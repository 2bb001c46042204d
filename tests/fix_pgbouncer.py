"""Fixture `bouncer`: a real PgBouncer before the database, in transaction mode.

Two statements may go to two sessions of PostgreSQL; code that relies on one session fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from fix_postgres import Database
from fix_taking import need
from free_ports import free_port

__all__ = ["bouncer"]

START_TIMEOUT = 60.0  # seconds
CONFIG = """
[databases]
postgres = host={host} port={port} user=postgres dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
server_round_robin = 1
"""


@pytest.fixture(scope="session")
def bouncer(database: Database) -> Iterator[str]:
    """Its URL has a query; more is added with &."""
    need("pgbouncer")
    parts = urlsplit(database.url)
    query = parse_qs(parts.query)
    host, port = (
        query.get("host", [parts.hostname or ""])[0],
        query.get("port", [str(parts.port or 5432)])[0],
    )
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    try:
        folder.chmod(0o755)
        listen = free_port()
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(host=host, port=port, listen=listen))
        # It refuses to run as root, and must see the socket.
        user = ["-u", Path(host).owner()] if os.geteuid() == 0 else []
        log = folder / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(["pgbouncer", "-q", *user, str(config)], stderr=out) as process,
        ):
            url = f"postgresql://postgres@127.0.0.1:{listen}/postgres?application_name=bounced"
            try:
                _wait(process, url, log)
                yield url
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT
    while True:
        try:
            psycopg.connect(url, connect_timeout=15).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(
                    f"PgBouncer does not answer: {error} {log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.05)
