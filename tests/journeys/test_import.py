"""POST /files with {"url": …}: a remote file is stored whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from canary import Canary
from fix_fetch import REMOTE, Fetcher
from fix_gateway import Gateway, takes
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from raw_http import LAST_CHUNK, Wire, chunk, head
from rude_peer import Exchange, Peer, ranged

DATA = noise(3_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


def order(server: RunningServer, url: str, upload: str = "", **more: Any) -> requests.Response:
    """Import `url`; further arguments become members of the request."""
    query = {"upload": upload} if upload else {}
    return requests.post(f"{server.url}/files", json={"url": url, **more}, params=query, timeout=30)


def look(server: RunningServer, upload: str) -> dict[str, Any]:
    """Returns the snapshot of an upload; {} while it is unknown."""
    response = requests.get(f"{server.url}/uploads/{upload}", timeout=10)
    return dict(response.json()) if response.ok else {}


def raw_order(url: str, upload: str = "") -> bytes:
    body = json.dumps({"url": url}).encode()
    target = f"/files?upload={upload}" if upload else "/files"
    return (
        head("POST", target, "Content-Type: application/json", f"Content-Length: {len(body)}")
        + body
    )


def nothing_new(server: RunningServer, before: dict[str, int]) -> None:
    """Checks that there is no new object and no draft."""
    eventually(lambda: server.drafts() == [], "drafts are gone")
    assert server.stored() == before


def test_a_remote_file_is_stored_like_an_upload(server: RunningServer) -> None:
    """The same response and object: bytes, name, type, digest; Location and ETag lead to it."""
    more = {
        "Content-Type": "Text/CSV; charset=utf-8",
        "Content-Disposition": "attachment; filename*=UTF-8''b%C3%BCcher.csv",
    }
    with Peer(ranged(DATA, **more), REMOTE) as peer:
        response = order(server, peer.url + "/download.php?id=7")

    assert response.status_code == 201, response.text
    (entry,) = response.json()["files"]
    assert (entry["filename"], entry["type"], entry["size"]) == (
        "bücher.csv",
        "text/csv; charset=utf-8",
        len(DATA),
    )
    assert entry["sha-256"] == hashlib.sha256(DATA).hexdigest()
    assert response.headers["Location"] == entry["url"]
    assert response.headers["ETag"] == f'"{entry["etag"]}"'
    assert set(response.json()["stages"]) >= {"wait-for-source", "destination"}
    assert requests.get(server.url + entry["url"], timeout=10).content == DATA
    assert server.drafts() == []
    assert (peer.seen[0].method, peer.seen[0].target) == ("GET", "/download.php?id=7")
    assert peer.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "announced", "more", "filename", "kind"),
    [
        ("/a/b/photo.jpeg?w=1", {}, {}, "photo.jpeg", "image/jpeg"),
        (
            "/a/b%20c.tar.gz",
            {"Content-Type": "application/octet-stream"},
            {},
            "b c.tar.gz",
            "application/gzip",
        ),
        ("/x", {"Content-Type": "image/png"}, {"name": "my.txt"}, "my.txt", "image/png"),
        (
            "/x",
            {"Content-Type": "image/png"},
            {"name": "my.txt", "type": "Text/Plain"},
            "my.txt",
            "text/plain",
        ),
        ("/x", {"Content-Type": "image/png, text/html"}, {}, "x", "application/octet-stream"),
        ("/", {}, {}, "unnamed", "application/octet-stream"),
        ("/..%2f..%2fetc%2fpasswd", {}, {}, "passwd", "application/octet-stream"),
        (
            "/x",
            {"Content-Disposition": 'attachment; filename="../../.bashrc"'},
            {},
            "_bashrc",
            "application/octet-stream",
        ),
        ("/x", {}, {"name": "../../up/.."}, "unnamed", "application/octet-stream"),
    ],
)
def test_name_and_type(
    path: str,
    announced: dict[str, str],
    more: dict[str, str],
    filename: str,
    kind: str,
    server: RunningServer,
) -> None:
    """From the request, else from the remote server, else from the URL; always one safe segment."""
    with Peer(lambda exchange: exchange.reply(200, announced, b"x"), REMOTE) as peer:
        (entry,) = order(server, peer.url + path, **more).json()["files"]

    assert (entry["filename"], entry["type"]) == (filename, kind)
    assert entry["key"].endswith("/" + filename)


def test_a_chunked_and_an_empty_body_are_files_too(server: RunningServer) -> None:
    """An unknown length, and a length of zero."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(chunk(DATA) + LAST_CHUNK)

    with Peer(act, REMOTE) as peer:
        assert order(server, peer.url).json()["files"][0]["size"] == len(DATA)
        peer.act = lambda exchange: exchange.reply(200)
        assert order(server, peer.url).json()["files"][0]["size"] == 0


