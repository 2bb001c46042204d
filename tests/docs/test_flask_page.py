"""The first snippet of docs/flask.md runs as it is printed, and so does its test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rude_peer import Exchange, Peer
from sluiceway.testing import form

PAGE = Path(__file__).parents[2] / "docs" / "flask.md"


def test_the_first_snippet_passes_a_file_on() -> None:
    """Only the address of the API is another one."""
    first, *others = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (its_test,) = [block for block in others if "def test_" in block]
    taken: list[Exchange] = []

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        taken.append(exchange)
        exchange.reply(200, body=b"kept")

    with Peer(act) as peer:
        names: dict[str, Any] = {"__name__": "snippet"}
        exec(first.replace("https://api.example", peer.url), names)
        sent = form({"title": "Emma", "file": (b"123", "emma.txt")})
        answer = names["app"].test_client().post("/books", **sent)
        exec(its_test, names)
        names["test_the_title_may_come_last"]()

    assert (answer.status_code, answer.text) == (200, "kept")
    assert [(one.headers["x-title"], one.body) for one in taken] == [
        ("Emma", b"123"),
        ("Emma", b"1"),
    ]
