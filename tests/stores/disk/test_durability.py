"""The order that survives a power cut: strace shows the system calls of a real server."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, head

CALLS = (
    "fsync,fdatasync,linkat,renameat,renameat2,rename,unlinkat,mkdirat,"
    "pwrite64,write,writev,sendto,sendmsg,ftruncate"
)


@contextmanager
def traced(server: RunningServer, trace: Path, *options: str) -> Iterator[Callable[[], list[str]]]:
    """Attach strace to a server.

    Inside the block, the function returns the calls so far, one a line, in the order of their ends.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = [
        "strace",
        "-f",
        "-yy",
        "-s",
        "400",
        "-o",
        str(trace),
        "-p",
        str(server.pid),
        *(options or ("-e", f"trace={CALLS}")),
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    if "attached" not in tracer.stderr.readline():
        tracer.kill()
        tracer.communicate()
        pytest.skip("strace may not attach here")
    # "attached" is printed for the first thread
    eventually(lambda: _all_threads_traced(server.pid), "strace has attached to each thread")
    try:
        yield lambda: _whole(trace.read_text(errors="replace"))
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)


def _all_threads_traced(pid: int) -> bool:
    states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return not any("TracerPid:\t0\n" in state for state in states)


def _whole(trace: str) -> list[str]:
    """Join the calls that strace split in two, with their arguments, where they ended."""
    begun: dict[str, str] = {}
    lines = []
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>").rstrip()
        elif found := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            lines.append(begun.pop(thread, "") + found[1])
        else:
            lines.append(call)
    return lines


def first(calls: list[str], pattern: str) -> int:
    """The index of the first call that matches."""
    for number, call in enumerate(calls):
        if re.search(pattern, call):
            return number
    raise AssertionError(f"no {pattern} in\n" + "\n".join(call[:200] for call in calls))


def last(calls: list[str], pattern: str) -> int:
    return len(calls) - 1 - first(calls[::-1], pattern)


@pytest.mark.parametrize("size", [10, 100_000, 5 << 20])
@pytest.mark.parametrize("how", ["create", "create-only", "replace"])
def test_bytes_name_and_folder_are_synchronised_before_the_response(
    serve: Serve, tmp_path: Path, size: int, how: str
) -> None:
    """write -> fsync of the file -> link or rename -> fsync of the folder and every new one ->
    2xx.
    """
    server = serve()
    url = f"{server.url}/files/new/folder/object"
    if how == "replace":
        requests.put(url, data=b"old", timeout=10)
    with traced(server, tmp_path / "trace") as calls:
        headers = {"If-None-Match": "*"} if how == "create-only" else {}
        response = requests.put(url, data=bytes(size), headers=headers, timeout=30)
        assert response.status_code == (200 if how == "replace" else 201)
        eventually(
            lambda: any(f"HTTP/1.1 {response.status_code}" in call for call in calls()),
            "the answer is in the trace",
        )
        seen = calls()

    draft = r"/drafts/\w+\.\w+"
    answered = first(seen, rf"HTTP/1\.1 {response.status_code}")
    written = last(seen[:answered], rf"(pwrite64|write)\(\d+<[^>]*{draft}")
    synced = first(seen, rf"fsync\(\d+<[^>]*{draft}>\) += 0")
    named = last(seen[:answered], r'(linkat|renameat2?)\(.*"object"(, 0)?\) += 0')
    folder = last(seen[:answered], r"fsync\(\d+<[^>]*/root0/new/folder>\) += 0")
    assert written < synced < named < folder < answered
    assert not [
        call
        for call in seen[synced:answered]
        if re.match(rf"(pwrite64|write|ftruncate)\(\d+<[^>]*{draft}", call)
    ]
    if how != "replace":
        for parent in ("root0/new", "root0"):
            made = last(seen[:answered], rf"fsync\(\d+<[^>]*/{parent}>\) += 0")
            assert first(seen, rf"mkdirat\(\d+<[^>]*/{parent}>") < made < answered


