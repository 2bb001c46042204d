"""With several workers: what was sent last has the key, and required copies are the same.

What is refused at the same time as another file of its key brings back what was there before both.
Long series of races, which the kernel and the scheduler decide.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve
from fix_taking import eventually
from put_pieces import kept, piece, put
from raw_http import BOUNDARY, Answer, Wire, chunk, form_body, head, talk

pytestmark = pytest.mark.torture

OLD, NEW, ASKED, SENT = b"1" * 300_000, b"2" * 300_000, 150_000, 200_000


def leave(server: RunningServer, key: str, way: str) -> None:
    """A PUT whose client is gone as soon as it has written."""
    with Wire(server.port) as wire:
        if way == "chunked":
            sent = head("PUT", f"/files/{key}", "Transfer-Encoding: chunked") + chunk(NEW[:SENT])
        elif way == "small":
            sent = head("PUT", f"/files/{key}", "Content-Length: 60000") + NEW[:30_000]
        else:
            sent = head("PUT", f"/files/{key}", "Content-Length: 300000") + NEW[:SENT]
        wire.send(sent)


def ask(server: RunningServer, key: str) -> Answer:
    return put(server, key, b"", "Content-Range: bytes */300000")


def _has_asked(server: RunningServer, key: str) -> bool:
    return kept(server, key) == ASKED


@pytest.mark.parametrize("way", ["known", "chunked", "small"])
def test_a_question_at_once_leads_to_no_mix(serve: Serve, way: str) -> None:
    server = serve("--workers", "3")
    for number in range(40):
        key = f"{way}{number}"
        piece(server, key, OLD, 0, ASKED)
        eventually(partial(_has_asked, server, key))
        leave(server, key, way)
        answer = ask(server, key)
        assert answer.status == 308
        offset = int(answer.headers["upload-offset"])
        if piece(server, key, NEW, offset, len(NEW)).status == 201:
            assert (server.root / key).read_bytes() == NEW, offset


@pytest.mark.parametrize("deletes", [False, True], ids=["puts", "deletes"])
def test_two_required_copies_of_a_key_stay_the_same(
    serve: Serve, tmp_path: Path, deletes: bool
) -> None:
    """Four requests for one key at once, at any worker: PUTs, or PUTs and DELETEs."""
    second = tmp_path / "second"
    server = serve("--workers", "3", "--to", str(second))

    def send(key: str, number: int) -> None:
        if deletes and number % 2:
            talk(server.port, head("DELETE", f"/files/{key}"))
        else:
            put(server, key, b"%d" % number * 100_000)

    with ThreadPoolExecutor(4) as threads:
        for one in range(60):
            key = f"k{one}"
            if deletes:
                put(server, key, b"there before")
            list(threads.map(partial(send, key), range(4)))
            copies = [folder / key for folder in (server.root, second)]
            found = [copy.read_bytes() if copy.exists() else None for copy in copies]
            assert found[0] == found[1], key


@pytest.mark.parametrize("places", ["one", "two"])
@pytest.mark.parametrize("way", ["forms", "puts"])
def test_refused_replacements_at_once_leave_the_old_files(
    serve: Serve, tmp_path: Path, places: str, way: str
) -> None:
    """Three forms at any worker, refused at their last file; three PUTs, refused in the second
    folder."""
    second, several = tmp_path / "second", places == "two"
    if way == "puts" and not several:
        pytest.skip("nothing is undone")
    more = ("--to", str(second)) if several else ()
    server = serve("--workers", "3", "--key-template", "{filename}", *more)
    put(server, "folder/x", b"x")

    def send(keys: list[str], number: int) -> int:
        data = b"%d" % number
        if way == "puts":
            return put(server, keys[0], data).status
        parts = [("f", name, data) for name in [*keys, "folder"]]
        body = form_body(*parts)
        fields = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
        length = f"Content-Length: {len(body)}"
        return talk(
            server.port, head("POST", "/files?conflict=replace", fields, length) + body
        ).status

    with ThreadPoolExecutor(3) as threads:
        for one in range(30):
            keys = [f"k{one}"] if way == "puts" else [f"k{one}-{number:02}" for number in range(20)]
            for key in keys:
                (server.root / key).write_bytes(b"old")
                if way == "puts":
                    (second / key / "x").mkdir(parents=True)
            assert set(threads.map(partial(send, keys), range(3))) == {409}
            assert {(server.root / key).read_bytes() for key in keys} == {b"old"}, one
