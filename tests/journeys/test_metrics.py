"""`/metrics` of a server of two processes: against its log and its disk, after transfers of every
kind with faults; and how it is now."""

from __future__ import annotations

import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import TORTURE, eventually
from log_lines import json_lines
from raw_http import head
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from tus_by_hand import OFFSET_STREAM, Tus, creation

MOST = 50_000  # bytes of an upload that this server takes
COUNT = 2000 if TORTURE else 40
UPLOAD = "an-upload-that-waits-0123456789"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(
        tmp_path_factory.mktemp("metrics") / "root",
        *("--workers", "2", "--log-format", "json", "--metrics-port", "0"),
        *("--max-size", str(MOST), "--no-auth"),
    )
    yield server
    server.stop()


def address(server: RunningServer) -> str:
    """Of the metrics' own port."""
    found = re.search(r"metrics at (http://[^\"\s]+)", server.log())
    assert found is not None
    return found[1]


def scrape(url: str) -> dict[str, float]:
    """Sample, with its labels in order -> value."""
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200, answer.text
    pairs = [line.rsplit(" ", 1) for line in answer.text.splitlines() if line[:1] != "#"]
    return {name: float(value) for name, value in pairs}


def total(found: dict[str, float], name: str, label: str = "") -> float:
    """The sum of the samples of a name that have this label."""
    return sum(value for key, value in found.items() if key.split("{")[0] == name and label in key)


# The transfers: each ends one upload, in its own way


def put(url: str, name: str, size: int) -> None:
    assert requests.put(f"{url}/files/{name}", bytes(size), timeout=60).status_code == 201


def form(url: str, name: str, size: int) -> None:
    files = [("f", (f"{name}.a", bytes(size))), ("f", (f"{name}.b", b"second"))]
    assert requests.post(f"{url}/files", files=files, timeout=60).status_code == 201


def too_large(url: str, _: str, size: int) -> None:
    body = iter([bytes(size), bytes(MOST)])
    assert requests.post(f"{url}/files", data=body, timeout=60).status_code == 413


def wrong_digest(url: str, name: str, size: int) -> None:
    fields = {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}
    answer = requests.put(f"{url}/files/{name}", bytes(size), headers=fields, timeout=60)
    assert answer.status_code == 400


