"""sendfile on other servers and loops, behind TLS, and for any ASGI app."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from fix_taking import need
from server.http1.test_sendfile import LARGE

Other = Callable[..., str]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """Start uvicorn with these options and the `app` of the script. Returns its URL."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, options: str, scheme: str = "http") -> str:
        lines = f"""
import os, socket, uvicorn
{script}
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", {options})).run(sockets=[sock])
"""
        process = subprocess.Popen(
            [sys.executable, "-c", lines], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        running.append(process)
        assert process.stdout is not None
        return f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=30)


APP = "from sluiceway.server.app import Sluiceway; app = Sluiceway(to='root', no_auth=True)"


OURS = "http='sluiceway.server.http1.protocol:SluiceProtocol'"


@pytest.mark.parametrize(
    "options",
    ["http='h11', loop='asyncio'", "http='httptools', loop='uvloop'", f"{OURS}, loop='asyncio'"],
)
def test_other_servers_and_loops_give_the_same_bytes(
    other: Other, tmp_path: Path, options: str
) -> None:
    """Where the server does not offer to send a file, we read it. asyncio's own loop works, too."""
    url = other(APP, options)
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / "root" / "large.bin").write_bytes(LARGE)

    assert requests.get(f"{url}/files/large.bin", timeout=30).content == LARGE
    assert (
        requests.get(
            f"{url}/files/large.bin", headers={"Range": "bytes=7-2000006"}, timeout=30
        ).content
        == LARGE[7:2000007]
    )


def test_with_tls_the_bytes_are_encrypted(other: Other, tmp_path: Path) -> None:
    """sendfile would send them as plain text."""
    need("openssl")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    words += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", "key", "-out", "cert"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    url = other(APP, f"{OURS}, ssl_keyfile='key', ssl_certfile='cert'", "https")
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / "root" / "large.bin").write_bytes(LARGE)

    assert (
        requests.get(f"{url}/files/large.bin", timeout=30, verify=str(tmp_path / "cert")).content
        == LARGE
    )


SENDING_APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    name = "http.response.zerocopysend"
    assert name in scope["extensions"]
    length = int(scope["query_string"])
    with open("file", "rb") as file:
        file.seek(10)
        headers = [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<" * 20_000_000, "more_body": True})
        await send({"type": name, "file": file, "offset": 3, "count": 4, "more_body": True})
        await send({"type": "http.response.body", "body": b">", "more_body": True})
        await send({"type": name, "file": file})
"""


def test_any_app_may_have_a_file_sent(other: Other, tmp_path: Path) -> None:
    """ASGI's Zero Copy Send: between other chunks, with its defaults.

    It never sends more than the announced length.
    """
    (tmp_path / "file").write_bytes(b"0123456789abcdef")
    url = other(SENDING_APP, OURS)

    with requests.Session() as session:
        for _ in range(2):
            assert (
                session.get(f"{url}/?20000011", timeout=30).content
                == b"<" * 20_000_000 + b"3456>abcdef"
            )
    for wrong in (20000010, 20000012):
        with pytest.raises(requests.RequestException):
            _ = requests.get(f"{url}/?{wrong}", timeout=30).content
