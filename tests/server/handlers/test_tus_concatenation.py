"""tus' concatenation over a real server: parts are sent side by side and joined in order."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import noise
from tus_by_hand import OFFSET_STREAM, Tus, coded, creation

DATA = noise(300_011)


@pytest.fixture
def tus(taker: RunningServer) -> Iterator[Tus]:
    client = Tus(taker.url)
    yield client
    client.session.close()


def part(tus: Tus, data: bytes, sent: int | None = None) -> str:
    """A part, of which `sent` bytes are there."""
    response = tus.post(creation(len(data)) | {"Upload-Concat": "partial"})
    assert response.status_code == 201
    upload = urljoin(tus.url, response.headers["Location"])
    if data[:sent]:
        assert tus.patch(upload, 0, data[:sent]).status_code == 204
    return upload


def final(tus: Tus, *parts: str, **pairs: str) -> str:
    response = tus.post(
        {"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": coded(**pairs)}
    )
    assert response.status_code == 201, response.text
    return urljoin(tus.url, response.headers["Location"])


def stored_as(server: RunningServer, name: str) -> bytes | None:
    for key in server.stored():
        if key.endswith(f"/{name}"):
            return (server.root / key).read_bytes()
    return None


def test_parts_are_joined_in_the_order_of_the_list(tus: Tus, taker: RunningServer) -> None:
    """Named by path or whole URL, one perhaps twice; nothing of them shows as a file."""
    before = taker.stored()
    first, second, empty = part(tus, DATA[:100_000]), part(tus, DATA[100_000:]), part(tus, b"")
    assert tus.head(first).headers["Upload-Concat"] == "partial"
    assert taker.stored() == before
    path = urlsplit(second).path
    upload = final(tus, first, path, empty, first, filename="joined.bin")
    assert stored_as(taker, "joined.bin") == DATA + DATA[:100_000]
    shown = tus.head(upload).headers
    assert shown["Upload-Offset"] == shown["Upload-Length"] == str(len(DATA) + 100_000)
    assert shown["Upload-Concat"] == f"final;{first} {path} {empty} {first}"
    assert shown["Upload-Metadata"] == coded(filename="joined.bin")
    final(tus, second, filename="again.bin")
    assert stored_as(taker, "again.bin") == DATA[100_000:], "parts stay for other uploads"


def test_the_digest_of_a_joined_file_is_that_of_its_bytes(tus: Tus, taker: RunningServer) -> None:
    final(tus, part(tus, b"ab"), part(tus, b"c"), filename="digest.bin")
    (key,) = [key for key in taker.stored() if key.endswith("/digest.bin")]
    response = tus.session.head(
        f"{taker.url}/files/{key}", headers={"Want-Repr-Digest": "sha-256=1"}
    )
    assert response.headers["Repr-Digest"] == (
        "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"
    )


def test_a_final_upload_takes_no_bytes(tus: Tus) -> None:
    upload = final(tus, part(tus, b"abc"))
    response = tus.patch(upload, 3, b"d")
    assert response.status_code == 403
    assert response.headers["Tus-Resumable"] == "1.0.0"
    body = {"Upload-Concat": f"final;{part(tus, b'x')}", "Content-Type": OFFSET_STREAM}
    assert tus.post(body, b"abc").status_code == 400


def test_parts_may_come_after_their_final_upload(tus: Tus, taker: RunningServer) -> None:
    """Its HEAD has no offset until it is joined."""
    first, second = part(tus, DATA[:1000], 400), part(tus, DATA[1000:])
    upload = final(tus, first, second, filename="late.bin")
    shown = tus.head(upload)
    assert shown.status_code == 200
    assert "Upload-Offset" not in shown.headers
    assert shown.headers["Upload-Length"] == str(len(DATA))
    assert tus.patch(upload, 0, b"x").status_code == 403
    assert stored_as(taker, "late.bin") is None
    assert tus.patch(first, 400, DATA[400:1000]).status_code == 204
    assert tus.offset(upload) == len(DATA)
    assert stored_as(taker, "late.bin") == DATA


@pytest.mark.parametrize(
    "which", ["unknown", "ordinary", "final", "gone", "elsewhere", "none", ";", ","]
)
def test_what_is_no_part_cannot_be_joined(tus: Tus, which: str) -> None:
    good = part(tus, b"abc")
    if which == "unknown":
        bad = "/uploads/" + "x" * 22
    elif which == "ordinary":
        bad = tus.create(3)
    elif which == "final":
        bad = final(tus, good)
    elif which == "gone":
        bad = part(tus, b"x")
        tus.delete(bad)
    else:
        bad = "https://example.org/files/a" if which == "elsewhere" else ""
    listed = f"{good} {bad}" if bad else ""
    if which in (",", ";"):  # which are no separators: the first part would be lost in silence
        listed = f"{good}{which}{part(tus, b'def')}"
    response = tus.post({"Upload-Concat": f"final;{listed}"})
    assert response.status_code == 400
    assert "Location" not in response.headers


def test_a_final_upload_has_no_length_of_its_own(tus: Tus) -> None:
    fields = {"Upload-Concat": f"final;{part(tus, b'abc')}", "Upload-Length": "3"}
    assert tus.post(fields).status_code == 400


def test_parts_have_the_limit_together(serve: Serve) -> None:
    server = serve("--max-size", "1000")
    tus = Tus(server.url)
    parts = [part(tus, b"x" * 600), part(tus, b"y" * 600)]
    assert tus.post({"Upload-Concat": "final;" + " ".join(parts)}).status_code == 413
    late = tus.post({"Upload-Defer-Length": "1", "Upload-Concat": "partial"}).headers["Location"]
    upload = final(tus, parts[0], late)
    assert tus.head(upload).status_code == 200
    tus.patch(urljoin(tus.url, late), 0, b"", Upload_Length="600")
    for _ in range(2):  # from the length on: no byte has to come for nothing
        assert tus.head(upload).status_code == 410
    assert server.stored() == {}


def test_a_final_upload_whose_part_is_gone_has_ended(tus: Tus) -> None:
    """It can never be joined: its client is to begin anew."""
    lost, other = part(tus, b"abc", 0), part(tus, b"d")
    upload = final(tus, lost, other)
    assert tus.head(upload).status_code == 200
    assert tus.delete(lost).status_code == 204
    for _ in range(2):
        assert tus.head(upload).status_code == 410


def test_parts_that_were_joined_go_soon(tus: Tus) -> None:
    """Their bytes are there twice, where the file system copies."""
    upload = part(tus, b"abc")
    before = tus.head(upload).headers["Upload-Expires"]
    final(tus, upload)
    assert tus.head(upload).headers["Upload-Expires"] != before


def test_parts_outlive_a_restart(serve: Serve) -> None:
    server = serve()
    tus = Tus(server.url)
    paths = [urlsplit(part(tus, DATA[:1000])).path, urlsplit(part(tus, DATA[1000:])).path]
    server.stop()
    server = serve(root=server.root)
    tus = Tus(server.url)
    final(tus, *paths, filename="restarted.bin")
    assert stored_as(server, "restarted.bin") == DATA


def join_once(tus: Tus, key: str, *parts: str, name: str) -> requests.Response:
    return tus.post(
        {
            "Upload-Concat": "final;" + " ".join(parts),
            "Upload-Metadata": coded(filename=name),
            "Idempotency-Key": key,
        }
    )


def test_a_join_with_a_key_is_made_once(tus: Tus, taker: RunningServer) -> None:
    """Asked again it has the same response. Another key, other parts: another file."""
    options = tus.send("OPTIONS", "/files").headers
    assert options["Tus-Concatenation"] == "idempotency-key, put"
    first, second = part(tus, b"ab"), part(tus, b"c")
    responses = [join_once(tus, '"k"', first, second, name="once.bin") for _ in range(3)]
    assert [response.status_code for response in responses] == [201] * 3
    for name in ("Location", "Content-Location"):
        assert len({response.headers[name] for response in responses}) == 1
    assert [key for key in taker.stored() if key.endswith("/once.bin")] == [
        responses[0].headers["Content-Location"].partition("/files/")[2]
    ]
    for response in (
        join_once(tus, '"l"', first, second, name="once.bin"),
        join_once(tus, '"k"', second, first, name="once.bin"),
    ):
        assert response.status_code == 201
        assert response.headers["Location"] != responses[0].headers["Location"]
    assert len([key for key in taker.stored() if key.endswith("/once.bin")]) == 3


def test_a_join_with_a_key_that_ended_without_a_file_is_gone(tus: Tus) -> None:
    """Its client may take another key."""
    parts = part(tus, b"ab"), part(tus, b"c", 0)
    response = join_once(tus, '"k"', *parts, name="gone.bin")
    upload = urljoin(tus.url + "/files", response.headers["Location"])
    assert tus.delete(upload).status_code == 204
    assert join_once(tus, '"k"', *parts, name="gone.bin").status_code == 410
    assert join_once(tus, '"l"', *parts, name="gone.bin").status_code == 201


def test_a_creation_by_put_names_the_file(tus: Tus, taker: RunningServer) -> None:
    """Of one upload, and of parts and the final one. A condition is looked at before the bytes,
    and a final upload that is asked for again is no second one."""
    fresh = {"If-None-Match": "*"}

    def put(headers: dict[str, str], key: str = "by/put.bin") -> requests.Response:
        fields = {name.replace("-", "_"): value for name, value in headers.items()}
        return tus.send("PUT", f"/files/{key}", b"", **fields)

    parts = []
    for data in (DATA[:100_000], DATA[100_000:]):
        made = put(creation(len(data)) | {"Upload-Concat": "partial"} | fresh)
        assert made.status_code == 201, made.text
        parts.append(urljoin(made.url, made.headers["Location"]))
        assert tus.patch(parts[-1], 0, data).status_code == 204
    joined = {"Upload-Concat": "final;" + " ".join(parts), "Idempotency-Key": '"one"'} | fresh
    first, again = put(joined), put(joined)
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert first.headers["Content-Location"].endswith("/files/by/put.bin")
    assert first.headers["Location"] == again.headers["Location"]
    assert (taker.root / "by/put.bin").read_bytes() == DATA
    for headers in (creation(5), creation(5) | {"Upload-Concat": "partial"}):
        assert put(headers | fresh).status_code == 412
    single = put(creation(5) | {"Content-Type": "text/plain"})
    assert tus.patch(urljoin(single.url, single.headers["Location"]), 0, b"12345").ok
    assert (taker.root / "by/put.bin").read_bytes() == b"12345"
    assert tus.session.head(f"{tus.url}/files/by/put.bin").headers["Content-Type"] == "text/plain"
