"""`--on-start` and `--on-kept` as URLs: asked once for each file, whatever brings it, and obeyed.

Real servers; the receiver checks each signature with the library of Standard Webhooks and each
event with that of CloudEvents. Commands are in test_hook_commands.py.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_server import Serve, start_server
from fix_spool import Backend
from fix_taking import eventually
from hooked_server import Hooked
from rude_peer import Peer
from token_names import Client, secret_of, token_file
from tus_by_hand import OFFSET_STREAM, Tus, coded, creation
from webhook_receiver import WebhookReceiver, hang, of_type

ALL = ("started", "kept", "finished")
REFUSE = {"refuse": {"detail": "Only pictures, please", "status": 415}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooked]:
    folder = tmp_path_factory.mktemp("hooks")
    names = {"ann": "upload,read,list", "boss": "admin"}
    found = Hooked(
        folder / "root",
        *("--token-file", str(token_file(folder / "tokens", names))),
        *("--fetch-from", "127.0.0.1", "--fetch-internal", "127.0.0.1"),
        *("--expire", "1d", "--max-downloads", "9"),
    )
    yield found
    found.stop()


@pytest.fixture
def hooked(running: Hooked) -> Iterator[Hooked]:
    running.receiver.deliveries.clear()
    yield running
    running.forget()


def ann(hooked: Hooked) -> Client:
    return Client(hooked.server.url, "ann")


def authorized(hooked: Hooked) -> Tus:
    tus = Tus(hooked.server.url)
    tus.session.headers["Authorization"] = "Bearer secret-of-ann-0123456789"
    return tus


def raw_put(hooked: Hooked) -> requests.Response:
    return ann(hooked)("PUT", "/files/raw/ü.txt", b"abc", Content_Type="text/plain")


def raw_post(hooked: Hooked) -> requests.Response:
    return ann(hooked)("POST", "/files?name=posted.txt", b"abc")


def form(hooked: Hooked) -> requests.Response:
    files = [("f", (f"f{at}.txt", b"abc")) for at in range(3)]
    token = {"Authorization": "Bearer secret-of-ann-0123456789"}
    return requests.post(hooked.files, files=files, data={"album": "x"}, headers=token, timeout=30)


def tus(hooked: Hooked) -> requests.Response:
    client = authorized(hooked)
    response = client.post(creation(3, filename="by-tus.txt"))
    if response.status_code != 201:
        return response
    upload = f"{hooked.server.url}/{response.headers['Location']}"
    client.patch(upload, 0, b"a")
    return client.patch(upload, 1, b"bc")


def parallel_parts(hooked: Hooked) -> requests.Response:
    client = authorized(hooked)
    parts = []
    for data in (b"a", b"bc"):
        headers = creation(len(data)) | {"Upload-Concat": "partial"}
        made = client.post(headers | {"Content-Type": OFFSET_STREAM}, data)
        parts.append(f"{hooked.server.url}/{made.headers['Location']}")
    final = {"Upload-Concat": f"final;{' '.join(parts)}"}
    return client.post(final | {"Upload-Metadata": coded(filename="joined.txt")})


def ietf(hooked: Hooked) -> requests.Response:
    versioned = {"Upload_Draft_Interop_Version": "6", "Upload_Complete": "?0"}
    first = ann(hooked)("POST", "/files?name=ietf.txt", b"a", **versioned)
    if first.status_code != 201:
        return first
    more = {**versioned, "Upload_Complete": "?1", "Upload_Offset": "1"}
    path = first.headers["Location"].removeprefix(hooked.server.url)
    kind = "application/partial-upload"
    return ann(hooked)("PATCH", path, b"bc", Content_Type=kind, **more)


def partial_put(hooked: Hooked) -> requests.Response:
    first = ann(hooked)("PUT", "/files/pieces.txt", b"a", Content_Range="bytes 0-0/3")
    if first.status_code != 308:
        return first
    return ann(hooked)("PUT", "/files/pieces.txt", b"bc", Content_Range="bytes 1-2/3")


def imported(hooked: Hooked) -> requests.Response:
    def sends(exchange: Any) -> None:
        exchange.reply(200, {"Content-Type": "text/plain"}, b"abc")

    with Peer(sends) as peer:
        body = json.dumps({"url": f"{peer.url}/far.txt", "name": "far.txt"})
        return ann(hooked)("POST", "/files", body, Content_Type="application/json")


def parts_beside(hooked: Hooked) -> requests.Response:
    """The last bytes come as a part beside the upload, as the page sends a large file."""
    client = authorized(hooked)
    fields = {"Upload_Complete": "?0", "Upload_Length": "3"}
    whole = ann(hooked)("POST", "/files?name=wide.txt", b"", **fields).headers["Location"]
    upload = whole.rpartition("/")[2]
    part = client.post(creation(2) | {"Upload-Concat": "partial", "Upload-Part-Of": upload})
    part_path = part.headers["Location"]
    client.patch(f"{hooked.server.url}/{part_path.lstrip('/')}", 0, b"bc")
    more = {"Content_Type": "application/partial-upload", "Upload_Offset": "0"}
    path = whole.removeprefix(hooked.server.url)
    ann(hooked)("PATCH", path, b"a", Upload_Complete="?0", **more)
    more |= {"Upload_Offset": "1", "Upload_Parts": part_path.rpartition("/")[2]}
    return ann(hooked)("PATCH", path, b"", Upload_Complete="?1", **more)


def unpacked(hooked: Hooked) -> requests.Response:
    """`sluiceway copy --unpack` of an archive with two files."""
    with io.BytesIO() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("one.txt", "two.txt"):
                member = tarfile.TarInfo(name)
                member.size = 3
                tar.addfile(member, io.BytesIO(b"abc"))
        path = hooked.server.root.parent / "x.tar"
        path.write_bytes(archive.getvalue())
    sluiceway.copy_all(path, f"{hooked.files}/un/", unpack="tar", token=secret_of("ann"))
    return ann(hooked)("GET", "/files/un/two.txt")


WAYS: dict[Callable[[Hooked], requests.Response], int] = {
    raw_put: 1,
    raw_post: 1,
    form: 3,
    tus: 1,
    parallel_parts: 1,
    ietf: 1,
    partial_put: 1,
    imported: 1,
}


# Their client says no response of the server itself
MORE_WAYS = {**WAYS, parts_beside: 1, unpacked: 2}


@pytest.mark.parametrize("way", MORE_WAYS, ids=lambda way: way.__name__)
def test_each_file_is_asked_for_once_and_reported_once(
    hooked: Hooked, way: Callable[[Hooked], requests.Response]
) -> None:
    """One event of each kind for a file, in order: not for a piece, and not for a part."""
    response = way(hooked)
    assert response.ok, response.text
    found, files = hooked.events(MORE_WAYS[way]), MORE_WAYS[way]
    assert sorted(one.kind for one in found) == sorted(ALL * files)
    for key in {one.data["key"] for one in of_type("kept", found)}:
        assert [one.kind for one in found if one.data["key"] == key][:2] == ["started", "kept"]
    for one in found:
        assert (one.data["owner"], one.data["metadata"]) == ("ann", {})
        assert one.data["request_id"]
        assert one.event["traceparent"].startswith("00-")
        assert one.data["size"] in (3, None) or way is form
        assert one.data["filename"].endswith(".txt")
    for one in of_type("kept", found):
        assert one.data["rights"] == ["list", "read", "upload"]
        assert one.data["digests"]["sha-256"].startswith("ba7816bf")  # of "abc"
    said = json.dumps([(one.event, one.headers) for one in found])
    assert "secret-of" not in said
    assert str(hooked.server.root) not in said


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", ["started", "kept"])
def test_a_hook_refuses_in_its_own_words(
    hooked: Hooked, way: Callable[[Hooked], requests.Response], kind: str
) -> None:
    """Nothing is stored, of a form none of its files; nothing more is asked or reported."""
    before = hooked.server.stored()

    def decide(event: dict[str, Any]) -> tuple[int, object]:
        is_last = way is not form or event["data"]["filename"] == "f2.txt"
        return (200, REFUSE) if event["type"].endswith(kind) and is_last else (204, None)

    hooked.receiver.decide = decide
    response = way(hooked)
    assert response.status_code == 415, response.text
    assert response.json()["code"] == "upload-refused"
    assert response.json()["detail"] == "Only pictures, please"
    assert hooked.server.stored() == before
    found = hooked.receiver.deliveries
    assert not of_type("finished", found)
    if kind == "started":
        assert not of_type("kept", found)
    hooked.receiver.deliveries.clear()


def test_a_file_that_is_asked_for_cannot_be_seen(hooked: Hooked) -> None:
    """Neither read nor listed, until the hook has let it pass."""
    seen = []

    def decide(event: dict[str, Any]) -> tuple[int, object]:
        if event["type"].endswith("kept"):
            boss = Client(hooked.server.url, "boss")
            listed = boss("GET", "/files", Accept="application/json").text
            seen.extend([boss("GET", "/files/hidden.txt").status_code, "hidden.txt" in listed])
        return 204, None

    hooked.receiver.decide = decide
    assert ann(hooked)("PUT", "/files/hidden.txt", b"abc").status_code == 201
    assert seen == [404, False]
    assert Client(hooked.server.url, "boss")("GET", "/files/hidden.txt").content == b"abc"


def test_a_refusal_comes_before_the_body(hooked: Hooked) -> None:
    """curl waits for 100 Continue before it sends a large body, and gets the words instead."""
    hooked.receiver.decide = lambda event: (402, {"detail": "Your plan is over"})

    def body() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 16)
            time.sleep(0.01)

    response = ann(hooked)("PUT", "/files/large", body())  # type: ignore[arg-type]
    assert (response.status_code, response.json()["detail"]) == (402, "Your plan is over")
    [asked] = hooked.receiver.deliveries
    assert (asked.kind, asked.data["size"]) == ("started", None)
    hooked.receiver.deliveries.clear()


@pytest.mark.parametrize(
    "answer",
    [(500, None), (302, None), (404, None), (401, {"title": "No"}), (503, {"detail": "busy"})],
    ids=str,
)
def test_only_a_decision_refuses(hooked: Hooked, answer: tuple[int, object]) -> None:
    """A 4xx with JSON is one. What else is no 2xx is a failure: 503, and the client may try again,
    without the hook's address."""
    hooked.receiver.decide = lambda event: answer
    response = ann(hooked)("PUT", "/files/x", b"abc")
    is_decision = answer[0] == 401
    assert response.status_code == (401 if is_decision else 503)
    assert response.json()["code"] == ("upload-refused" if is_decision else "hook-unavailable")
    assert "hook?" not in response.text
    assert "127.0.0.1" not in response.text
    assert "x" not in hooked.server.stored()
    hooked.receiver.deliveries.clear()


