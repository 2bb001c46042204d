"""The end of a resumable upload comes beside it, as partial uploads of tus, over a real server.

The page sends large files so, where more connections are faster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer
from fix_taking import noise
from raw_http import Answer
from resumable_requests import append, ask, create
from tus_by_hand import Tus, creation

DATA = noise(400_003)


@pytest.fixture
def tus(taker: RunningServer) -> Iterator[Tus]:
    client = Tus(taker.url)
    yield client
    client.session.close()


def created(tus: Tus, whole: str, size: int | None) -> requests.Response:
    """The response to the creation of a part."""
    headers = {"Upload-Concat": "partial", "Upload-Part-Of": id_of(whole)}
    return tus.post(creation(size) | headers)


def id_of(url: str) -> str:
    return url.rpartition("/")[2]


def part(tus: Tus, whole: str, data: bytes, sent: int | None = None) -> str:
    """The id of a part, of which `sent` bytes are there."""
    upload = id_of(created(tus, whole, len(data)).headers["Location"])
    assert tus.patch(f"{tus.url}/uploads/{upload}", 0, data[:sent]).status_code == 204
    return upload


def begun(taker: RunningServer, data: bytes, name: str, size: int = len(DATA)) -> str:
    length = f"Upload-Length: {size}"
    return create(taker, None, data, length, target=f"/files?name={name}").headers["location"]


def join(taker: RunningServer, url: str, offset: int, *parts: str, done: bool = True) -> Answer:
    return append(taker, None, url, offset, b"", f"Upload-Parts: {' '.join(parts)}", done=done)


def test_parts_become_the_rest_of_the_upload(tus: Tus, taker: RunningServer) -> None:
    """The response is that of any upload, with the digest of all bytes; asked again, it comes
    again. Before, an upload shows its own bytes alone."""
    url = begun(taker, DATA[:100_000], "beside.bin")
    last = part(tus, url, DATA[250_000:])
    middle = part(tus, url, DATA[100_000:250_000])
    assert ask(taker, None, url).headers["upload-offset"] == "100000"
    joined = join(taker, url, 100_000, middle, last)
    assert (joined.status, joined.headers["upload-complete"]) == (201, "?1")
    (entry,) = json.loads(joined.body)["files"]
    assert entry["size"] == len(DATA)
    assert entry["sha-256"] == hashlib.sha256(DATA).hexdigest()
    assert (taker.root / entry["key"]).read_bytes() == DATA
    again = append(taker, None, url, len(DATA), b"")
    assert json.loads(again.body)["files"][0]["key"] == entry["key"]


def test_parts_alone_are_the_whole_upload(tus: Tus, taker: RunningServer) -> None:
    url = begun(taker, b"", "alone.bin")
    joined = join(taker, url, 0, part(tus, url, DATA))
    (entry,) = json.loads(joined.body)["files"]
    assert (taker.root / entry["key"]).read_bytes() == DATA


def test_what_an_earlier_join_appended_is_not_appended_again(
    tus: Tus, taker: RunningServer
) -> None:
    """Its request was cut in the middle of the parts: the upload says so by its offset."""
    url = begun(taker, DATA[:180_000], "twice.bin")
    first = part(tus, url, DATA[100_000:200_000])
    joined = join(taker, url, 180_000, first, part(tus, url, DATA[200_000:]))
    (entry,) = json.loads(joined.body)["files"]
    assert (taker.root / entry["key"]).read_bytes() == DATA


@pytest.mark.parametrize("wrong", ["cut", "gap", "unknown", "no part", "of another", "not last"])
def test_parts_that_are_not_the_rest_change_nothing(
    tus: Tus, taker: RunningServer, wrong: str
) -> None:
    url, rest = begun(taker, DATA[:100_000], "wrong.bin"), DATA[100_000:]
    if wrong == "cut":
        other = part(tus, url, rest, 1000)
    elif wrong == "gap":
        other = part(tus, url, rest[1:])
    elif wrong == "no part":
        other = id_of(begun(taker, rest[:-1], "other.bin"))
    elif wrong == "of another":
        other = part(tus, begun(taker, b"", "another.bin"), rest)
    else:
        other = "x" * 22 if wrong == "unknown" else part(tus, url, rest)
    refused = join(taker, url, 100_000, other, done=wrong != "not last")
    assert refused.status == 400, refused.body
    assert ask(taker, None, url).headers["upload-offset"] == "100000"
    assert join(taker, url, 100_000, part(tus, url, rest)).status == 201


def test_parts_and_bytes_are_not_mixed_in_a_request(tus: Tus, taker: RunningServer) -> None:
    url = begun(taker, DATA[:-2], "mixed.bin")
    upload = part(tus, url, DATA[-1:])
    refused = append(taker, None, url, len(DATA) - 2, b"x", f"Upload-Parts: {upload}")
    assert refused.status == 400
    assert join(taker, url, len(DATA) - 2, *["x" * 22] * 10_001).status in (400, 431)


def test_joined_parts_are_gone_and_a_repeated_join_is_answered(
    tus: Tus, taker: RunningServer
) -> None:
    """The response to the join may be lost."""
    url = begun(taker, DATA[:100_000], "again.bin")
    upload = part(tus, url, DATA[100_000:])
    joined = join(taker, url, 100_000, upload)
    assert tus.head(f"{tus.url}/uploads/{upload}").status_code == 410
    again = join(taker, url, len(DATA), upload)
    assert (again.status, again.body) == (201, joined.body)


def test_a_part_is_of_an_upload_that_is_under_way(tus: Tus, taker: RunningServer) -> None:
    url = begun(taker, DATA[:1000], "whole.bin")
    assert created(tus, "x" * 22, 10).status_code == 404
    assert created(tus, part(tus, url, b"x"), 10).status_code == 404
    assert created(tus, url, None).status_code == 400
    assert created(tus, url, len(DATA) + 1).status_code == 400
    assert append(taker, None, url, 1000, DATA[1000:]).status == 201
    assert created(tus, url, 10).status_code == 404
