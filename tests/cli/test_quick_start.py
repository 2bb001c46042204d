"""What a copy loads before its first byte: no certificates that nobody uses, no side it has not."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import gc, os, sys
already = set(sys.modules)  # coverage loads sqlite3
from sluiceway.cli.quick_start import quick_imports
before = dict(os.environ)
with quick_imports({sides}):
    import sluiceway.copying.api, sluiceway.copying.endpoints.http_target
assert dict(os.environ) == before
assert gc.isenabled() and gc.get_freeze_count() > 10_000  # the end collects none of it
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
print(" ".join(set(sys.modules) - already))
"""


def loaded(*sides: str) -> tuple[int, set[str]]:
    """Authorities that the HTTP library trusts by itself, and the modules."""
    code = LOADED.format(sides=", ".join(map(repr, sides)))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, modules = run.stdout.splitlines()
    return int(count), set(modules.split())


def test_a_copy_of_one_file_loads_what_it_needs() -> None:
    """The client reads certificates of its own, when TLS is used first (test_copy_network)."""
    count, modules = loaded("file", "https://host/files/")

    assert count == 0
    assert "sluiceway.client.http.transport" in modules
    unneeded = ["sqlite3", "tarfile", "zipfile", "boto3", "obstore", "psycopg", "fsspec"]
    unneeded += [f"sluiceway.copying.{name}" for name in ("engine", "journal", "curl")]
    unneeded += ["sluiceway.wire.forms.encoder", "sluiceway.stores.sqlite.place", "difflib"]
    unneeded += ["http_sf"]  # until a server is asked about resumable uploads
    assert modules.isdisjoint(unneeded)


def test_the_libraries_of_a_place_find_the_certificates() -> None:
    import ssl

    if not ssl.create_default_context().cert_store_stats()["x509"]:
        pytest.skip("this machine has no certificates")
    assert loaded("https://host/file", "fsspec+gcs://bucket/key")[0]
