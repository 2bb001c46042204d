"""Files, pipes and folders as sources."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluiceway.client.local.daemon_thread import DaemonThread
from sluiceway.client.local.files import LocalFile, files_below, open_local, pipe_chunks
from sluiceway.errors import SourceFailed
from sluiceway.pipe.source import Source


async def read(source: Source, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([bytes(chunk) async for chunk in source.open(start, stop)])


async def test_a_file_is_read_whole_and_from_the_middle(tmp_path: Path) -> None:
    """Any start and stop, more than one block, also twice."""
    data = os.urandom((1 << 20) + 7)
    (tmp_path / "f").write_bytes(data)
    source = LocalFile(str(tmp_path / "f"))

    assert source.length == len(data)
    assert await read(source) == data
    assert await read(source, 5, 1 << 20) == data[5 : 1 << 20]
    assert await read(source, len(data)) == b""


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
async def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, change: str
) -> None:
    """Never a short body, never half of one version and half of another."""
    path = tmp_path / "f"
    path.write_bytes(bytes(3 << 20))
    source = LocalFile(str(path))
    chunks = source.open()
    await anext(aiter(chunks))
    if change == "grow":
        with path.open("ab") as file:
            file.write(b"more")
    elif change == "shrink":
        os.truncate(path, 10)
    else:
        os.utime(path, ns=(0, 1))

    with pytest.raises(SourceFailed, match=r"while it was read"):
        async for _ in chunks:
            pass


async def test_leaving_a_file_early_closes_it(tmp_path: Path) -> None:
    """No descriptor stays behind, also with a read under way."""
    (tmp_path / "f").write_bytes(bytes(5 << 20))
    before = len(os.listdir("/proc/self/fd"))
    chunks = LocalFile(str(tmp_path / "f")).open()
    async for _ in chunks:
        break
    await chunks.aclose()  # type: ignore[attr-defined]

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["missing", ".", "closed"])
def test_unreadable_files_fail_before_anything_is_sent(tmp_path: Path, path: str) -> None:
    """Missing, a folder, without permission: SourceFailed that names the path."""
    whole = tmp_path / path
    if path == "closed":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        whole.write_bytes(b"x")
        whole.chmod(0)

    with pytest.raises(SourceFailed, match=str(tmp_path)):
        open_local(str(whole))


async def test_a_pipe_is_read_as_it_comes() -> None:
    """Pieces arrive before the pipe ends."""
    reader, writer = os.pipe()
    chunks = pipe_chunks(reader)
    os.write(writer, b"first")

    assert await anext(aiter(chunks)) == b"first"
    os.write(writer, b"second")
    os.close(writer)
    assert [chunk async for chunk in chunks] == [b"second"]
    os.close(reader)


async def test_a_named_pipe_is_a_source_of_unknown_length(tmp_path: Path) -> None:
    """`mkfifo` and process substitution work like standard input."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = open_local(str(path))
    feeder = threading.Thread(target=path.write_bytes, args=(b"flows",))
    feeder.start()

    assert source.length is None
    assert await read(source) == b"flows"
    feeder.join()


def test_a_process_ends_although_its_pipe_does_not() -> None:
    """A read that never returns keeps no process alive: its thread is a daemon."""
    code = (
        "import asyncio\nfrom sluiceway.client.local.files import pipe_chunks\n"
        "async def main():\n"
        "    try:\n        async with asyncio.timeout(0.2):\n"
        "            async for _ in pipe_chunks(0): pass\n"
        "    except TimeoutError: print('left')\n"
        "asyncio.run(main())"
    )
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=reader, capture_output=True, text=True, timeout=20
    )
    os.close(reader)
    os.close(writer)

    assert (done.stdout, done.returncode) == ("left\n", 0)


async def test_a_threads_error_is_the_callers() -> None:
    """What goes wrong there is raised here, and the thread goes on."""
    thread = DaemonThread("test")
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda: 1 // 0)

    assert await thread.do(lambda: 7) == 7
    thread.close()


async def test_a_cancelled_wait_leaves_the_thread_in_order() -> None:
    """The outcome of cancelled work is dropped, not handed to the next caller."""
    thread, gate = DaemonThread("test"), threading.Event()
    waiting = asyncio.ensure_future(thread.do(gate.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    gate.set()

    assert await thread.do(lambda: "next") == "next"
    thread.close()


def test_a_folder_is_walked_in_order(tmp_path: Path) -> None:
    """Every file once, sorted; links to folders, broken links and pipes are named, not followed."""
    for name in ("b/2", "b/10", "a", "c/d/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "dead").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    found = list(files_below(str(tmp_path)))

    assert [path for path, left_out in found if left_out is None] == [
        "a",
        "b/10",
        "b/2",
        "c/d/e",
        "link",
    ]
    assert [path for path, left_out in found if left_out is not None] == ["dead", "fifo", "loop"]