def test_redirects_are_followed(server: RunningServer) -> None:
    """As they are for readers."""

    def act(exchange: Exchange) -> None:
        if exchange.target == "/0":
            exchange.reply(302, {"Location": "/file.bin"})
        else:
            ranged(DATA)(exchange)

    with Peer(act, REMOTE) as peer:
        assert order(server, peer.url + "/0").json()["files"][0]["filename"] == "file.bin"


def test_progress_of_an_import_is_reported(server: RunningServer) -> None:
    """Under the client's id: the length once it is known, the bytes, the end; 100 % only then."""
    go_on, upload = threading.Event(), "import-progress-1234567890"

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(DATA))})
        exchange.send(DATA[:1_000_000])
        go_on.wait(20)
        exchange.send(DATA[1_000_000:])

    with Peer(act, REMOTE) as peer:
        sending = threading.Thread(target=order, args=(server, peer.url, upload))
        sending.start()
        eventually(
            lambda: look(server, upload).get("received", 0) == 1_000_000, "what came is counted"
        )
        midway = look(server, upload)
        go_on.set()
        sending.join(20)

    assert (midway["state"], midway["length"]) == ("receiving", len(DATA))
    assert midway["kept"] <= 1_000_000
    done = look(server, upload)
    assert (done["state"], done["received"], done["kept"], done["code"]) == (
        "complete",
        len(DATA),
        len(DATA),
        None,
    )


def test_an_unknown_length_is_reported_as_none(server: RunningServer) -> None:
    """The request's own length is not reported."""
    go_on, upload = threading.Event(), "import-length-1234567890"

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(chunk(DATA))
        go_on.wait(20)
        exchange.send(LAST_CHUNK)

    with Peer(act, REMOTE) as peer:
        sending = threading.Thread(target=order, args=(server, peer.url, upload))
        sending.start()
        eventually(lambda: look(server, upload).get("received", 0) == len(DATA))
        assert look(server, upload)["length"] is None
        go_on.set()
        sending.join(20)


