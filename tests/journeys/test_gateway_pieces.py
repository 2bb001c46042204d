"""An upload in pieces through a gateway to a backend that takes pieces itself: it goes on where the
backend is, after any restart, by any worker; a lost one is gone, in words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest
import requests

from fix_taking import eventually, noise
from relayed_pieces import PARTIAL, Pair, start_pair
from tus_by_hand import creation

DATA = noise(700_000)
HALF = 300_000


# tests/interop/test_relay_to_tus.py has the backend of tus in every run.
LONG = pytest.param("tus", marks=pytest.mark.torture)


@pytest.fixture(scope="module", params=["ietf", LONG])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    pair = start_pair(tmp_path_factory.mktemp("pieces"), request.param)
    yield pair
    pair.stop()


@pytest.fixture
def pair(running: Pair) -> Pair:
    for key in running.backend.stored():
        (running.backend.root / key).unlink()
    return running


def test_the_pieces_of_a_client_reach_the_file(pair: Pair) -> None:
    """Each offset is the backend's; the file's name goes with it, its URL there does not come."""
    upload = pair.tus.create(len(DATA), filename="a b.bin", filetype="text/x-a")
    at = 0
    for stop in (1, HALF, len(DATA) - 1, len(DATA)):
        done = pair.tus.patch(upload, at, DATA[at:stop])
        assert (done.status_code, done.headers["Upload-Offset"]) == (204, str(stop)), done.text
        assert pair.backend.url not in str(done.headers)
        found = pair.tus.progress(upload)
        if stop < len(DATA):
            assert (found["state"], found["kept_by"]) == ("waiting", "destination")
            assert pair.stored() == {}
        at = stop
        assert pair.tus.offset(upload) == at
    assert pair.stored() == {"a b.bin": DATA}
    assert pair.tus.progress(upload)["state"] == "complete"
    assert pair.drafts() == []


def test_both_servers_may_be_killed_between_two_pieces(pair: Pair) -> None:
    """No byte is sent twice, none is lost."""
    upload = pair.tus.create(len(DATA), filename="k.bin")
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    pair.restart_gateway()
    assert pair.tus.offset(pair.url(upload)) == HALF
    assert pair.tus.patch(pair.url(upload), HALF, DATA[HALF : HALF + 9]).status_code == 204
    pair.restart_backend()
    assert pair.tus.offset(pair.url(upload)) == HALF + 9
    done = pair.tus.patch(pair.url(upload), HALF + 9, DATA[HALF + 9 :])
    assert done.status_code == 204, done.text
    assert pair.stored() == {"k.bin": DATA}


def test_bytes_that_only_the_backend_knows_of_count(pair: Pair) -> None:
    """The gateway died after the backend had acknowledged them, and before it wrote that down."""
    upload = pair.tus.create(len(DATA), filename="m.bin")
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    pair.kill_gateway()
    pair.append_at_backend(DATA, HALF + 50_000)
    pair.restart_gateway()
    stale = pair.tus.patch(pair.url(upload), HALF, DATA[HALF:])
    assert (stale.status_code, stale.headers["Upload-Offset"]) == (409, str(HALF + 50_000))
    assert pair.tus.offset(pair.url(upload)) == HALF + 50_000
    done = pair.tus.patch(pair.url(upload), HALF + 50_000, DATA[HALF + 50_000 :])
    assert done.status_code == 204, done.text
    assert pair.stored() == {"m.bin": DATA}


@pytest.mark.parametrize("asks", [True, False], ids=["HEAD", "PATCH"])
def test_a_lost_upload_is_gone_in_words(pair: Pair, asks: bool) -> None:
    """The backend has forgotten it."""
    upload = pair.tus.create(len(DATA), filename="l.bin")
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    headers = {"Tus-Resumable": "1.0.0"} if pair.dialect == "tus" else {}
    ended = requests.delete(pair.url_at_backend(), headers=headers, timeout=20)
    assert ended.status_code == 204
    if asks:
        assert pair.tus.head(upload).status_code == 410
    gone = pair.tus.patch(upload, HALF, DATA[HALF:])
    assert gone.status_code == 410
    assert str(pair.backend.port) not in gone.text
    assert "is lost at" in pair.gateway.log()
    assert pair.tus.progress(upload)["code"] == "lost"
    assert pair.stored() == {}


def test_cancelled_and_expired_uploads_end_at_the_backend(pair: Pair) -> None:
    upload = pair.tus.create(len(DATA))
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    assert len(pair.drafts()) == 1
    assert pair.tus.delete(upload).status_code == 204
    assert pair.drafts() == []
    assert pair.tus.head(upload).status_code == 410


def test_a_wrong_checksum_is_forgotten_and_a_right_one_counts(pair: Pair) -> None:
    """Bytes that may be wrong wait in the gateway, so the upload goes on."""
    upload = pair.tus.create(len(DATA), filename="c.bin")
    assert pair.tus.patch(upload, 0, DATA[:1000]).status_code == 204
    wrong = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    assert pair.tus.patch(upload, 1000, DATA[1000:HALF], **wrong).status_code == 460
    assert pair.tus.offset(upload) == 1000
    digest = hashlib.sha1(DATA[1000:HALF], usedforsecurity=False).digest()
    right = {"Upload-Checksum": f"sha1 {b64(digest)}"}
    assert pair.tus.patch(upload, 1000, DATA[1000:HALF], **right).status_code == 204
    assert pair.tus.patch(upload, HALF, DATA[HALF:]).status_code == 204
    assert pair.stored() == {"c.bin": DATA}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256_of(data: bytes) -> str:
    return f"sha-256=:{b64(hashlib.sha256(data).digest())}:"


def begin_put(pair: Pair, name: str, **headers: str) -> str:
    """A PUT of the form of the IETF, with HALF of DATA. Returns the path of the upload."""
    fields = {"Upload-Complete": "?0", **{k.replace("_", "-"): v for k, v in headers.items()}}
    url = f"{pair.gateway.url}/files/{name}"
    begun = requests.put(url, DATA[:HALF], headers=fields, timeout=20)
    assert begun.status_code == 201, begun.text
    return begun.headers["Location"]


def end_put(pair: Pair, path: str) -> requests.Response:
    headers = {"Upload-Complete": "?1", "Upload-Offset": str(HALF), "Content-Type": PARTIAL}
    return requests.patch(pair.gateway.url + path, DATA[HALF:], headers=headers, timeout=20)


def test_a_put_in_pieces_gets_the_backends_answer_and_gets_it_again(pair: Pair) -> None:
    path = begin_put(pair, "x/p.bin")
    pair.restart_gateway()
    answers = [end_put(pair, path) for _ in range(2)]
    assert {each.status_code for each in answers} == ({201} if pair.dialect == "ietf" else {204})
    assert all(each.headers["Upload-Complete"] == "?1" for each in answers)
    assert answers[0].content == answers[1].content
    assert str(pair.backend.port) not in answers[0].text + str(answers[0].headers)
    assert pair.stored() == {"p.bin": DATA}


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
def test_a_digest_of_the_whole_is_checked(pair: Pair, is_right: bool) -> None:
    """Here where one process saw all bytes; a wrong file never completes at the backend."""
    path = begin_put(pair, "d.bin", Repr_Digest=sha256_of(DATA if is_right else b"other"))
    ended = end_put(pair, path)
    assert (ended.status_code < 300) is is_right, ended.text
    assert pair.stored() == ({"d.bin": DATA} if is_right else {})
    assert pair.drafts() == []


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
def test_after_a_restart_the_backend_compares_the_digest(pair: Pair, is_right: bool) -> None:
    """The gateway has not seen all bytes. A server of tus cannot: the upload is gone, in words."""
    path = begin_put(pair, "e.bin", Repr_Digest=sha256_of(DATA if is_right else b"other"))
    pair.restart_gateway()
    ended = end_put(pair, path)
    if pair.dialect == "tus":
        assert ended.status_code == 410
        assert "digest" in ended.json()["detail"]
    else:
        assert (ended.status_code < 300) is is_right, ended.text
    right = is_right and pair.dialect == "ietf"
    assert pair.stored() == ({"e.bin": DATA} if right else {})


def test_a_put_resumed_by_its_key(pair: Pair) -> None:
    """As `curl -C N -T file` sends it."""
    url = f"{pair.gateway.url}/files/by-key.bin"
    first = {"Content-Range": f"bytes 0-{HALF - 1}/{len(DATA)}"}
    begun = requests.put(url, DATA[:HALF], headers=first, timeout=20)
    assert begun.status_code == 308, begun.text
    pair.restart_gateway()
    url = f"{pair.gateway.url}/files/by-key.bin"
    asked = requests.put(url, headers={"Content-Range": f"bytes */{len(DATA)}"}, timeout=20)
    assert asked.headers["Range"] == f"bytes=0-{HALF - 1}"
    rest = {"Content-Range": f"bytes {HALF}-{len(DATA) - 1}/{len(DATA)}"}
    ended = requests.put(url, DATA[HALF:], headers=rest, timeout=20)
    assert ended.status_code in (200, 201, 204), ended.text
    assert pair.stored() == {"by-key.bin": DATA}


def test_the_length_may_come_last(pair: Pair) -> None:
    upload = pair.tus.create(None, filename="n.bin")
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    pair.restart_gateway()
    length = {"Upload-Length": str(len(DATA))}
    done = pair.tus.patch(pair.url(upload), HALF, DATA[HALF:], **length)
    assert done.status_code == 204, done.text
    assert pair.stored() == {"n.bin": DATA}


def test_an_empty_file_arrives(pair: Pair) -> None:
    assert pair.tus.post(creation(0, filename="empty")).status_code == 201
    assert pair.stored() == {"empty": b""}


def test_a_backend_that_is_away_costs_no_byte(pair: Pair) -> None:
    """Its client learns that it may come back, and the offset is that of before."""
    upload = pair.tus.create(len(DATA), filename="w.bin")
    assert pair.tus.patch(upload, 0, DATA[:HALF]).status_code == 204
    pair.backend.process.kill()
    pair.backend.process.wait(20)
    refused = pair.tus.patch(upload, HALF, DATA[HALF:])
    assert refused.status_code == 503, refused.text
    assert str(pair.backend.port) not in refused.text
    assert pair.tus.head(upload).status_code == 423
    pair.restart_backend()
    eventually(lambda: pair.tus.head(upload).status_code == 200)
    assert pair.tus.offset(upload) == HALF
    assert pair.tus.patch(upload, HALF, DATA[HALF:]).status_code == 204
    assert pair.stored() == {"w.bin": DATA}
