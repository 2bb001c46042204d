"""Peer: a bare psycopg loop, which puts a local file into a chunk table in one transaction.

512 KiB a row.

Started once with the database's URL; for each path on standard input it prints the seconds that one
took.
"""

from __future__ import annotations

import sys
import time
import uuid

import psycopg

ROW = 512 << 10

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS bare (id uuid, start bigint, data bytea NOT NULL, PRIMARY KEY "
        "(id, start))"
    )
    connection.execute("ALTER TABLE bare ALTER COLUMN data SET STORAGE EXTERNAL")
    for line in sys.stdin:
        began, at, name = time.perf_counter(), 0, uuid.uuid4()
        with open(line.strip(), "rb", buffering=0) as file, connection.transaction():
            while data := file.read(ROW):
                connection.execute(
                    "INSERT INTO bare (id, start, data) VALUES (%s, %s, %b)", (name, at, data)
                )
                at += len(data)
        print(time.perf_counter() - began, flush=True)
        connection.execute("TRUNCATE bare")
