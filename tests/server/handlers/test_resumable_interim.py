"""104 responses of resumable uploads: who gets them, what they say, and what goes on after a cut.

Some proxies and libraries take any interim response but 100 for the final one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire, form_head, head, talk
from resumable_requests import (
    ANNOUNCED,
    append,
    append_fields,
    ask,
    complete,
    create,
    interim_of,
    named,
    says_complete,
    stored,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(Path(tmp_path_factory.mktemp("resumable")) / "root")
    yield running
    running.stop()


@pytest.mark.parametrize("version", ANNOUNCED)
def test_a_whole_file_that_is_cut_goes_on(server: RunningServer, version: int) -> None:
    """Optimistic creation: everything at once, and a 104 says where it goes on."""
    data = noise(300_000)
    with Wire(server.port) as wire:
        lines = [*named(version), complete(version, True), f"Content-Length: {len(data)}"]
        wire.send(head("POST", "/files?name=cut.bin", *lines))
        status, fields = interim_of(wire)
        wire.send(data[:200_000])
        wire.half_close()
        assert wire.answer().status == 400
    assert (status, fields["upload-draft-interop-version"]) == (104, str(version))
    assert ("upload-limit" in fields) is (version >= 6)
    url = fields["location"]
    shown = ask(server, version, url)
    offset = int(shown.headers["upload-offset"])
    assert offset == 200_000
    assert not says_complete(version, shown)
    last = append(server, version, url, offset, data[offset:])
    assert last.status == 201
    assert stored(server, last) == data


def test_a_reset_connection_loses_nothing_that_arrived(server: RunningServer) -> None:
    data = noise(3 << 20)
    with Wire(server.port) as wire:
        wire.send(
            head(
                "PUT",
                "/files/reset.bin",
                *named(8),
                complete(8, True),
                f"Content-Length: {len(data)}",
            )
        )
        url = interim_of(wire)[1]["location"]
        wire.send(data[: 2 << 20])
        wire.reset()
    offset = int(ask(server, 8, url).headers["upload-offset"])
    assert 0 <= offset <= 2 << 20
    assert stored(server, append(server, 8, url, offset, data[offset:])) == data


def test_without_a_cut_the_response_is_the_targets(server: RunningServer) -> None:
    """As for a file that comes in one request; its Location is the file's."""
    with Wire(server.port) as wire:
        wire.send(head("POST", "/files?name=a", *named(8), complete(8, True), "Content-Length: 5"))
        assert interim_of(wire)[0] == 104
        wire.send(b"hello")
        answer = wire.answer()
        assert answer.status == 201
        assert answer.headers["location"].startswith("/files/")
        assert answer.headers["upload-complete"] == "?1"
        assert stored(server, answer) == b"hello"
        wire.send(head("GET", answer.headers["location"]))  # the connection stays usable
        assert wire.answer().body == b"hello"


@pytest.mark.parametrize("interim", [[], ["Expect: 100-continue"]])
def test_a_104_replaces_no_100(server: RunningServer, interim: list[str]) -> None:
    with Wire(server.port) as wire:
        fields = [*named(8), complete(8, True), "Content-Length: 5", *interim]
        wire.send(head("POST", "/files", *fields))
        seen = [interim_of(wire)[0] for _ in range(1 + len(interim))]
        assert seen == [104, 100][: len(seen)]
        wire.send(b"hello")
        assert wire.answer().status == 201


NO_104 = {
    "no version": [complete(None, True)],
    "an unknown version": ["Upload-Draft-Interop-Version: 99", "Upload-Complete: ?1"],
    "no field": ["Upload-Draft-Interop-Version: 8"],
    "a proxy": [*named(8), complete(8, True), "Via: 1.1 nginx"],
    "another proxy": [*named(8), complete(8, True), "X-Forwarded-For: 10.0.0.1"],
    "Python's http.client": [*named(8), complete(8, True), "User-Agent: python-requests/2.32"],
}


@pytest.mark.parametrize("case", NO_104)
def test_others_get_no_104(server: RunningServer, case: str) -> None:
    """They would take it for the final response. The file is stored as without resumption."""
    with Wire(server.port) as wire:
        wire.send(head("POST", "/files", *NO_104[case], "Content-Length: 5") + b"hello")
        answer = wire.answer()
    assert (answer.status, answer.interim) == (201, [])
    assert answer.headers.get("upload-complete") == (None if case == "no field" else "?1")


def test_http_1_0_gets_no_104(server: RunningServer) -> None:
    request = head("POST", "/files", *named(8), complete(8, True), "Content-Length: 5")
    answer = talk(server.port, request.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
    assert (answer.status, answer.interim) == (201, [])


def test_a_form_of_a_client_that_could_resume_is_stored(server: RunningServer) -> None:
    """Phones mark every upload, forms too: no 104, since a form cannot go on."""
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nhi\r\n--b--\r\n'
    fields = ["Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}"]
    answer = talk(server.port, head("POST", "/files", *named(8), complete(8, True), *fields) + body)
    assert (answer.status, answer.interim, stored(server, answer)) == (201, [], b"hi")
    assert answer.headers["upload-complete"] == "?1"
    refused = talk(server.port, form_head(5, *named(8), complete(8, False)) + b"--b--")
    assert refused.status == 400
    assert "PUT" in refused.json()["detail"]


def test_progress_is_told_while_bytes_arrive(server: RunningServer) -> None:
    """Each offset is kept; 104s of progress have no Location."""
    with Wire(server.port) as wire:
        url = create(server, 8).headers["location"]
        size = 3 << 20
        wire.send(head("PATCH", url, *append_fields(8, 0, True), f"Content-Length: {size}"))
        sent, seen = 0, list[tuple[int, dict[str, str]]]()
        wire.sock.settimeout(0.3)
        while not seen and sent < size - 1024:
            wire.send(b"x" * 1024)
            sent += 1024
            try:
                seen.append(interim_of(wire))
            except TimeoutError:
                continue
        wire.sock.settimeout(30)
        status, fields = seen[0]
        assert status == 104
        assert "location" not in fields
        assert 0 < int(fields["upload-offset"]) <= sent
        assert int(ask(server, 8, url).headers["upload-offset"]) >= int(fields["upload-offset"])


def test_a_new_request_interrupts_the_one_that_runs(server: RunningServer) -> None:
    """What that one took is kept, and the offset is accepted."""
    with Wire(server.port) as wire:
        lines = [*named(8), complete(8, True), "Content-Length: 1000"]
        wire.send(head("POST", "/files", *lines))
        url = interim_of(wire)[1]["location"]
        wire.send(b"x" * 400)
        eventually(lambda: int(ask(server, 8, url).headers["upload-offset"]) >= 0)
        offset = int(ask(server, 8, url).headers["upload-offset"])
        assert wire.answer().status == 409  # superseded
    last = append(server, 8, url, offset, b"x" * (1000 - offset))
    assert stored(server, last) == b"x" * 1000