def test_a_resumable_upload_waits_for_a_hook_that_is_down(hooked: Hooked) -> None:
    """Its bytes stay: its client asks again, sends none of them twice, and the file is stored."""
    down = [True]

    def decide(event: dict[str, Any]) -> tuple[int, object]:
        return (500 if down[0] and event["type"].endswith("kept") else 204), None

    hooked.receiver.decide = decide
    client = authorized(hooked)
    upload = client.create(3, filename="waits.txt")
    assert client.patch(upload, 0, b"abc").status_code == 503
    down[0] = False
    head = client.head(upload)
    assert (head.status_code, head.headers["Upload-Offset"]) == (200, "3")
    found = hooked.events(1)
    kept = of_type("kept", found)
    assert [one.status for one in kept] == [500, 204]
    assert len({one.id for one in kept}) == 1
    assert any(key.endswith("waits.txt") for key in hooked.server.stored())


@pytest.mark.parametrize("fails", ["refuse", "accept"])
def test_a_hook_that_is_not_there_or_too_slow(serve: Serve, tmp_path: Path, fails: str) -> None:
    """It refuses all, unless the operator wants it otherwise; the log says why either way."""
    with WebhookReceiver() as receiver, WebhookReceiver() as gone:
        url = gone.url
        options = ("--on-kept", receiver.url, "--hook-timeout", "0.5", "--hook-failure", fails)
        slow = serve(*options, env=receiver.env)
        down = serve("--on-start", url, "--hook-failure", fails, env=receiver.env)
        gone.__exit__()
        receiver.next_responses += [hang]
        for server in (slow, down):
            response = requests.put(f"{server.url}/files/a", b"abc", timeout=30)
            if fails == "refuse":
                assert (response.status_code, response.json()["code"]) == (503, "hook-unavailable")
            else:
                assert response.status_code == 201
            assert server.stored() == ({} if fails == "refuse" else {"a": 3})
        slow.stop()
        assert "--on-kept failed" in slow.log()
        assert "0.5 s" in slow.log()
        assert "--on-start failed" in down.log()
        assert "of-the-query" not in down.log() + slow.log()


