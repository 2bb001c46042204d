"""`sluiceway token`: what is printed and where, and a running server that follows the file."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from fix_server import Serve
from fix_taking import eventually
from raw_http import Wire, head
from sluiceway.server.access.token_hashes import hash_password
from token_names import token_file

UPLOAD = "an-upload-id-of-alice-0123456789"


def token(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", "token", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )


def status(url: str, user: str, secret: str, path: str = "/files") -> int:
    return requests.get(url + path, auth=(user, secret), timeout=60).status_code


def test_a_token_is_added_listed_and_removed(tmp_path: Path) -> None:
    """The secret is printed once, alone on standard output; the file has its hash only."""
    file = ("--token-file", str(tmp_path / "tokens"))
    added = token("add", "alice", "--upload-only", "--prefix", "alice/", *file)
    secret = added.stdout.strip()
    assert (added.returncode, len(secret)) == (0, 32)
    assert secret not in (tmp_path / "tokens").read_text() + added.stderr
    listed = token("list", "--json", *file)
    assert json.loads(listed.stdout) == {"name": "alice", "rights": "upload", "prefix": "alice/"}
    wrong = token("add", "bob", "--rights", "uplod", *file)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no right 'uplod'" in wrong.stderr
    several = ("--upload-only", "--admin"), ("--read-only", "--rights", "upload")
    for words in several:
        wrong = token("add", "bob", *words, *file)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "give one of --upload-only" in wrong.stderr
    assert token("add", "bob", *file).returncode == 0
    assert token("remove", "alice", *file).returncode == 0
    assert token("remove", "alice", *file).returncode == 1
    assert token("list", *file).stdout.split() == ["bob", "list,read,upload"]


def test_a_running_server_follows_the_file(serve: Serve, tmp_path: Path) -> None:
    """A new name opens and a removed one does not, without a restart; a bad file changes nothing,
    and an upload under way goes on."""
    names = {"alice": "upload,read", "late": "read"}
    path = token_file(tmp_path / "tokens", names)
    server = serve("--token-file", str(path), "--token", "the-token-of-the-admin")
    alice = "secret-of-alice-0123456789"
    auth = f"Authorization: Bearer {alice}"
    with Wire(server.port) as wire:
        path_and_id = f"/files/slow?upload={UPLOAD}"
        wire.send(head("PUT", path_and_id, "Content-Length: 4", auth) + b"ab")
        eventually(
            lambda: status(server.url, "", alice, f"/uploads/{UPLOAD}") == 200, "it has begun"
        )

        path.write_text("nothing of use here")
        server.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: (
                status(server.url, "", alice) == 200
                and "the tokens stay as they were" in server.log()
            ),
            "the bad file is said in the log",
        )
        token_file(path, {"bob": "list"})
        bob = "secret-of-bob-0123456789"
        eventually(lambda: status(server.url, "bob", bob) == 200, "bob may list")
        assert status(server.url, "", alice) == 401
        assert status(server.url, "anyone", "the-token-of-the-admin") == 200
        assert status(server.url, "bob", "the-token-of-the-admin") == 401
        wire.send(b"cd")
        assert wire.answer().status == 201
    assert server.stored() == {"slow": 4}


@pytest.mark.torture
def test_a_hangup_keeps_the_workers(serve: Serve, tmp_path: Path) -> None:
    """They follow the file themselves; to replace them would end the uploads that take long."""
    path = token_file(tmp_path / "tokens", {"alice": "list"})
    server = serve("--token-file", str(path), "--workers", "2")
    eventually(
        lambda: status(server.url, "", "secret-of-alice-0123456789") == 200, "a worker answers"
    )
    parent = psutil.Process(server.pid)
    workers = {child.pid for child in parent.children(recursive=True)}
    server.process.send_signal(signal.SIGHUP)
    token_file(path, {"bob": "list"})
    eventually(lambda: "SIGHUP" in server.log(), "the parent says it")
    eventually(lambda: status(server.url, "", "secret-of-bob-0123456789") == 200, "bob may list")
    assert workers <= {child.pid for child in parent.children(recursive=True)}


def test_names_of_basic_authentication_are_checked(serve: Serve, tmp_path: Path) -> None:
    """A secret opens with its own name or with none; a password only with its name."""
    path = token_file(tmp_path / "tokens", {"alice": "list", "bob": "list"})
    with path.open("a") as file:
        file.write(f"carol {hash_password('correct horse')} list\n")
    server = serve("--token-file", str(path), "--workers", "1")
    alice = "secret-of-alice-0123456789"
    assert status(server.url, "alice", alice) == 200
    assert status(server.url, "", alice) == 200
    assert status(server.url, "bob", alice) == 401
    assert status(server.url, "nobody", alice) == 401
    assert status(server.url, "carol", "correct horse") == 200
    assert status(server.url, "carol", "correct horse") == 200  # remembered
    assert status(server.url, "", "correct horse") == 401
    assert status(server.url, "carol", "correct house") == 401
    assert status(server.url, "dave", "correct horse") == 401
    bearer = {"Authorization": "Bearer correct horse"}
    assert requests.get(f"{server.url}/files", headers=bearer, timeout=60).status_code == 401
    broken = {"Authorization": "Basic " + base64.b64encode(b"\xff:x").decode()}
    assert requests.get(f"{server.url}/files", headers=broken, timeout=60).status_code == 401
    assert "correct" not in server.log()


def test_a_token_expires_while_the_server_runs(serve: Serve, tmp_path: Path) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30))
    names = {"soon": f"list expires={soon}", "past": "list expires=2020-01-01"}
    path = token_file(tmp_path / "tokens", names)
    server = serve("--token-file", str(path))
    assert status(server.url, "", "secret-of-soon-0123456789") == 200
    past = {"Authorization": "Bearer secret-of-past-0123456789"}
    over = requests.get(f"{server.url}/files", headers=past, timeout=60)
    assert (over.status_code, "has ended on 2020-01-01" in over.text) == (401, True)