def stalling(left: list[float]) -> Any:
    """A file that stops in the middle; `left` gets the time when the peer ended the connection."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(DATA))})
        exchange.send(DATA[:100_000])
        exchange.recv()
        left.append(time.monotonic())

    return act


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_ends_the_import_at_once(how: str, server: RunningServer) -> None:
    """The remote server sees the close within a moment; nothing stays."""
    left: list[float] = []
    before, upload = server.stored(), f"import-left-{how}-1234567890"
    with Peer(stalling(left), REMOTE) as peer:
        wire = Wire(server.port)
        wire.send(raw_order(peer.url, upload))
        eventually(lambda: look(server, upload).get("received", 0) == 100_000)
        gone = time.monotonic()
        wire.close() if how == "close" else wire.reset()
        eventually(lambda: left, "the remote server is left")

    assert left[0] - gone < 15  # its own deadlines are a minute
    eventually(lambda: look(server, upload)["state"] == "cancelled", "the upload ends")
    nothing_new(server, before)


def test_an_import_can_be_cancelled(server: RunningServer) -> None:
    """DELETE of the upload closes the remote connection; the client gets the reason."""
    left: list[float] = []
    before, upload, responses = server.stored(), "import-cancel-1234567890", []
    with Peer(stalling(left), REMOTE) as peer:
        sending = threading.Thread(target=lambda: responses.append(order(server, peer.url, upload)))
        sending.start()
        eventually(lambda: look(server, upload).get("received", 0) == 100_000)
        assert requests.delete(f"{server.url}/uploads/{upload}", timeout=10).status_code == 204
        sending.join(20)
        eventually(lambda: left, "the remote server is left")

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (499, "cancelled")
    ]
    nothing_new(server, before)


def test_an_import_can_be_cancelled_before_the_first_byte(server: RunningServer) -> None:
    """While the remote server has not even answered."""
    upload, responses = "import-cancel-early-1234567890", []
    with Peer(lambda exchange: exchange.recv(), REMOTE) as peer:
        sending = threading.Thread(target=lambda: responses.append(order(server, peer.url, upload)))
        sending.start()
        eventually(lambda: peer.met.is_set() and look(server, upload))
        assert (
            look(server, upload)["length"] is None
        )  # the length of the request itself is no progress
        assert requests.delete(f"{server.url}/uploads/{upload}", timeout=10).status_code == 204
        sending.join(20)

    assert [response.status_code for response in responses] == [499]


def test_forbidden_urls_are_not_imported(server: RunningServer) -> None:
    """Both checks apply: of the host, and of its address."""
    upload = "import-forbidden-1234567890"
    with (
        Canary() as canary,
        Peer(
            lambda e: e.reply(302, {"Location": f"http://127.0.0.1:{canary.port}/"}), REMOTE
        ) as peer,
    ):
        direct = order(server, f"http://127.0.0.1:{canary.port}/", upload)
        by_redirect = order(server, peer.url)

        assert (direct.status_code, direct.json()["code"]) == (403, "forbidden")
        assert (by_redirect.status_code, by_redirect.json()["code"]) == (403, "forbidden")
        assert canary.met == 0
    assert (look(server, upload)["state"], look(server, upload)["code"]) == ("failed", "forbidden")


def test_an_import_streams_on_through_a_gateway(gateway: Gateway) -> None:
    """The destination is another server: it gets the first bytes before the last ones are sent."""
    arrived, sent = threading.Event(), threading.Event()

    def backend(exchange: Exchange) -> None:
        exchange.wait()
        arrived.set()
        takes(exchange)

    def source(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(DATA))})
        exchange.send(DATA[:2_000_000])
        if arrived.wait(20):
            sent.set()
        exchange.send(DATA[2_000_000:])

    with Peer(backend) as behind, Peer(source, REMOTE) as peer:
        server = gateway(f"{behind.url}/files", "--fetch-from", REMOTE, "--fetch-internal", REMOTE)
        response = order(server, peer.url + "/file.bin")

    assert (response.status_code, response.json()) == (201, {"ok": True})
    assert sent.is_set()
    assert behind.seen[0].body == DATA
    assert behind.seen[0].headers["content-length"] == str(len(DATA))


def test_memory_does_not_grow_with_the_file(serve: Serve, fetcher: Fetcher) -> None:
    """A fetch and an import of 200 MB leave the server as large as those of 20 MB do."""
    from sluiceway.testing.memory_meter import MemoryMeter

    server = fetcher("--digest", "none")

    def act(exchange: Exchange) -> None:
        size = int(exchange.target.lstrip("/"))
        exchange.head(200, {"Content-Length": str(size)})
        for _ in range(size // 1_000_000):
            exchange.send(bytes(1_000_000))

    peaks = []
    with Peer(act, REMOTE) as peer:
        for size in (20_000_000, 200_000_000):
            with requests.get(
                f"{server.url}/fetch?url={peer.url}/{size}", stream=True, timeout=30
            ) as response:
                assert sum(len(piece) for piece in response.iter_content(1 << 20)) == size
            assert order(server, f"{peer.url}/{size}").status_code == 201
            peaks.append(MemoryMeter(server.pid).peak())

    assert peaks[1] - peaks[0] < 8 << 20