def begin(url: str, request: bytes, *, reset: bool) -> None:
    """Send less than was announced, and leave."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        if reset:
            return
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def cut(url: str, name: str, size: int) -> None:
    body = head("POST", "/files", f"Content-Length: {size + 9}", f"Slug: {name}") + bytes(size)
    begin(url, body, reset=size % 2 == 0)


def tus_pieces(url: str, name: str, size: int) -> None:
    """One of the requests is cut, and the upload goes on where it was."""
    tus = Tus(url)
    upload = tus.create(size + 9, filename=name)
    fields = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Type: {OFFSET_STREAM}")
    path = upload.removeprefix(url)
    request = head("PATCH", path, *fields, f"Content-Length: {size + 9}") + bytes(size)
    begin(url, request, reset=False)  # answered: one that is only left may begin after the next
    at = tus.offset(upload)
    assert tus.patch(upload, at, bytes(size + 9 - at)).status_code == 204


def tus_cancelled(url: str, name: str, size: int) -> None:
    tus = Tus(url)
    upload = tus.create(size + 9, filename=name)
    assert tus.patch(upload, 0, bytes(size)).status_code == 204
    assert tus.delete(upload).status_code == 204


def beside(url: str, name: str, size: int) -> None:
    """Its last bytes come as parts beside it; one part more is given up."""
    tus = Tus(url)
    fields = {"Upload-Complete": "?0", "Upload-Length": str(size + 18), "Slug": name}
    whole = requests.post(f"{url}/files", headers=fields, timeout=60).headers["Location"]
    upload = whole.rpartition("/")[2]
    parts = []
    for _ in range(3):
        headers = creation(9) | {"Upload-Concat": "partial", "Upload-Part-Of": upload}
        parts.append(tus.post(headers).headers["Location"].rpartition("/")[2])
        assert tus.patch(f"{url}/uploads/{parts[-1]}", 0, bytes(9)).status_code == 204
    assert tus.delete(f"{url}/uploads/{parts.pop()}").status_code == 204
    fields = {"Content-Type": "application/partial-upload", "Upload-Complete": "?0"}
    for offset, data in ((0, bytes(size)), (size, b"")):
        fields |= {"Upload-Offset": str(offset)}
        if offset:
            fields |= {"Upload-Complete": "?1", "Upload-Parts": " ".join(parts)}
        answer = requests.patch(urljoin(url, whole), data, headers=fields, timeout=60)
        assert answer.status_code == (201 if offset else 204), answer.text


KINDS: list[Callable[[str, str, int], None]] = [
    put,
    form,
    too_large,
    wrong_digest,
    cut,
    tus_pieces,
    tus_cancelled,
    beside,
]


def test_metrics_log_and_disk_agree_to_the_byte(running: RunningServer) -> None:
    """Whichever process took an upload, and however it ended."""
    draw = random.Random(40)  # the same each time
    jobs = [(KINDS[at % len(KINDS)], f"n{at}", draw.randrange(1, 9000)) for at in range(COUNT)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(kind, running.url, name, size) for kind, name, size in jobs]:
            done.result()
    requests.get(f"{running.url}/no-such-path", timeout=30)

    def lines() -> list[dict[str, Any]]:
        return [line for line in json_lines(running) if line.get("event") in ("upload", "request")]

    def all_is_written() -> bool:
        if running.log().count('"event":"upload"') < COUNT:
            return False
        asked = total(scrape(address(running)), "sluiceway_requests_total")
        return len(lines()) == asked

    eventually(all_is_written, "each upload has ended, and each request is in the log")
    found, uploads = scrape(address(running)), [one for one in lines() if one["event"] == "upload"]
    assert len({line["upload"] for line in uploads}) == COUNT

    states = Counter(line["state"] for line in uploads)
    for state in ("complete", "failed", "cancelled"):
        counted = total(found, "sluiceway_uploads_total", f'state="{state}"')
        assert counted == states[state], state
    complete = sum(line["kept"] for line in uploads if line["state"] == "complete")
    assert total(found, "sluiceway_published_bytes_total") == complete
    assert complete == sum(running.stored().values())
    received = sum(line.get("received", 0) for line in lines())
    assert total(found, "sluiceway_upload_bytes_total", 'stage="received"') == received
    assert total(found, "sluiceway_upload_bytes_total", 'stage="kept"') >= complete
    codes = Counter(line["code"] for line in lines() if line.get("state") != "cancelled")
    del codes[""]
    assert {"too-large", "digest-mismatch", "body-cut", "not-found"} <= set(codes)
    for code, count in codes.items():
        assert total(found, "sluiceway_refusals_total", f'code="{code}"') == count, code
    assert total(found, "sluiceway_refusals_total") == sum(codes.values())
    brought = [line for line in lines() if "stages" in line]
    assert total(found, "sluiceway_upload_seconds_count") == len(brought)
    stages = total(found, "sluiceway_upload_stage_seconds_total")
    assert stages == pytest.approx(total(found, "sluiceway_upload_seconds_sum"))


def test_each_process_answers_for_all(running: RunningServer) -> None:
    """Also for those that have ended no upload: the counts are those of the own port."""
    requests.put(f"{running.url}/files/for-all", b"1", timeout=30)
    name = "sluiceway_uploads_total"
    eventually(lambda: total(scrape(address(running)), name) >= 1, "the upload is counted")
    expected = total(scrape(address(running)), name)
    for _ in range(6):  # each on a connection of its own: either process may take it
        assert total(scrape(f"{running.url}/metrics"), name) == expected


def test_the_gauges_say_how_it_is(running: RunningServer) -> None:
    """Processes, connections, uploads under way with their bytes so far, memory, descriptors."""
    url = address(running)
    before = total(scrape(url), "sluiceway_upload_bytes_total", 'stage="received"')
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(head("POST", "/files", "Content-Length: 1000") + bytes(600))

        def shows_it() -> bool:
            found = scrape(url)
            moved = total(found, "sluiceway_upload_bytes_total", 'stage="received"') - before
            return moved == 600 and total(found, "sluiceway_uploads_running") == 1

        eventually(shows_it, "an upload under way is counted")
        found = scrape(url)
        assert total(found, "sluiceway_processes") == 2
        assert total(found, "sluiceway_connections_open") >= 1
        assert total(found, "sluiceway_memory_budget_bytes") == 64 << 20
        assert total(found, "sluiceway_descriptors_open") > 0
        assert total(found, "sluiceway_descriptors_open") < total(
            found, "sluiceway_descriptors_limit"
        )
    eventually(lambda: total(scrape(url), "sluiceway_uploads_running") == 0, "it was cut")


def test_the_labels_are_bounded(running: RunningServer) -> None:
    """No name, key or address of a client is one; both formats are valid."""
    fields = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = requests.get(address(running), headers=fields, timeout=30)
    assert answer.text.endswith("# EOF\n")
    labels = set(re.findall(r"(\w+)=\"", answer.text))
    assert labels == {"destination", "state", "stage", "code", "le", "hook", "outcome"}
    assert "n1" not in answer.text
    assert "127.0.0.1" not in answer.text


def test_an_operator_sees_what_runs_and_ends_it(running: RunningServer) -> None:
    """Of both processes: the key, the bytes, the stage. An upload that is over, or that no request
    brings bytes to, does not run."""
    url, clients = running.url, []

    def shown() -> dict[str, dict[str, Any]]:
        answer = requests.get(f"{url}/uploads", timeout=30).json()
        return {one["key"]: one for one in answer["uploads"]}

    eventually(lambda: shown() == {}, "nothing runs")
    try:
        for at in range(2):
            clients.append(socket.create_connection(("127.0.0.1", running.port), timeout=30))
            target = f"/files/runs{at}?upload={UPLOAD}{at}"
            clients[at].sendall(head("PUT", target, "Content-Length: 1000") + bytes(300))
        eventually(
            lambda: (
                [(one["received"], one["stage"]) for one in shown().values()]
                == [(300, "wait-for-client")] * 2
            ),
            "both are shown with their bytes, waiting for the client",
        )
        for at in range(2):
            one = shown()[f"runs{at}"]
            assert (one["id"], one["length"]) == (f"{UPLOAD}{at}", 1000)
            assert (one["state"], one["name"]) == ("receiving", "")
            assert one["seconds"] >= 0
        first = requests.get(f"{url}/uploads?limit=1", timeout=30).json()
        assert (len(first["uploads"]), first["truncated"]) == (1, True)
        assert requests.delete(f"{url}/uploads/{UPLOAD}0", timeout=30).status_code == 204
        eventually(lambda: list(shown()) == ["runs1"], "one has ended")
    finally:
        for client in clients:
            client.close()
    tus = Tus(url)
    tus.patch(tus.create(9, filename="rests"), 0, b"123")
    eventually(lambda: shown() == {}, "nothing runs")


def test_an_upload_with_parts_beside_it_is_one_that_runs(running: RunningServer) -> None:
    """And is as fast as all of them together."""
    url, clients = running.url, []
    fields = {"Upload-Complete": "?0", "Upload-Length": "9000", "Slug": "wide"}
    whole = requests.post(f"{url}/files", headers=fields, timeout=60).headers["Location"]
    upload = whole.rpartition("/")[2]
    paths = [f"/uploads/{upload}"]
    for _ in range(2):
        headers = creation(3000) | {"Upload-Concat": "partial", "Upload-Part-Of": upload}
        location = Tus(url).post(headers).headers["Location"]
        paths.append(f"/uploads/{location.rpartition('/')[2]}")
    try:
        for path in paths:
            kind = "Tus-Resumable: 1.0.0", f"Content-Type: {OFFSET_STREAM}"
            if path == paths[0]:
                kind = "Upload-Complete: ?0", "Content-Type: application/partial-upload"
            lines = (*kind, "Upload-Offset: 0", "Content-Length: 3000")
            clients.append(socket.create_connection(("127.0.0.1", running.port), timeout=30))
            clients[-1].sendall(head("PATCH", path, *lines) + bytes(300))

        def shown() -> list[dict[str, Any]]:
            return requests.get(f"{url}/uploads", timeout=30).json()["uploads"]  # type: ignore[no-any-return]

        eventually(lambda: [one["id"] for one in shown()] == [upload], "there is one upload")
        name = "sluiceway_uploads_running"
        eventually(lambda: total(scrape(address(running)), name) == 1, "one is counted")

        def rate() -> int:
            for client in clients[1:]:
                client.sendall(bytes(1))
            return int(shown()[0]["bytes_per_second"])

        eventually(lambda: rate() > 0, "the bytes of its parts count")
    finally:
        for client in clients:
            client.close()


def test_a_port_that_is_taken_is_an_error_at_the_start(serve: Serve) -> None:
    """As is one that is none."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(AssertionError, match="for metrics"),
    ):
        serve("--metrics-port", str(taken.getsockname()[1]))
    for wrong in ("70000", "x", -1):
        with pytest.raises(BadSetting, match="--metrics-port must be"):
            Settings(metrics_port=wrong)
    assert Settings(metrics_port="9464").metrics_address == ("127.0.0.1", 9464)
