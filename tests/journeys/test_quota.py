"""Quotas by real servers: exact to the byte in each dialect, and told before the body comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from raw_http import Wire, chunk, head
from sluiceway.server.access.link_keys import add_key, first_key
from token_names import Client, secret_of, token_file

QUOTA = 100_000
TUS = {"Tus_Resumable": "1.0.0"}
OFFSET = "application/offset+octet-stream"
MAKER = "upload,read,list,delete"
FORM_TYPE = {"Content_Type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("quota")
    names = {f"n{number}": f"{MAKER} quota={QUOTA}" for number in range(12)}
    tokens = token_file(folder / "tokens", {**names, "boss": "admin"})
    add_key(str(folder / "keys"))
    server = start_server(
        folder / "root", "--token-file", str(tokens), "--link-key-file", str(folder / "keys")
    )
    yield server
    server.stop()


def form(size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="form.txt"\r\n\r\n'
    return part + bytes(size) + b"\r\n--b--\r\n"


def left(client: Client) -> int:
    """What a refusal says; it stores nothing."""
    response = client("PUT", "/files/far-too-large", bytes(QUOTA + 1))
    assert response.status_code == 413, response.text
    problem = response.json()
    assert problem["code"] == "over-quota"
    assert problem["quota"] == QUOTA
    assert f"{problem['left']} left" in problem["detail"]
    return int(problem["left"])


def test_a_quota_is_exact_and_deleted_files_give_back(running: RunningServer) -> None:
    client, other = Client(running.url, "n0"), Client(running.url, "n1")
    assert left(client) == QUOTA
    assert client("PUT", "/files/q0/a", bytes(60_000)).status_code == 201
    assert left(client) == 40_000
    assert client("PUT", "/files/q0/b", bytes(40_001)).status_code == 413
    assert client("PUT", "/files/q0/b", bytes(40_000)).status_code == 201
    assert left(client) == 0
    assert client("PUT", "/files/q0/c", b"x").status_code == 413
    assert client("PUT", "/files/q0/c", b"").status_code == 201  # it needs no room
    assert left(other) == QUOTA  # each name has its own
    assert client("MOVE", "/files/q0/b", Destination="/files/q0/d").status_code == 201
    assert left(client) == 0
    assert client("DELETE", "/files/q0/d").status_code == 204
    assert left(client) == 40_000
    assert Client(running.url, "boss")("DELETE", "/files/q0/a").status_code == 204
    assert left(client) == QUOTA


def test_a_file_that_replaces_another_needs_the_difference(running: RunningServer) -> None:
    """By the same name; a file of another one is given back to that one."""
    client, other = Client(running.url, "n1"), Client(running.url, "n2")
    assert client("PUT", "/files/q1/a", bytes(60_000)).status_code == 201
    for size in (100_000, 10, 99_999):
        assert client("PUT", "/files/q1/a", bytes(size)).status_code == 200
        assert left(client) == QUOTA - size
    response = client("PUT", "/files/q1/a", bytes(100_001))
    assert (response.status_code, response.json()["left"]) == (413, QUOTA)
    assert client("GET", "/files/q1/a").content == bytes(99_999)
    assert other("PUT", "/files/q1/a", bytes(30_000)).status_code == 200
    assert (left(client), left(other)) == (QUOTA, 70_000)


def test_a_refusal_comes_before_the_body(running: RunningServer) -> None:
    with Wire(running.port) as wire:
        fields = (f"Authorization: Bearer {secret_of('n3')}", f"Content-Length: {QUOTA + 1}")
        wire.send(head("PUT", "/files/q3/a", *fields))
        answer = wire.answer()
    assert (answer.status, answer.json()["left"]) == (413, QUOTA)


def test_a_body_of_unknown_length_ends_at_the_quota(running: RunningServer) -> None:
    """Nothing of it stays, and the room is free again."""
    client = Client(running.url, "n4")
    with Wire(running.port) as wire:
        fields = (f"Authorization: Bearer {secret_of('n4')}", "Transfer-Encoding: chunked")
        wire.send(head("PUT", "/files/q4/a", *fields) + chunk(bytes(QUOTA)) + chunk(b"x"))
        assert wire.answer().status == 413
    assert client("GET", "/files/q4/a").status_code == 404
    with Wire(running.port) as wire:
        wire.send(head("PUT", "/files/q4/a", *fields) + chunk(bytes(QUOTA)) + b"0\r\n\r\n")
        assert wire.answer().status == 201
    assert client("DELETE", "/files/q4/a").status_code == 204
    assert client("POST", "/files", form(QUOTA + 1), **FORM_TYPE).status_code == 413
    assert client("POST", "/files", form(QUOTA - 5), **FORM_TYPE).status_code == 201
    assert left(client) == 5


def test_a_cut_upload_gives_its_room_back(running: RunningServer) -> None:
    client = Client(running.url, "n5")
    with Wire(running.port) as wire:
        fields = (f"Authorization: Bearer {secret_of('n5')}", f"Content-Length: {QUOTA}")
        wire.send(head("PUT", "/files/q5/a", *fields) + bytes(1000))
        eventually(lambda: left(client) == 0, "the announced length is reserved")
    eventually(lambda: left(client) == QUOTA, "it is given back")


def test_resumable_uploads_count_from_their_creation(running: RunningServer) -> None:
    client = Client(running.url, "n6")

    def made(size: int, **fields: str) -> requests.Response:
        return client("POST", "/files", b"", Upload_Length=str(size), **fields, **TUS)

    def path(response: requests.Response) -> str:
        assert response.status_code == 201, response.text
        return "/uploads/" + response.headers["Location"].rpartition("/")[2]

    first = path(made(70_000))
    assert left(client) == 30_000
    assert made(30_001).status_code == 413
    second = path(made(30_000))
    assert client("DELETE", second, **TUS).status_code == 204
    assert left(client) == 30_000
    sent = client("PATCH", first, bytes(70_000), Upload_Offset="0", Content_Type=OFFSET, **TUS)
    assert sent.status_code == 204
    assert left(client) == 30_000
    # parts have their bytes until they are joined
    parts = [path(made(15_000, Upload_Concat="partial")) for _ in range(2)]
    for part in parts:
        client("PATCH", part, bytes(15_000), Upload_Offset="0", Content_Type=OFFSET, **TUS)
    assert left(client) == 0
    final = client("POST", "/files", b"", Upload_Concat=f"final;{parts[0]} {parts[1]}", **TUS)
    assert final.status_code == 201, final.text
    assert left(client) == 0
    # pieces of an unknown length count as they come
    late = Client(running.url, "n7")
    upload = path(late("POST", "/files", b"", Upload_Defer_Length="1", **TUS))
    late("PATCH", upload, bytes(60_000), Upload_Offset="0", Content_Type=OFFSET, **TUS)
    assert left(late) == 40_000
    over = late("PATCH", upload, bytes(40_001), Upload_Offset="60000", Content_Type=OFFSET, **TUS)
    assert over.status_code == 413
    assert late("DELETE", upload, **TUS).status_code == 204
    assert left(late) == QUOTA


def test_parts_beside_an_upload_are_of_its_own_bytes(running: RunningServer) -> None:
    """A file that takes the whole quota may come so, and its quota is counted once. Parts have no
    more bytes than it, are of the same name, and count by themselves when it is given up."""
    client, other = Client(running.url, "n10"), Client(running.url, "n11")

    def begun(size: int) -> str:
        made = client("POST", "/files", b"", Upload_Length=str(size), Upload_Complete="?0")
        return made.headers["Location"].rpartition("/")[2]

    def part(whole: str, size: int, client: Client = client) -> requests.Response:
        fields = {"Upload_Concat": "partial", "Upload_Part_Of": whole, **TUS}
        return client("POST", "/files", b"", Upload_Length=str(size), **fields)

    def filled(whole: str, size: int) -> str:
        upload = part(whole, size).headers["Location"].rpartition("/")[2]
        fields = {"Upload_Offset": "0", "Content_Type": OFFSET, **TUS}
        assert client("PATCH", f"/uploads/{upload}", bytes(size), **fields).status_code == 204
        return upload

    whole = begun(QUOTA)
    assert part(whole, 10, other).status_code == 404
    first, last = filled(whole, 60_000), filled(whole, 40_000)
    assert part(whole, 1).status_code == 400
    assert left(client) == 0
    assert client("DELETE", f"/uploads/{last}", **TUS).status_code == 204
    last = filled(whole, 40_000)
    append = {"Upload_Offset": "0", "Content_Type": "application/partial-upload"}
    joined = client(
        "PATCH",
        f"/uploads/{whole}",
        b"",
        Upload_Complete="?1",
        Upload_Parts=f"{first} {last}",
        **append,
    )
    assert joined.status_code == 201, joined.text
    assert left(client) == 0
    assert client("DELETE", f"/files/{joined.json()['files'][0]['key']}").status_code == 204
    assert left(client) == QUOTA
    whole = begun(50_000)
    part(whole, 20_000)
    assert left(client) == QUOTA - 50_000
    client("DELETE", f"/uploads/{whole}")
    assert left(client) == QUOTA - 20_000


def test_a_link_has_a_quota_of_its_own(running: RunningServer) -> None:
    keys = running.root.parent / "keys"
    made = sluiceway.link(running.url, first_key(str(keys)), prefix="l/", quota=1000)
    link = Client(made.rstrip("/"), "")
    assert link("POST", "/files", bytes(600)).status_code == 201
    refused = link("POST", "/files", bytes(401))
    assert (refused.status_code, refused.json()["left"]) == (413, 400)
    assert link("POST", "/files", bytes(400)).status_code == 201


def test_a_server_that_counts_nothing_takes_nothing_with_a_quota(
    serve: Serve, tmp_path: Path
) -> None:
    add_key(str(tmp_path / "keys"))
    server = serve("--link-key-file", str(tmp_path / "keys"))
    made = sluiceway.link(server.url, first_key(str(tmp_path / "keys")), prefix="l/", quota=1000)
    response = requests.post(f"{made}files", data=b"x", timeout=60)
    assert response.status_code == 403
    assert server.stored() == {}


# Several processes, all names


def total_left(url: str) -> int:
    response = requests.put(f"{url}/files/far-too-large", data=bytes(2 * QUOTA), timeout=60)
    assert response.status_code == 507, response.text
    assert response.json()["code"] == "no-space"
    return int(response.json()["left"])


def test_servers_of_one_folder_share_the_quota_also_after_a_kill(tmp_path: Path) -> None:
    """What is stored is counted at the start; what a killed process had reserved is free."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "by-hand").write_bytes(bytes(10_000))
    options = ("--quota", str(QUOTA))
    one, two = start_server(root, *options), start_server(root, *options)
    try:
        assert total_left(one.url) == total_left(two.url) == 90_000
        assert requests.put(f"{one.url}/files/a", data=bytes(20_000), timeout=60).status_code == 201
        with Wire(one.port) as wire:
            wire.send(head("PUT", "/files/b", "Content-Length: 70000") + bytes(1000))
            eventually(lambda: total_left(two.url) == 0, "it is reserved")
            os.kill(one.pid, signal.SIGKILL)
            eventually(lambda: total_left(two.url) == 70_000, "it is free")
        assert requests.put(f"{two.url}/files/c", data=bytes(70_000), timeout=60).status_code == 201
        two.stop()
        two = start_server(root, *options)
        assert total_left(two.url) == 0
    finally:
        one.stop()
        two.stop()