def test_a_gateway_asks_before_its_backend_has_the_file(tmp_path: Path) -> None:
    """The last bytes are withheld until the hook has let the file pass."""
    served = start_server(tmp_path / "behind")
    state = ("--state", str(tmp_path / "state"))
    gate = Hooked(tmp_path / "none", *state, to=f"{served.url}/files/")
    try:
        gate.receiver.decide = lambda event: (
            (422, {"detail": "It has a virus"})
            if event["type"].endswith("kept") and event["data"]["filename"] == "bad"
            else (204, None)
        )
        for name, status in (("bad", 422), ("good", 201)):
            response = requests.put(f"{gate.files}/{name}", b"abc" * 50_000, timeout=30)
            assert response.status_code == status, response.text
        assert served.stored() == {"good": 150_000}
        found = gate.events(1)
        kinds = [(one.kind, one.data["key"]) for one in found]
        bad, good = [("started", "bad"), ("kept", "bad")], [(kind, "good") for kind in ALL]
        assert kinds == bad + good
    finally:
        gate.stop()
        served.stop()


def test_a_file_that_waits_for_its_backend_is_asked_for_once(tmp_path: Path) -> None:
    """Kept: once, when its client sent it. Finished: when the backend has it."""
    with Backend(tmp_path / "taken") as backend:
        options = ("--relay-spool", str(tmp_path / "spool"), "--relay-spool-wait", "0.2")
        gate = Hooked(tmp_path / "none", *options, to=f"{backend.url}/files/")
        try:
            response = requests.put(f"{gate.files}/a", b"abc", timeout=30)
            assert response.status_code == 202, response.text
            client = Tus(gate.server.url)
            upload = client.create(3, filename="by-tus")
            client.patch(upload, 0, b"tus")
            kinds = [one.kind for one in gate.receiver.deliveries]
            assert sorted(kinds) == ["kept", "kept", "started", "started"]
            backend.start()
            found = gate.events(2)
            assert sorted(one.kind for one in found) == sorted(ALL * 2)
        finally:
            gate.stop()