def test_a_deletion_is_durable_before_the_response(serve: Serve, tmp_path: Path) -> None:
    """unlink -> fsync of the folder -> 204."""
    server = serve()
    requests.put(f"{server.url}/files/a/b", data=b"1", timeout=10)
    requests.put(f"{server.url}/files/a/c", data=b"1", timeout=10)
    with traced(server, tmp_path / "trace") as calls:
        assert requests.delete(f"{server.url}/files/a/b", timeout=10).status_code == 204
        eventually(
            lambda: any("HTTP/1.1 204" in call for call in calls()), "the answer is in the trace"
        )
        seen = calls()

    assert (
        first(seen, r'unlinkat\(.*"b", 0\) += 0')
        < first(seen, r"fsync\(\d+<[^>]*/root0/a>\) += 0")
        < first(seen, "HTTP/1.1 204")
    )


def test_no_byte_is_reported_as_kept_before_it_is_synchronised(
    serve: Serve, tmp_path: Path
) -> None:
    """Every event with kept bytes comes after the fdatasync that kept them."""
    server = serve()
    upload = "d" * 30
    with traced(server, tmp_path / "trace") as calls, Wire(server.port) as wire:
        watcher = threading.Thread(
            target=requests.get,
            args=(f"{server.url}/uploads/{upload}",),
            kwargs={"headers": {"Accept": "text/event-stream"}, "timeout": 30},
        )
        watcher.start()
        wire.send(head("PUT", f"/files/kept?upload={upload}", "Content-Length: 1500"))
        for _ in range(5):
            time.sleep(0.4)
            wire.send(bytes(300))
        assert wire.answer().status == 201
        watcher.join()
        seen = calls()

    synced, forwarded, kept = 0, 0, list[int]()
    for call in seen:
        if re.match(r"(pwrite64|write)\(\d+<[^>]*/drafts/", call):
            forwarded += int(call.rpartition(" = ")[2])
        elif re.match(r"f(data)?sync\(\d+<[^>]*/drafts/.* = 0", call):
            synced = forwarded
        for event in re.findall(r"data: (\{.*?\})", call.replace('\\"', '"')):
            kept.append(json.loads(event)["kept"])
            assert kept[-1] <= synced, call
    assert max(kept) == 1500
    early = [number for number in kept if 0 < number < 1500]
    assert early, "no byte was kept before the end"


@pytest.mark.parametrize(
    "fault",
    [
        "fsync:error=EIO",
        "fsync:error=EIO:when=2+",
        "linkat:error=EIO",
        "pwrite64:error=EIO",
        "openat:error=EMFILE",
        "pwrite64:error=EINTR:when=1",
    ],
)
def test_an_error_of_the_disk_is_never_acknowledged(
    serve: Serve, tmp_path: Path, fault: str
) -> None:
    """A failing fsync, link, write or open: 5xx, no draft stays. An interrupted call is
    repeated.
    """
    server = serve()
    requests.put(f"{server.url}/files/warm", data=b"1", timeout=10)
    with traced(server, tmp_path / "trace", "-e", f"inject={fault}") as calls:
        responses = [
            requests.put(f"{server.url}/files/{size}", data=bytes(size), timeout=20)
            for size in (10, 3 << 20)
        ]
        injected = [call for call in calls() if "(INJECTED)" in call]
    assert injected

    if "EINTR" in fault:
        assert [response.status_code for response in responses] == [201, 201]
        return
    for response in responses:
        assert response.status_code in (500, 503), response.text
        assert response.json()["code"] in ("store-failed", "unavailable")
    eventually(lambda: not server.drafts(), "no draft is left")
    assert requests.put(f"{server.url}/files/well", data=b"1", timeout=10).status_code == 201, (
        "the server still works"
    )
    if "when" not in fault:
        assert sorted(server.stored()) == ["warm", "well"]


TOGETHER = 16