def race(tmp_path: Path, processes: int, uploads: int, size: int, unannounced: int = 0) -> None:
    """Parallel uploads of processes against one quota; so many do not announce their length.

    Those are refused when their next byte does not fit, and others meanwhile, too.
    """
    fitting = uploads // 2
    options = ("--quota", str(fitting * size + size // 2))
    servers = [start_server(tmp_path / "root", *options) for _ in range(processes)]
    try:

        def send(number: int) -> int:
            server, data = servers[number % processes], bytes(size)
            body = iter([data]) if number < unannounced else data
            url = f"{server.url}/files/u{number}"
            return requests.put(url, data=body, timeout=300).status_code

        with ThreadPoolExecutor(uploads) as pool:
            statuses = list(pool.map(send, range(uploads)))
        assert set(statuses) <= {201, 507}
        stored = servers[0].stored()
        assert len(stored) == statuses.count(201) <= fitting
        assert sum(stored.values()) <= fitting * size
        if unannounced:
            return
        assert len(stored) == fitting
        rest = requests.put(f"{servers[0].url}/files/rest", data=bytes(size // 2), timeout=60)
        assert rest.status_code == 201
        more = requests.put(f"{servers[-1].url}/files/more", data=b"x", timeout=60)
        assert (more.status_code, more.json()["left"]) == (507, 0)
    finally:
        for server in servers:
            server.stop()


def test_a_race_for_the_last_bytes(tmp_path: Path) -> None:
    race(tmp_path, 2, 16, 30_000)


@pytest.mark.torture
@pytest.mark.parametrize("unannounced", [0, 21])
def test_a_race_of_64_uploads_of_4_processes(tmp_path: Path, unannounced: int) -> None:
    race(tmp_path, 4, 64, 3_000_000, unannounced)


def test_uploads_leave_the_disk_its_free_space(serve: Serve) -> None:
    """Refused before the body, with what is left."""
    status = os.statvfs("/tmp")
    server = serve("--keep-free", str(status.f_blocks * status.f_frsize))
    response = requests.put(f"{server.url}/files/a", data=b"x", timeout=60)
    assert (response.status_code, response.json()["left"]) == (507, 0)
    assert requests.put(f"{server.url}/files/a", data=b"", timeout=60).status_code == 201


@pytest.mark.parametrize("size", [80_000, None], ids=["length", "chunked"])
def test_what_a_cut_put_leaves_keeps_its_own_room(running: RunningServer, size: int | None) -> None:
    """Nothing is reserved twice, and nobody else can take the room in between."""
    name = "n8" if size is None else "n9"
    client, path, sent = Client(running.url, name), f"/files/cut/{name}", bytes(70_000)
    length = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
    for _ in range(2):  # the second one takes the place of the first
        logged = len(running.lines)
        with Wire(running.port) as wire:
            token = f"Authorization: Bearer {secret_of(name)}"
            wire.send(head("PUT", path, token, length) + (chunk(sent) if size is None else sent))
            wire.half_close()
            answer = wire.answer()
        assert (answer.code, answer.headers.get("upload-offset")) == ("body-cut", "70000")
        assert left(client) == QUOTA - (size or len(sent))
        line = f"in={len(sent)} kept={len(sent)} state=failed"
        eventually(lambda: any(line in each for each in running.lines[logged:]), "it is logged")  # noqa: B023
    asked = client("PUT", path, b"", Content_Range="bytes */*")
    assert asked.headers["upload-offset"] == "70000"
