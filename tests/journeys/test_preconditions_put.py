"""If-None-Match and If-Match on PUT.

No client overwrites a version that it has not seen, even when many try at the same time.
"""

from __future__ import annotations

import pytest
import requests

from fix_server import RunningServer, Serve
from raw_http import Wire, head

CONTENDERS = 20


def put(server: RunningServer, key: str, data: bytes, **headers: str) -> requests.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(f"{server.url}/files/{key}", data=data, headers=fields, timeout=10)


def test_create_only_creates_once(taker: RunningServer) -> None:
    """If-None-Match: * is 201 for the first and 412 for the second, which changes nothing."""
    first = put(taker, "once", b"first", If_None_Match="*")
    second = put(taker, "once", b"second", If_None_Match="*")

    assert (first.status_code, second.status_code) == (201, 412)
    assert second.json()["code"] == "precondition-failed"
    assert (taker.root / "once").read_bytes() == b"first"


def test_if_match_replaces_the_version_it_names(taker: RunningServer) -> None:
    """The right tag: 200 and a new tag; the old tag does not work again."""
    tag = put(taker, "match", b"one").headers["ETag"]
    right = put(taker, "match", b"two", If_Match=f'"other", {tag}')
    again = put(taker, "match", b"three", If_Match=tag)

    assert (right.status_code, again.status_code) == (200, 412)
    assert (taker.root / "match").read_bytes() == b"two"


@pytest.mark.parametrize("wrong", ['"nope"', '"a", "b"', "W/{}", "unquoted"])
def test_if_match_with_another_tag_changes_nothing(taker: RunningServer, wrong: str) -> None:
    """Another tag, or the right one marked weak, is 412 (400 if it is not a tag)."""
    tag = put(taker, "wrong", b"kept").headers["ETag"]
    response = put(taker, "wrong", b"lost", If_Match=wrong.format(tag))

    assert (
        response.status_code == (400 if wrong == "unquoted" else 412) or response.status_code == 412
    )
    assert (taker.root / "wrong").read_bytes() == b"kept"


def test_if_match_star_wants_something_there(taker: RunningServer) -> None:
    """* matches any version, but not a missing object."""
    missing = put(taker, "star", b"x", If_Match="*")
    assert missing.status_code == 412
    assert not (taker.root / "star").exists()
    put(taker, "star", b"x")

    assert put(taker, "star", b"y", If_Match="*").status_code == 200


def test_if_unmodified_since_guards_too(taker: RunningServer) -> None:
    """An object changed after the date is not replaced."""
    put(taker, "dated", b"new")
    old = put(taker, "dated", b"lost", If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
    fresh = put(taker, "dated", b"newer", If_Unmodified_Since="Fri, 01 Jan 2100 00:00:00 GMT")

    assert (old.status_code, fresh.status_code) == (412, 200)


def race(server: RunningServer, key: str, *fields: str) -> list[int]:
    """Uploads with different bodies that all run before any of them can end.

    Returns their statuses.
    """
    wires = [Wire(server.port) for _ in range(CONTENDERS)]
    try:
        for number, wire in enumerate(wires):
            wire.send(
                head(
                    "PUT", f"/files/{key}", "Content-Length: 1001", *fields, "Expect: 100-continue"
                )
            )
            assert wire.interim() == 100, f"contender {number} was let in"
        for wire in wires:
            wire.send(b"x" * 1000)
        for number, wire in enumerate(wires):
            wire.send(b"%c" % (65 + number))
        return [wire.answer().status for wire in wires]
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_many_creators_one_wins(serve: Serve, workers: str) -> None:
    """20 create-only uploads to one key run at the same time.

    One gets 201, the others 412, and the winner's bytes are stored.
    """
    server = serve("--workers", workers)
    for number in range(3):
        statuses = race(server, f"key{number}", "If-None-Match: *")
        winner = 65 + statuses.index(201)

        assert sorted(statuses) == [201] + [412] * (CONTENDERS - 1)
        assert (server.root / f"key{number}").read_bytes() == b"x" * 1000 + b"%c" % winner
    assert server.drafts() == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_many_replacers_one_wins(serve: Serve, workers: str) -> None:
    """20 uploads that all name the same version: one 200, the others 412."""
    server = serve("--workers", workers)
    for number in range(3):
        tag = put(server, f"key{number}", b"before").headers["ETag"]
        statuses = race(server, f"key{number}", f"If-Match: {tag}")
        winner = 65 + statuses.index(200)

        assert sorted(statuses) == [200] + [412] * (CONTENDERS - 1)
        assert (server.root / f"key{number}").read_bytes() == b"x" * 1000 + b"%c" % winner
    assert server.drafts() == []


def test_without_a_condition_the_last_one_wins_whole(serve: Serve) -> None:
    """Plain PUTs at the same time: all succeed, and the stored bytes are one of the bodies, never a
    mixture.
    """
    server = serve()
    statuses = race(server, "plain")

    assert set(statuses) <= {200, 201}
    assert (server.root / "plain").read_bytes() in {
        b"x" * 1000 + b"%c" % (65 + number) for number in range(CONTENDERS)
    }
