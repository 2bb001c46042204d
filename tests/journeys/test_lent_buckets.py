"""A lent connection fills the parts of a bucket's object, handed back at random bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests

from fix_s3 import Objects
from fix_server import start_server
from fix_taking import noise
from lent_ways import RANDOM, lent_bytes, lent_env
from tus_by_hand import Tus


def test_parts_are_filled_from_the_connection(s3: Objects, tmp_path: Path) -> None:
    bucket = s3.fresh()
    env = {**s3.env, **lent_env(tmp_path, RANDOM)}
    state = str(tmp_path / "state")
    server = start_server(tmp_path / "root", "--state", state, env=env, to=f"s3://{bucket}")
    try:
        for size in (70_000, 23_000_001):
            body = noise(size)
            response = requests.put(f"{server.url}/files/k{size}", data=body, timeout=60)
            assert response.status_code == 201
            digest = hashlib.sha256(body).hexdigest()
            assert response.json()["files"][0]["sha-256"] == digest
            stored = s3.client.get_object(Bucket=bucket, Key=f"k{size}")["Body"].read()
            assert hashlib.sha256(stored).hexdigest() == digest
        lent = sum(lent_bytes(server))
        assert lent > 10_000_000
        tus = Tus(server.url)
        upload = tus.create(len(body), filename="resumable")
        assert tus.patch(upload, 0, body).status_code == 204
        tus.session.close()
        (key,) = [key for key in s3.keys(bucket) if key.endswith("/resumable")]
        assert s3.client.get_object(Bucket=bucket, Key=key)["Body"].read() == body
        assert sum(lent_bytes(server)) > lent + 10_000_000
    finally:
        server.stop()
