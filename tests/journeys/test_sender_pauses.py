"""A destination that fails while the sender pauses ends the upload, long before its idle timeout.

The bytes went there in the background; the response comes although nothing more is sent.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from fix_clouds import KEY
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import start_server
from fix_sftp import SftpServer
from raw_http import Answer, Wire, head
from s3_faults import Fault, S3Faults, one_answer

MIB = 1 << 20
SIZE = 64 * MIB  # promised, and never sent
STORE_OPTIONS = ("--memory-budget", "32MiB", "--store-option", "attempts=2")  # parts of 8 MiB
EMPTY_LISTING = b"<EnumerationResults><Blobs></Blobs><NextMarker></NextMarker></EnumerationResults>"


def pause_after(
    sent: int, to: str, folder: Path, *options: str, env: dict[str, str] | None = None
) -> Answer:
    """Send so many bytes and nothing more. Returns the response."""
    server = start_server(folder / "none", *options, env=env, to=to)
    try:
        with Wire(server.port) as wire:
            wire.send(head("PUT", "/files/key", f"Content-Length: {SIZE}"))
            wire.send(bytes(sent))
            return wire.answer()
    finally:
        server.stop()


def test_s3_refuses_a_part(s3: Objects, tmp_path: Path) -> None:
    bucket, faults = s3.fresh(), S3Faults(s3.endpoint)
    faults.script["key"] = Fault("refuse", "part", times=99)
    env = {**s3.env, "AWS_ENDPOINT_URL": faults.url}
    try:
        response = pause_after(9 * MIB, s3.url(bucket), tmp_path, *STORE_OPTIONS, env=env)
    finally:
        faults.close()

    assert (response.status, response.code) == (502, "peer-failed")
    assert s3.unfinished(bucket) == []
    assert s3.keys(bucket) == []


def test_a_cloud_refuses_parts(tmp_path: Path) -> None:
    """The account may only read in this container. Two parts are on their way when all is sent."""
    with one_answer(403, b"", to_get=EMPTY_LISTING) as endpoint:
        options = (f"endpoint={endpoint}", "account-name=nobody", f"account-key={KEY}")
        named = [word for option in options for word in ("--store-option", option)]
        response = pause_after(16 * MIB, "az://container", tmp_path, *STORE_OPTIONS, *named)

    assert (response.status, response.code) == (500, "store-failed")


def test_postgres_refuses_a_row(database: Database, tmp_path: Path) -> None:
    table = database.fresh()
    place = f"{database.url}&table={table}"
    try:
        subprocess.run([sys.executable, "-m", "sluiceway", "init", place], check=True, timeout=60)
        database.rows(f"ALTER TABLE {table}_chunks ADD CHECK (start < 0)")
        response = pause_after(256 << 10, place, tmp_path)

        assert (response.status, response.code) == (500, "store-failed")
        assert database.leftovers(table) == []
    finally:
        database.drop(table)


def test_an_sftp_server_refuses_a_block(sftp: SftpServer, tmp_path: Path) -> None:
    """Its process may write no larger file than 1 MiB."""
    limited = SftpServer(tmp_path / "limited")
    try:
        resource.prlimit(limited.process.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
        response = pause_after(4 * MIB, limited.url("place"), tmp_path)

        assert (response.status, response.code) == (500, "store-failed")
        assert limited.drafts("place") == []
    finally:
        limited.stop()
