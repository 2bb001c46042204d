"""A gateway in front of a real nginx, which decodes %2F and resolves dots before it passes a path
on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_nginx import Proxied
from fix_server import RunningServer, start_server
from rude_peer import Peer

pytestmark = pytest.mark.nginx

PIECES = [
    "..",
    ".",
    "/",
    "\\",
    "%2F",
    "%2f",
    "%252F",
    "%5C",
    "%2e",
    "%2E%2e",
    ";",
    "a",
    "admin",
    "users",
    "%",
    "?",
    "#",
    "ü",
    " ",
]


@dataclass
class Behind:
    """A gateway, the nginx behind it, and a server behind nginx, which sees the resulting path."""

    server: RunningServer
    peer: Peer


@pytest.fixture
def behind(proxied: Proxied, tmp_path: Path) -> Iterator[Behind]:
    with Peer(takes) as peer:
        # With a path behind proxy_pass nginx sends the decoded path.
        url = proxied(peer, proxy_path="/")
        server = start_server(
            tmp_path / "none",
            "--relay-url",
            "/books/{id}/file",
            "--relay-header",
            "Authorization: Bearer operator",
            to=url,
        )
        yield Behind(server, peer)
        server.stop()


def test_no_value_leaves_its_segment_behind_a_server_that_decodes(behind: Behind) -> None:
    """Each value is refused or arrives below /books/; the operator's credential goes nowhere
    else.
    """
    chance = random.Random(7)
    values = [
        "..%2Fadmin%2Fusers",
        "../admin/users",
        "..",
        "%2e%2e/admin",
        "a/../../admin",
        "..;/admin",
        "..\\admin",
        "42",
        "a b",
    ]
    values += ["".join(chance.choices(PIECES, k=chance.randint(1, 6))) for _ in range(150)]
    with requests.Session() as session:
        for value in values:
            before = len(behind.peer.seen)
            response = session.post(
                f"{behind.server.url}/files", params={"id": value}, data=b"d", timeout=10
            )

            if response.status_code == 400:
                assert response.json()["code"] == "bad-form", value
                assert len(behind.peer.seen) == before, value
            else:
                assert response.status_code == 201, (value, response.text)
                target = behind.peer.seen[-1].target
                assert target.startswith("/books/"), (value, target)
                assert target.endswith("/file"), (value, target)
                assert target.count("/") == 3, (value, target)
    assert behind.peer.seen, "plain values arrive"
