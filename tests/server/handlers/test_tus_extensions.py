"""The extensions of tus 1.0.0 over a real server, all but concatenation."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urljoin

import pytest

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from raw_http import LAST_CHUNK, Wire, chunk, head, talk
from resumable_requests import complete, named
from tus_by_hand import OFFSET_STREAM, Tus, creation

DATA = noise(50_007)
LIMIT = 1 << 20
Hash = Callable[[bytes], bytes]
HASHES: dict[str, Hash] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


@pytest.fixture(scope="module")
def taker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("taker") / "root"
    server = start_server(root, "--max-size", str(LIMIT), "--expire-after", "100")
    yield server
    server.stop()


@pytest.fixture
def tus(taker: RunningServer) -> Iterator[Tus]:
    client = Tus(taker.url)
    yield client
    client.session.close()


def stored_as(taker: RunningServer, name: str) -> bytes | None:
    for key in taker.stored():
        if key.endswith(f"/{name}"):
            return (taker.root / key).read_bytes()
    return None


def digest(algorithm: str, data: bytes) -> str:
    return f"{algorithm} {base64.b64encode(HASHES[algorithm](data)).decode()}"


# creation


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Upload-Length": "5", "Upload-Defer-Length": "1"},
        {"Upload-Defer-Length": "2"},
        {"Upload-Length": "-1"},
        {"Upload-Length": "+5"},
        {"Upload-Length": "1_0"},
        {"Upload-Length": ""},
        {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="},
        {"Upload-Length": "5", "Upload-Metadata": "a %%"},
        {"Upload-Length": "5", "Upload-Concat": "both"},
    ],
)
def test_a_creation_that_cannot_be_read_is_refused(tus: Tus, fields: dict[str, str]) -> None:
    response = tus.post(fields)
    assert response.status_code == 400
    assert response.headers["Tus-Resumable"] == "1.0.0"
    assert "Location" not in response.headers


def test_a_length_above_the_limit_is_refused(tus: Tus) -> None:
    """413 at the creation; the limit is announced. It holds without a length, too."""
    assert tus.send("OPTIONS", "/files").headers["Tus-Max-Size"] == str(LIMIT)
    assert tus.post(creation(LIMIT + 1)).status_code == 413
    assert tus.post(creation(LIMIT)).status_code == 201
    upload = tus.create(None)
    assert tus.patch(upload, 0, b"x" * 10, Upload_Length=str(LIMIT + 1)).status_code == 413
    assert tus.patch(upload, 0, iter([b"x" * (LIMIT - 10)])).status_code == 204
    for more in (b"y" * 11, iter([b"y" * 11])):
        late = tus.patch(upload, LIMIT - 10, more)
        assert (late.status_code, str(LIMIT) in late.text) == (413, True), late.text


def test_an_upload_too_large_for_the_disk_is_refused_before_it_is_made(serve: Serve) -> None:
    """507 at once, in either protocol, also where the length comes later: nothing stays."""
    server = serve()
    client = Tus(server.url)
    for length in (10**14, 2**63 - 1):
        refused = client.post(creation(length))
        assert refused.status_code == 507
        assert "Location" not in refused.headers
        upload = client.create(None)
        assert client.patch(upload, 0, b"x", Upload_Length=str(length)).status_code == 507
        assert client.offset(upload) == 0
    for data in (b"", b"hello"):
        fields = [f"Content-Length: {len(data)}", f"Upload-Length: {10**14}"]
        fields = [*named(8), complete(8, False), *fields]
        first = talk(server.port, head("POST", "/files?name=x", *fields) + data)
        assert (first.status, first.code, first.interim) == (507, "no-space", [])
    client.session.close()


def test_an_empty_upload_is_complete_at_once(tus: Tus, taker: RunningServer) -> None:
    response = tus.post(creation(0, filename="empty.bin"))
    assert response.status_code == 201
    assert stored_as(taker, "empty.bin") == b""
    assert tus.offset(urljoin(taker.url, response.headers["Location"])) == 0


def test_the_name_and_type_come_from_the_metadata(tus: Tus, taker: RunningServer) -> None:
    """A name never becomes a path; a HEAD repeats what was sent, not what was made of it."""
    response = tus.post(creation(0, filename="../../etc/ä b.txt", filetype="text/plain", empty=""))
    upload = urljoin(taker.url, response.headers["Location"])
    assert (
        base64.b64encode(b"../../etc/\xc3\xa4 b.txt").decode()
        in (tus.head(upload).headers["Upload-Metadata"])
    )
    (key,) = [key for key in taker.stored() if key.endswith("ä b.txt")]
    assert ".." not in key
    stored = tus.session.head(f"{taker.url}/files/{key}")
    assert stored.headers["Content-Type"].startswith("text/plain")


# creation-defer-length


def test_the_length_may_come_later_and_never_changes(tus: Tus, taker: RunningServer) -> None:
    upload = tus.create(None, filename="later.bin")
    assert tus.head(upload).headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in tus.head(upload).headers
    assert tus.patch(upload, 0, b"abc").status_code == 204
    assert tus.patch(upload, 3, b"d", Upload_Length="2").status_code == 400, "it has three already"
    assert tus.patch(upload, 3, b"d", Upload_Length="5").status_code == 204
    assert tus.head(upload).headers["Upload-Length"] == "5"
    assert "Upload-Defer-Length" not in tus.head(upload).headers
    assert tus.patch(upload, 4, b"e", Upload_Length="6").status_code == 400
    assert tus.patch(upload, 4, b"e", Upload_Length="5").status_code == 204
    assert stored_as(taker, "later.bin") == b"abcde"


def test_an_empty_patch_may_bring_the_length(tus: Tus, taker: RunningServer) -> None:
    upload = tus.create(None, filename="ended.bin")
    tus.patch(upload, 0, b"abc")
    assert tus.patch(upload, 3, Upload_Length="3").status_code == 204
    assert stored_as(taker, "ended.bin") == b"abc"


# creation-with-upload


def test_a_creation_may_bring_the_first_bytes(tus: Tus, taker: RunningServer) -> None:
    """All of them, or some; Upload-Offset says how many."""
    fields = creation(len(DATA), filename="with.bin") | {"Content-Type": OFFSET_STREAM}
    response = tus.post(fields, DATA[:20_000])
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "20000")
    upload = urljoin(taker.url, response.headers["Location"])
    assert tus.patch(upload, 20_000, DATA[20_000:]).status_code == 204
    assert stored_as(taker, "with.bin") == DATA
    whole = tus.post(creation(3, filename="whole.bin") | {"Content-Type": OFFSET_STREAM}, b"abc")
    assert (whole.headers["Upload-Offset"], stored_as(taker, "whole.bin")) == ("3", b"abc")


def test_a_body_of_another_type_is_ignored(tus: Tus, taker: RunningServer) -> None:
    """Some HTTP libraries force a type on every request."""
    response = tus.post(creation(3) | {"Content-Type": "text/plain"}, b"abc")
    assert response.status_code == 201
    assert "Upload-Offset" not in response.headers
    assert tus.offset(urljoin(taker.url, response.headers["Location"])) == 0


def test_a_creation_may_wait_for_a_100(taker: RunningServer) -> None:
    fields = ["Tus-Resumable: 1.0.0", "Upload-Length: 3", f"Content-Type: {OFFSET_STREAM}"]
    with Wire(taker.port) as wire:
        wire.send(head("POST", "/files", *fields, "Content-Length: 3", "Expect: 100-continue"))
        assert wire.interim() == 100
        wire.send(b"abc")
        assert wire.answer().headers["upload-offset"] == "3"


def test_a_creation_that_fails_leaves_nothing(tus: Tus, taker: RunningServer) -> None:
    """Its client does not learn the URL."""
    lasting = taker.root / ".sluiceway" / "lasting"
    before = set(lasting.iterdir())
    fields = creation(3) | {"Content-Type": OFFSET_STREAM}
    assert tus.post(fields, b"abcd").status_code == 413
    assert tus.post(fields | {"Upload-Checksum": digest("sha1", b"x")}, b"ab").status_code == 460
    assert set(lasting.iterdir()) == before


# expiration


def test_the_time_an_upload_lives_is_told(tus: Tus, taker: RunningServer) -> None:
    """It moves with each PATCH, and ends with the upload."""
    response = tus.post(creation(10))
    upload = urljoin(taker.url, response.headers["Location"])
    for found in (response, tus.patch(upload, 0, b"ab"), tus.head(upload)):
        expires = parsedate_to_datetime(found.headers["Upload-Expires"]).timestamp()
        assert time() + 60 < expires <= time() + 101
    assert "Upload-Expires" not in tus.patch(upload, 2, b"x" * 8).headers


# checksum


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_checksum_is_checked(tus: Tus, taker: RunningServer, algorithm: str) -> None:
    """460 for a wrong one: nothing of the request counts, and the right bytes can be sent."""
    name = f"checked-{algorithm}.bin"
    upload = tus.create(len(DATA), filename=name)
    half = len(DATA) // 2
    good = tus.patch(upload, 0, DATA[:half], Upload_Checksum=digest(algorithm, DATA[:half]))
    assert good.status_code == 204
    for body in (DATA[half:-1] + b"?", DATA[half:-1]):
        bad = tus.patch(upload, half, body, Upload_Checksum=digest(algorithm, DATA[half:]))
        assert bad.status_code == 460
        (wrong,) = bad.json()["mismatched_digests"]
        assert wrong["header"] == "Upload-Checksum"
        assert f"the {'sha-1 digest' if algorithm == 'sha1' else ''}" in bad.json()["detail"]
        assert bad.headers["Tus-Resumable"] == "1.0.0"
        assert tus.offset(upload) == half
    assert tus.patch(upload, half, DATA[half:]).status_code == 204
    assert stored_as(taker, name) == DATA


@pytest.mark.parametrize("value", ["sha512 AAAA", "SHA1 AAAA", "sha1", "sha1 %%", "sha1 AAAA", ""])
def test_a_checksum_that_cannot_be_checked_is_refused(tus: Tus, value: str) -> None:
    upload = tus.create(3)
    assert tus.patch(upload, 0, b"abc", Upload_Checksum=value).status_code == 400
    assert tus.offset(upload) == 0


def test_of_a_checked_piece_that_was_cut_nothing_counts(tus: Tus, taker: RunningServer) -> None:
    upload = tus.create(100)
    with Wire(taker.port) as wire:
        wire.send(
            patch_head(upload, "Content-Length: 100", f"Upload-Checksum: {digest('sha1', b'x')}")
            + b"x" * 40
        )
        eventually(lambda: tus.progress(upload)["received"] == 40, "the bytes to arrive")
        wire.half_close()
        assert tus.offset(upload) == 0


# checksum-trailer


def patch_head(upload: str, *fields: str) -> bytes:
    return head(
        "PATCH",
        "/uploads/" + upload.rpartition("/")[2],
        "Tus-Resumable: 1.0.0",
        "Upload-Offset: 0",
        f"Content-Type: {OFFSET_STREAM}",
        *fields,
    )


def trailed(port: int, upload: str, trailer: str, *fields: str, data: bytes = DATA) -> int:
    """The status of a PATCH with a line behind its body."""
    with Wire(port) as wire:
        wire.send(patch_head(upload, "Transfer-Encoding: chunked", *fields) + chunk(data))
        wire.send(LAST_CHUNK[:-2] + trailer.encode() + b"\r\n")
        return wire.answer().status


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_checksum_may_stand_behind_the_body(
    tus: Tus, taker: RunningServer, algorithm: str
) -> None:
    name = f"trailed-{algorithm}.bin"
    upload = tus.create(len(DATA), filename=name)
    announced = "Trailer: X-Other, Upload-Checksum"
    wrong = f"Upload-Checksum: {digest(algorithm, DATA[1:])}\r\n"
    assert trailed(taker.port, upload, wrong, announced) == 460
    assert tus.offset(upload) == 0
    right = f"upload-checksum: {digest(algorithm, DATA)} \r\n"
    assert trailed(taker.port, upload, right, announced) == 204
    assert stored_as(taker, name) == DATA


@pytest.mark.parametrize(
    ("trailer", "fields"),
    [
        ("", ["Trailer: Upload-Checksum"]),
        ("Upload-Checksum: sha1 %%\r\n", ["Trailer: Upload-Checksum"]),
        ("Upload-Checksum: sha512 AAAA\r\n", ["Trailer: Upload-Checksum"]),
        (f"Upload-Checksum: {digest('sha1', DATA)}\r\n", []),
        (
            f"Upload-Checksum: {digest('sha1', DATA)}\r\n" * 2,
            ["Trailer: Upload-Checksum"],
        ),
        (
            f"Upload-Checksum: {digest('sha1', DATA)}\r\n",
            ["Trailer: Upload-Checksum", f"Upload-Checksum: {digest('sha1', DATA)}"],
        ),
    ],
    ids=["none", "unreadable", "unknown", "unannounced", "twice", "before-and-behind"],
)
def test_a_wrong_trailer_is_refused(
    tus: Tus, taker: RunningServer, trailer: str, fields: list[str]
) -> None:
    upload = tus.create(len(DATA) + 1)
    assert trailed(taker.port, upload, trailer, *fields) == 400
    assert tus.offset(upload) == 0
    whole = tus.create(len(DATA), filename="unchecked.bin")
    assert trailed(taker.port, whole, trailer, *fields) == 400
    assert tus.offset(whole) == 0
    assert stored_as(taker, "unchecked.bin") is None


def other_digest(data: bytes) -> str:
    return f"Content-Digest: sha-256=:{base64.b64encode(HASHES['sha256'](data)).decode()}:"


def test_a_digest_of_another_protocol_is_checked_or_refused(tus: Tus, taker: RunningServer) -> None:
    """Whoever sends it believes that it is checked."""
    upload = tus.create(len(DATA))
    wrong, right = other_digest(DATA[1:]), other_digest(DATA)
    for trailer, *fields in (
        (wrong + "\r\n",),
        (wrong + "\r\n", "Trailer: Content-Digest"),
        (f"Upload-Checksum: {digest('md5', DATA)}\r\n{wrong}\r\n", "Trailer: Upload-Checksum"),
        (f"Upload-Checksum: {digest('md5', DATA)}\r\n", "Trailer: Upload-Checksum", right),
    ):
        assert trailed(taker.port, upload, trailer, *fields) == 400
        assert tus.offset(upload) == 0
    assert trailed(taker.port, upload, "", wrong) == 460
    assert tus.offset(upload) == 0
    assert trailed(taker.port, upload, "", right) == 204


def test_a_trailer_needs_a_body_in_chunks(tus: Tus) -> None:
    upload = tus.create(3)
    assert tus.patch(upload, 0, b"abc", Trailer="Upload-Checksum").status_code == 400
    assert tus.offset(upload) == 0


# termination


def test_a_terminated_upload_is_gone(tus: Tus, taker: RunningServer) -> None:
    """While a PATCH runs, too; its bytes are removed. A second DELETE finds it gone."""
    lasting = taker.root / ".sluiceway" / "lasting"
    before = set(lasting.iterdir())
    upload = tus.create(100)
    with Wire(taker.port) as wire:
        wire.send(patch_head(upload, "Content-Length: 100") + b"x" * 40)
        eventually(lambda: tus.progress(upload)["received"] == 40, "the bytes to arrive")
        response = tus.delete(upload)
        assert (response.status_code, response.headers["Tus-Resumable"]) == (204, "1.0.0")
        assert set(lasting.iterdir()) == before
    for response in (tus.head(upload), tus.patch(upload, 40, b"x"), tus.delete(upload)):
        assert response.status_code == 410
        assert "Upload-Offset" not in response.headers


def test_a_finished_upload_can_be_forgotten(tus: Tus, taker: RunningServer) -> None:
    """Its file is a file like any other, and stays."""
    upload = tus.create(3, filename="forgotten.bin")
    tus.patch(upload, 0, b"abc")
    assert tus.delete(upload).status_code == 204
    assert tus.head(upload).status_code == 410
    assert stored_as(taker, "forgotten.bin") == b"abc"