def test_the_metrics_count_what_hooks_decide(hooked: Hooked) -> None:
    """By hook and outcome; no name and no word of a hook is a label."""

    def decide(event: dict[str, Any]) -> tuple[int, object]:
        word = event["data"]["filename"]
        return {"refused": (400, REFUSE), "failed": (500, None)}.get(word, (204, None))

    boss = Client(hooked.server.url, "boss")

    def counts() -> dict[str, float]:
        lines = [
            line
            for line in boss("GET", "/metrics").text.splitlines()
            if line.startswith("sluiceway_hook_calls_total")
        ]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    before = counts()
    hooked.receiver.decide = decide
    for name in ("refused", "failed", "taken"):
        boss("PUT", f"/files/{name}", b"abc")
    hooked.events(1)

    def grew() -> dict[str, float]:
        now = counts()
        return {key: now[key] - before[key] for key in now if now[key] != before[key]}

    outcomes = {"on-start": ["accepted", "refused", "failed"]}
    outcomes |= {"on-kept": ["accepted"], "on-finish": ["accepted"]}
    expected = {
        f'sluiceway_hook_calls_total{{hook="{hook}",outcome="{outcome}"}}': 1
        for hook, each in outcomes.items()
        for outcome in each
    }
    eventually(lambda: grew() == expected, str(grew()))
    hooked.receiver.deliveries.clear()