def put_together(server: RunningServer, turn: int) -> dict[str, int]:
    """Small uploads at once, in two folders, and some in one of their own. Status by key."""
    keys = [f"t{turn}-{n % 2}/{n}" if n % 4 else f"t{turn}-own{n}/{n}" for n in range(TOGETHER)]

    def put(key: str) -> int:
        data = bytes(1000 + len(key))
        return requests.put(f"{server.url}/files/{key}", data=data, timeout=60).status_code

    with ThreadPoolExecutor(TOGETHER) as clients:
        return dict(zip(keys, clients.map(put, keys), strict=True))


def assert_in_order(calls: list[str], key: str) -> None:
    """For one key: its bytes, fsync of its file, its name, fsync of its folder, then the 201.

    And the name of the folder is durable before that, whichever upload made it.
    """
    folder, _, name = key.rpartition("/")
    linked = first(calls, rf'linkat\(.*/root\d/{folder}>, "{name}", 0\) += 0')
    draft = re.findall(r'"(\w+\.\w+)"', calls[linked])[0]
    answered = first(calls, rf"HTTP/1\.1 201.*/files/{key}\W")
    written = last(calls[:linked], rf"pwrite64\(\d+<[^>]*{draft}")
    synced = last(calls[:linked], rf"fsync\(\d+<[^>]*{draft}>\) += 0")
    made = first(calls, rf'mkdirat\(.*"{folder}", 0777\) += 0')
    assert written < synced < linked < answered
    first(calls[linked:answered], rf"fsync\(\d+<[^>]*/root\d/{folder}>\) += 0")
    first(calls[made:answered], r"fsync\(\d+<[^>]*/root\d>\) += 0")


def test_small_uploads_at_once_share_the_fsync_of_their_folders(
    serve: Serve, tmp_path: Path
) -> None:
    """Each one's own order holds, and folders are synchronised less often than files are.

    Each fsync takes 30 ms here: on a disk that needs none at all, nothing has to be shared.
    """
    server = serve()
    slow = ("-e", f"trace={CALLS}", "-e", "inject=fsync:delay_enter=30000")
    with traced(server, tmp_path / "trace", *slow) as calls:
        found = [put_together(server, turn) for turn in range(3)]
        eventually(
            lambda: sum("HTTP/1.1 201" in call for call in calls()) == 3 * TOGETHER,
            "all answers are in the trace",
        )
        seen = calls()

    assert {status for statuses in found for status in statuses.values()} == {201}
    for key in (key for statuses in found for key in statuses):
        assert_in_order(seen, key)
    folders = sum(bool(re.match(r"fsync\(\d+<[^>]*/root\d/[^.>]*>", call)) for call in seen)
    assert folders < 3 * TOGETHER


@pytest.mark.parametrize("fault", ["fsync:error=EIO:when=5+3", "linkat:error=EIO:when=2+3"])
def test_of_small_uploads_at_once_each_answer_is_true(
    serve: Serve, tmp_path: Path, fault: str
) -> None:
    """Some calls of the disk fail: what is answered with 201 was made durable in the right order,
    and no draft is left of the others."""
    server = serve()
    assert requests.put(f"{server.url}/files/warm", data=b"1", timeout=10).status_code == 201
    with traced(
        server, tmp_path / "trace", "-e", f"trace={CALLS}", "-e", f"inject={fault}"
    ) as calls:
        found = {key: status for n in range(3) for key, status in put_together(server, n).items()}
        kept = [key for key, status in found.items() if status == 201]
        eventually(
            lambda: sum("HTTP/1.1 201" in call for call in calls()) == len(kept),
            "all answers are in the trace",
        )
        seen = calls()

    assert set(found.values()) == {201, 500}
    for key in kept:
        assert_in_order(seen, key)
        assert (server.root / key).read_bytes() == bytes(1000 + len(key))
    eventually(lambda: not server.drafts(), "no draft is left")
