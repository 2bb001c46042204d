"""`--log-format json`: one line for each upload, in any dialect and at any ending; no secret."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import eventually
from log_lines import json_lines, upload_lines
from raw_http import Wire, head
from sluiceway.server.access.link_keys import add_key
from token_names import NAMES, Client, secret_of, token_file
from tus_by_hand import OFFSET_STREAM, coded

TUS = {"Tus_Resumable": "1.0.0"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("log")
    add_key(str(folder / "keys"))
    server = start_server(
        folder / "root",
        *("--log-format", "json", "--max-size", "100kB"),
        *("--token-file", str(token_file(folder / "tokens"))),
        *("--link-key-file", str(folder / "keys")),
    )
    yield server
    server.stop()


def ended(server: RunningServer, before: int, count: int) -> list[dict[str, Any]]:
    """The lines of the uploads that ended since there were `before` lines."""
    eventually(lambda: len(upload_lines(server)) >= before + count, f"{count} uploads have ended")
    return upload_lines(server)[before:]


def tus_upload(boss: Client, name: str, data: bytes, pieces: int) -> str:
    """Its path."""
    made = boss(
        "POST", "/files", **TUS, Upload_Length=str(len(data)), Upload_Metadata=coded(filename=name)
    )
    path, size = "/uploads/" + made.headers["Location"].rsplit("/", 1)[1], len(data) // pieces
    for at in range(0, size * pieces, size):
        kind = {"Upload_Offset": str(at), "Content_Type": OFFSET_STREAM}
        assert boss("PATCH", path, data[at : at + size], **TUS, **kind).status_code == 204
    return path


def test_each_upload_has_one_line(running: RunningServer) -> None:
    """Raw, form, tus in pieces, refused, cut, cancelled: id, key, name, bytes, status, code,
    stages, client and request id."""
    boss, before = Client(running.url, "boss"), len(upload_lines(running))
    token = {"Authorization": f"Bearer {secret_of('boss')}"}
    url = f"{running.url}/files"
    put = boss("PUT", "/files/one.bin", b"12345", X_Request_ID="my-request/1")
    form = requests.post(
        url,
        files=[("f", ("a.txt", b"aa")), ("g", ("b.txt", b"bbb"))],
        headers=token,
        timeout=30,
    )
    tus_upload(boss, "tus.bin", b"t" * 300, 3)
    large = boss("PUT", "/files/large.bin", iter([b"x" * 200_000]))  # type: ignore[arg-type]
    wrong = boss("PUT", "/files/wrong.bin", b"1", Repr_Digest="sha-256=:" + "A" * 43 + "=:")
    cut = socket.create_connection(("127.0.0.1", running.port))
    with cut:
        fields = (f"Authorization: {token['Authorization']}", "Content-Length: 100")
        cut.sendall(head("POST", "/files", *fields) + b"c" * 7)
    made = boss("POST", "/files", **TUS, Upload_Length="10")
    cancelled = "/uploads/" + made.headers["Location"].rsplit("/", 1)[1]
    boss("PATCH", cancelled, b"1234", **TUS, Upload_Offset="0", Content_Type=OFFSET_STREAM)
    assert boss("DELETE", cancelled, **TUS).status_code == 204
    assert [put.status_code, form.status_code, large.status_code, wrong.status_code] == [
        201,
        201,
        413,
        400,
    ]

    lines = ended(running, before, 7)
    assert Counter(line["upload"] for line in lines).most_common(1)[0][1] == 1
    found = sorted((line["state"], line["code"], line["status"], line["kept"]) for line in lines)
    assert found == [
        ("cancelled", "cancelled", 204, 4),
        ("complete", "", 201, 5),
        ("complete", "", 201, 5),
        ("complete", "", 204, 300),
        ("failed", "body-cut", 400, 0),
        ("failed", "digest-mismatch", 400, 0),
        ("failed", "too-large", 413, 0),
    ]
    for line in lines:
        assert re.fullmatch(r"[0-9-]{10}T[0-9:.]{12}Z", line["time"])
        assert (line["client"], line["name"]) == ("127.0.0.1", "boss")
        assert line["request_id"]
        assert line["state"] == "cancelled" or sum(line["stages"].values()) >= 0
    by_key = {line["key"].rsplit("/", 1)[-1]: line for line in lines}
    assert by_key["one.bin"]["upload"] == put.headers["Upload-Id"]
    assert by_key["one.bin"]["request_id"] == put.headers["X-Request-ID"] == "my-request/1"
    assert (by_key["a.txt"]["files"], by_key["one.bin"]["received"]) == (2, 5)
    assert by_key["a.txt"]["received"] == int(form.request.headers["Content-Length"])
    # What the requests of one upload brought, together.
    pieces = [line for line in json_lines(running) if line.get("method") == "PATCH"]
    assert sum(line["received"] for line in pieces) == 304
    assert sum(line["kept"] for line in lines if line["state"] == "complete") == sum(
        running.stored().values()
    )


def test_each_refusal_has_its_code_in_the_log_and_the_counts(running: RunningServer) -> None:
    """In each dialect, and below a link: the code of the body, once."""
    boss = Client(running.url, "boss")
    piece = {**TUS, "Content_Type": OFFSET_STREAM, "Upload_Offset": "0"}
    part = {"Content_Type": "application/partial-upload", "Upload_Offset": "0"}

    def begun(client: Client, length: str, **fields: str) -> str:
        made = client("POST", "/files", **fields, Upload_Length=length)
        return "/uploads/" + made.headers["Location"].rsplit("/", 1)[1]

    def counts() -> dict[str, float]:
        lines = boss("GET", "/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("sluiceway_refusals_")]
        return {name.split('"')[1]: float(count) for name, count in pairs if '"' in name}

    before, tus = counts(), begun(boss, "10", **TUS)
    held = begun(boss, "10", Upload_Complete="?0")
    wrong, gone = {"Upload_Offset": "9"}, "/uploads/none-of-that-id-0123456789"
    sha1 = "sha1 " + "A" * 27 + "="
    refused = [
        ("offset-mismatch", boss("PATCH", tus, b"1", **piece | wrong)),
        ("too-large", boss("PATCH", tus, b"1" * 11, **piece)),
        ("digest-mismatch", boss("PATCH", tus, b"1", **piece, Upload_Checksum=sha1)),
        ("not-found", boss("PATCH", gone, b"1", **piece)),
        ("not-found", boss("HEAD", gone, **TUS)),
        ("not-found", boss("DELETE", gone, **TUS)),
        ("offset-mismatch", boss("PATCH", held, b"1", **part | wrong, Upload_Complete="?0")),
        ("not-found", boss("HEAD", gone)),
        ("offset-mismatch", boss("PUT", "/files/p.bin", b"1", Content_Range="bytes 5-5/9")),
    ]
    link = boss("POST", "/links", json.dumps({"prefix": "once/", "count": 1})).json()["path"]
    holder = Client(running.url + link.rstrip("/"), "")
    uploads = [begun(holder, "1", **TUS), begun(holder, "1", **TUS)]
    late = begun(holder, "1", Upload_Complete="?0")
    assert holder("PATCH", uploads[0], b"1", **piece).status_code == 204
    refused += [
        ("forbidden", holder("PATCH", uploads[1], b"1", **piece)),
        ("forbidden", holder("HEAD", uploads[1], **TUS)),
        ("forbidden", holder("PATCH", late, b"1", **part, Upload_Complete="?1")),
        ("forbidden", holder("HEAD", late)),
    ]
    for code, answer in refused:
        said = answer.json()["code"] if answer.content else code
        assert (said, answer.status_code >= 400) == (code, True), (answer.request.url, said)
    ids = {answer.headers["X-Request-ID"]: code for code, answer in refused}
    eventually(lambda: all(each in running.log() for each in ids), "the log has each request")
    lines = [line for line in json_lines(running) if line.get("request_id") in ids]
    assert {line["request_id"]: line["code"] for line in lines} == ids
    after = counts()
    moved = {code: after[code] - before.get(code, 0) for code in ids.values()}
    assert moved == Counter(ids.values())


def test_the_id_of_an_upload_that_runs_is_not_in_the_log(running: RunningServer) -> None:
    """It is enough to cancel the upload."""
    boss = Client(running.url, "boss")
    made = boss("POST", "/files", **TUS, Upload_Length="10", Upload_Metadata=coded(filename="r"))
    upload = made.headers["Location"].rsplit("/", 1)[1]
    kind = {"Upload_Offset": "0", "Content_Type": OFFSET_STREAM}
    answer = boss("PATCH", f"/uploads/{upload}", b"12", **TUS, **kind)
    request = answer.headers["X-Request-ID"]
    eventually(lambda: request in running.log(), "the log has the request")
    assert upload not in running.log()
    boss("DELETE", f"/uploads/{upload}", **TUS)
    eventually(lambda: running.log().count(upload) == 1, "the upload has ended")


def test_what_runs_has_the_name(running: RunningServer) -> None:
    """Whose an upload is; with a file that is being sent."""
    boss, token = Client(running.url, "boss"), f"Authorization: Bearer {secret_of('acme')}"
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(head("PUT", "/files/acme/runs", token, "Content-Length: 9") + b"12")
        eventually(
            lambda: (
                [(one["key"], one["name"]) for one in boss("GET", "/uploads").json()["uploads"]]
                == [("acme/runs", "acme")]
            ),
            "it is shown",
        )


def test_no_secret_is_in_any_line(running: RunningServer) -> None:
    """Tokens of every kind, queries, cookies, links: also of requests that are refused."""
    boss = Client(running.url, "boss")
    made = boss("POST", "/links", json.dumps({"prefix": "in/", "count": 9})).json()
    link, secret = made["path"].split("/")[2], secret_of("boss")
    hidden = {"Cookie": "session=hidden-cookie", "X_Api_Key": "hidden-key"}
    for method, path in (("PUT", "/files/s.bin"), ("GET", "/files/s.bin"), ("GET", "/no-such")):
        boss(method, f"{path}?token=hidden-query&X-Amz-Signature=hidden-sig", b"1", **hidden)
    holder = Client(f"{running.url}/l/{link}", "")
    assert holder("POST", "/files", b"12").status_code == 201
    assert holder("GET", "/files/none?sig=hidden-query").status_code in (403, 404)
    assert Client(f"{running.url}/l/{link}x", "")("GET", "/").status_code == 404
    with Wire(running.port) as wire:
        for path in (f"/l//{link}", f"/./l/{link}", f"/x/../l/{link}/files", f"/L/{link}/",
                     f"//l/{link}", f"/files/l/{link}", f"/l/A/l/{link}", f"/l/{link[:-3]}",
                     f"/x/%6c/{link}", f"/l/%6c/{link}?as=zip", f"/x/l/%65{link[1:]}"):  # fmt: skip
            wire.send(head("GET", path, f"Referer: http://h{path}"))
            assert wire.answer().status in (401, 403, 404), path
    slipped = {"Destination": f"/files/l/{link}/2"}
    assert boss("PUT", f"/files/l/{link}/1", b"1").status_code == 201
    assert boss("MOVE", f"/files/l/{link}/1", **slipped).status_code == 201
    assert boss("DELETE", f"/files/l/{link}/2").status_code == 204
    wrong = {"Authorization": "Bearer hidden-wrong"}
    refused = requests.get(f"{running.url}/files", headers=wrong, timeout=30)
    name = requests.get(f"{running.url}/files", auth=("boss", "hidden-password"), timeout=30)
    assert (refused.status_code, name.status_code) == (401, 401)
    last = name.headers["X-Request-ID"]
    eventually(lambda: last in running.log(), "the log has the last request")
    log = running.log()
    for text in (secret, link[9:-3], "hidden-", "Bearer ", "Basic "):
        assert text not in "".join(line for line in log.splitlines() if line.startswith("{")), text
    assert any(line.get("path") == "/l/.../files" for line in json_lines(running))


def test_a_trace_is_taken_and_answered(running: RunningServer) -> None:
    """Also with an error; what is no trace or no id is replaced. Who is no address is the peer."""
    boss, parent = Client(running.url, "boss"), f"00-{TRACE}-00f067aa0ba902b7-01"
    for path in ("/healthz", "/files/no-such-file"):
        sent_for = "9.9.9.9,junk" if path == "/healthz" else "unknown"
        fields = {"X_Request_ID": 'a b"c', "X_Forwarded_For": sent_for}
        answer = boss("GET", path, traceparent=parent, **fields)
        assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
        assert answer.headers["X-Request-ID"] == TRACE
    eventually(
        lambda: (
            [line["path"] for line in json_lines(running) if line.get("trace_id") == TRACE]
            == ["/healthz", "/files/no-such-file"]
        ),
        "both are in the log",
    )
    found = [line for line in json_lines(running) if line.get("trace_id") == TRACE]
    assert [line["client"] for line in found] == ["127.0.0.1", "127.0.0.1"]


def test_the_audit_log_has_who_changed_what(running: RunningServer) -> None:
    """Deletes, renames, links made and revoked, tokens changed: once each."""
    boss = Client(running.url, "boss")
    boss("PUT", "/files/gone.bin", b"1")
    assert boss("MOVE", "/files/gone.bin", Destination="/files/new.bin").status_code == 201
    assert boss("DELETE", "/files/new.bin").status_code == 204
    assert boss("DELETE", "/files/new.bin").status_code == 404
    link = boss("POST", "/links", json.dumps({"prefix": "audit/"})).json()["id"]
    assert boss("DELETE", f"/links/{link}").status_code == 204
    token_file(running.root.parent / "tokens", {**NAMES, "fresh": "read", "blind": "read,list"})

    def reloaded() -> list[dict[str, Any]]:
        boss("GET", "/healthz")
        boss("GET", "/files?limit=1")
        return [line for line in json_lines(running, "audit") if line["action"] == "reload-tokens"]

    eventually(reloaded, "the tokens are read again")
    assert [(line["added"], line["changed"]) for line in reloaded()] == [("fresh", "blind")]
    lines = [line for line in json_lines(running, "audit") if line.get("name") == "boss"]
    ours = [
        (line["action"], line.get("key") or line.get("link"))
        for line in lines
        if "gone" in str(line) or "new.bin" in str(line) or link in str(line)
    ]
    assert ours == [
        ("rename", "gone.bin"),
        ("delete", "new.bin"),
        ("make-link", link),
        ("revoke-link", link),
    ]
    assert all(line["request_id"] and line["logger"] == "sluiceway.audit" for line in lines)
