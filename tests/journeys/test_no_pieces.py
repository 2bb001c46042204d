"""Places that keep nothing of a file before it is whole say so, and take whole files as always."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from fix_s3 import Objects
from fix_server import start_server
from tus_by_hand import Tus, creation

DATA = b"bytes" * 1000


BUCKET = pytest.param("bucket without --state", marks=pytest.mark.torture)


@pytest.mark.parametrize("place", ["fsspec", BUCKET])
def test_a_resumable_upload_is_refused_in_words_and_a_whole_one_is_stored(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    """No dialect is announced, each creation gets 4xx with what to do, and the log says why."""
    env, to = None, "fsspec+memory://no-pieces"
    if place != "fsspec":
        s3: Objects = request.getfixturevalue("s3")
        env, to = s3.env, s3.url(s3.fresh())
    server = start_server(tmp_path / "none", env=env, to=to)
    tus = Tus(server.url)
    try:
        options = tus.send("OPTIONS", "/files")
        assert options.status_code == 204
        assert "Tus-Extension" not in options.headers
        assert "min-size=999999999999999" in options.headers["Upload-Limit"]
        for length in (None, 0, len(DATA)):
            refused = tus.post(creation(length, filename="a"))
            assert refused.status_code == 400
            assert "send the whole file in one request" in refused.json()["detail"]
        pieces = {"Upload-Complete": "?0", "Upload-Draft-Interop-Version": "6"}
        refused = requests.post(f"{server.url}/files", DATA, headers=pieces, timeout=30)
        assert refused.status_code == 400
        assert "send the whole file in one request" in refused.json()["detail"]
        assert tus.patch(f"{server.url}/uploads/{'a' * 25}", 0, DATA).status_code == 404
        whole = {**pieces, "Upload-Complete": "?1"}
        stored = requests.put(f"{server.url}/files/a", DATA, headers=whole, timeout=30)
        assert stored.status_code == 201
        assert stored.headers["Upload-Complete"] == "?1"
        assert requests.get(f"{server.url}/files/a", timeout=30).content == DATA
    finally:
        server.stop()
        tus.session.close()
    assert "must be sent again as a whole" in server.log()
