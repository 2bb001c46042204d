"""sluiceway.flask.stream: a response from any source, with ranges and validators if possible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_taking import eventually, noise
from fix_wsgi import WsgiApp, running
from raw_http import Wire, form_begun, form_body, form_head, head
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
DATA = noise(2_000_003)
TEN = b"0123456789" * 10


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WsgiApp]:
    with running(
        "gunicorn gthread", tmp_path_factory.mktemp("streams"), takes, "mount_views:app"
    ) as running_app:
        (running_app.folder / "a ü.bin").write_bytes(DATA)
        yield running_app


def get(app: WsgiApp, path: str, **headers: str) -> requests.Response:
    return requests.get(
        f"{app.url}{path}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=30,
    )


@pytest.mark.parametrize(
    ("path", "data"), [("/path/a ü.bin", DATA), ("/bytes", TEN), ("/memory", TEN[:10])]
)
def test_a_seekable_source_has_ranges_and_validators(app: WsgiApp, path: str, data: bytes) -> None:
    whole = get(app, path)
    assert (whole.status_code, whole.content, whole.headers["Accept-Ranges"]) == (
        200,
        data,
        "bytes",
    )
    middle = get(app, path, Range="bytes=3-5")
    assert (middle.status_code, middle.content, middle.headers["Content-Range"]) == (
        206,
        data[3:6],
        f"bytes 3-5/{len(data)}",
    )
    assert get(app, path, Range="bytes=-2").content == data[-2:]
    parts = get(app, path, Range="bytes=0-1,7-8")
    assert parts.headers["Content-Type"].startswith("multipart/byteranges")
    tag = whole.headers["ETag"]
    assert get(app, path, If_None_Match=tag).status_code == 304
    assert get(app, path, If_Match='"another"').json()["code"] == "precondition-failed"
    assert get(app, path, Range="bytes=3-5", If_Range=tag).status_code == 206
    assert get(app, path, Range="bytes=3-5", If_Range='"another"').status_code == 200
    beyond = get(app, path, Range=f"bytes={len(data)}-")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range-unsatisfiable")
    head_only = requests.head(f"{app.url}{path}", timeout=10)
    assert head_only.headers["Content-Length"] == str(len(data))


def test_names_and_types_are_given_or_guessed(app: WsgiApp) -> None:
    assert (
        "filename*=UTF-8''a%20%C3%BC.bin"
        in get(app, "/path/a ü.bin").headers["Content-Disposition"]
    )
    shown = get(app, "/bytes").headers
    assert (shown["Content-Type"], shown["Content-Disposition"]) == (
        "text/plain",
        'inline; filename="ten.txt"',
    )
    given = get(app, "/memory").headers
    assert (given["Content-Type"], given["ETag"]) == ("application/x-m", '"one"')
    assert given["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_a_file_that_changed_has_another_tag(app: WsgiApp) -> None:
    (app.folder / "changing").write_bytes(b"1")
    before = get(app, "/path/changing").headers["ETag"]
    (app.folder / "changing").write_bytes(b"22")
    assert get(app, "/path/changing", If_None_Match=before).content == b"22"


def test_an_iterable_is_sent_in_chunks_or_with_its_size(app: WsgiApp) -> None:
    chunks, sized = get(app, "/made"), get(app, "/made?size=5000", Range="bytes=0-1")
    assert chunks.headers["Transfer-Encoding"] == "chunked"
    assert (sized.status_code, sized.headers["Content-Length"]) == (200, "5000")
    assert chunks.content == sized.content == b"".join(b"%05d" % number for number in range(1000))


@pytest.mark.parametrize("size", [4999, 5001])
def test_a_response_with_a_wrong_size_is_broken_off(app: WsgiApp, size: int) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(app, f"/made?size={size}")


def test_a_url_passes_through_with_its_ranges(app: WsgiApp) -> None:
    """With status, range and validators. Another host is refused, and so is a missing `allow`."""
    got = get(app, f"/url?url={app.url}/bytes", Range="bytes=3-5")
    assert (got.status_code, got.content, got.headers["Content-Range"]) == (
        206,
        b"345",
        "bytes 3-5/100",
    )
    assert got.headers["ETag"] == get(app, "/bytes").headers["ETag"]
    assert get(app, "/url?url=http://127.0.0.2:1/x").json()["code"] == "forbidden"
    # The other server's error is passed on.
    assert get(app, f"/url?url={app.url}/nothing").json()["code"] == "not-found"
    nameless = get(app, f"/any-url?url={app.url}/bytes")
    assert (nameless.status_code, nameless.json()["code"]) == (400, "bad-request")
    assert "allow=" in nameless.json()["detail"]


def test_a_missing_file_is_not_found(app: WsgiApp) -> None:
    missing = get(app, "/path/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert str(app.folder) not in missing.text


def test_a_file_of_a_form_is_sent_back_while_it_arrives(app: WsgiApp) -> None:
    """The client gets the first bytes before it sends the last, with the file's length."""
    size = 40 * MIB
    begun = form_begun(("file", "echo.bin", b""))
    end = form_body(("x", "y", b"@@")).partition(b"@@")[2]
    with Wire(app.port) as wire:
        wire.send(form_head(len(begun) + size + len(end), target="/echo") + begun + bytes(MIB))
        got = wire.sock.recv(4096)
        assert got.startswith(b"HTTP/1.1 200 ")
        assert b"content-length: %d" % size in got.lower()


def test_a_reader_that_leaves_closes_the_file(app: WsgiApp) -> None:
    """The server closes its descriptor soon after."""
    path = app.folder / "large.bin"
    path.write_bytes(bytes(64 * MIB))
    with Wire(app.port) as wire:
        wire.send(head("GET", "/path/large.bin"))
        wire.sock.recv(1000)
        wire.reset()
    eventually(lambda: not open_of(app, path.name), "it is closed")


def open_of(app: WsgiApp, name: str) -> list[str]:
    found = []
    for pid in app.pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.append(link.readlink().name)
            except FileNotFoundError:
                pass  # closed meanwhile
    return [one for one in found if one == name]


def test_memory_does_not_grow_with_the_file(app: WsgiApp) -> None:
    peaks = {}
    for size in (4 * MIB, 64 * MIB, 4 * MIB, 64 * MIB):
        (app.folder / "m.bin").write_bytes(bytes(size))
        meters = [MemoryMeter(pid) for pid in app.pids]
        for meter in meters:
            meter.reset()
        assert (
            hashlib.sha256(get(app, "/path/m.bin").content).digest()
            == hashlib.sha256(bytes(size)).digest()
        )
        peaks[size] = sum(meter.peak() for meter in meters)
    assert peaks[64 * MIB] - peaks[4 * MIB] <= 8 * MIB
