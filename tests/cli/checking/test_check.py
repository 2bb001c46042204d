"""`sluiceway check`: what is wrong is named with its cure, nothing is left behind, and a start with
the same options agrees."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import requests

from fix_server import Serve
from identity_provider import IdentityProvider
from rude_peer import Peer


def run(*options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("SLUICEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", "check", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, **(env or {})},
    )


def findings(*options: str) -> tuple[int, list[dict[str, str]]]:
    done = run("--json", *options)
    return done.returncode, [json.loads(each) for each in done.stdout.splitlines()]


def bad(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(each["check"], each["level"]) for each in found if each["level"] != "ok"]


def test_a_place_that_will_do_is_left_as_it_was(tmp_path: Path) -> None:
    """All is well: exit 0, and neither the folders nor the database file are made."""
    places = ("--to", str(tmp_path / "a/b"), "--to", f"sqlite:///{tmp_path}/files.db")
    done = run(*places, "--state", str(tmp_path / "state"), "--port", "0")
    assert (done.returncode, "FAILED" in done.stdout) == (0, False), done.stdout + done.stderr
    assert "will be made" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_each_fault_is_named_with_what_to_do(tmp_path: Path) -> None:
    """One run names them all; no cure is empty, and a secret is in no line."""
    (tmp_path / "file").write_text("no folder")
    tokens = tmp_path / "tokens"
    tokens.write_text("alice sha256:00 read\nbob sha256:00 read\n")
    tokens.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, found = findings(
            *("--to", str(tmp_path / "file"), "--to", "http://user:hush@127.0.0.1:9/x"),
            *("--to", "best-effort:http://127.0.0.1:9/y", "--state", str(tmp_path / "file")),
            *("--token-file", str(tokens), "--link-key-file", str(tmp_path / "none")),
            *("--ca-file", str(tmp_path / "file"), "--port", str(taken.getsockname()[1])),
            *("--tls-cert", str(tmp_path / "file")),
        )
    assert code == 1
    assert bad(found) == [
        ("tokens", "failed"),
        ("link keys", "failed"),
        ("certificate", "failed"),
        ("TLS files", "failed"),
        ("destination", "failed"),
        ("destination", "failed"),
        ("destination", "warning"),
        ("destinations", "failed"),
        ("ledger", "failed"),
        ("port", "failed"),
    ]
    assert all(each["cure"] for each in found if each["level"] != "ok")
    assert "hush" not in str(found)


def test_all_settings_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    """Where a start names the first one. An empty variable is one of them, and what needs none of
    them is looked at all the same."""
    (tmp_path / "cert").write_text("no certificate")
    keys = ("--link-key-file", str(tmp_path / "none"), "--tls-cert", str(tmp_path / "cert"))
    options = ("--port", "99999", "--max-size", "3X", "--host", "0.0.0.0", "--memory-budget", "1X")
    done = run(
        *options,
        "--log-format",
        "xml",
        *keys,
        env={"SLUICEWAY_DIGEST": "", "SLUICEWAY_MAXSIZE": "1", "SLUICEWAY_WORKERS": "0"},
    )
    assert done.returncode == 1
    assert "warning  settings: SLUICEWAY_MAXSIZE is no setting" in done.stdout
    assert "write SLUICEWAY_MAX_SIZE" in done.stdout
    assert "settings: --workers (from SLUICEWAY_WORKERS) " in done.stdout
    for name in ("port", "log-format", "max-size", "host", "memory-budget"):
        assert done.stdout.count(f"settings: --{name} ") == 1, name
    assert "settings: SLUICEWAY_DIGEST" in done.stdout
    assert "FAILED   link keys: " in done.stdout
    assert "FAILED   certificate: " in done.stdout
    (tmp_path / "odd.toml").write_text("port = 'x'")
    done = run("--config", str(tmp_path / "odd.toml"))
    assert done.returncode == 1
    assert f"FAILED   settings: Invalid value for '--port' (from {tmp_path}/odd" in done.stdout
    done = run("--log-format", "xml", "--port", "0", "--token", "a-long-enough-secret")
    for name in ("tokens", "port"):
        assert f"ok       {name}: " in done.stdout, done.stdout


def test_a_running_server_is_checked_without_harm(serve: Serve, tmp_path: Path) -> None:
    """Its port is taken, and nothing else is wrong; files, drafts and the ledger stay."""
    server = serve()
    requests.put(f"{server.url}/files/a", data=b"a", timeout=60).raise_for_status()
    code, found = findings("--to", str(server.root), "--port", str(server.port))
    assert (code, bad(found)) == (1, [("port", "failed")])
    code, found = findings("--to", str(server.root), "--port", "0")
    assert (code, bad(found)) == (0, [])
    assert (server.stored(), server.drafts()) == ({"a": 1}, [])
    requests.put(f"{server.url}/files/b", data=b"b", timeout=60).raise_for_status()


def test_clocks_that_differ_are_named(serve: Serve, tmp_path: Path) -> None:
    """A backend an hour ahead fails the check; /readyz says by how much, and names each place."""
    date = formatdate(time.time() + 3600, usegmt=True)
    with Peer(lambda exchange: exchange.reply(404, {"Date": date})) as peer:
        code, found = findings("--to", peer.url, "--port", "0")
        assert (code, bad(found)) == (1, [("clock", "failed")])
        more = ("--to", str(tmp_path / "copy"), "--to", "best-effort:http://127.0.0.1:9/x")
        server = serve(*more, to=peer.url)
        plain = requests.get(f"{server.url}/readyz", timeout=60)
        assert (plain.status_code, plain.text) == (200, "ok\n")
        accept = {"Accept": "application/json"}
        ready = requests.get(f"{server.url}/readyz", headers=accept, timeout=60)
    backend, folder, away = ready.json()["destinations"]
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert 3500 < backend["clock_skew"] < 3700
    assert (folder["name"], 0 <= folder["free_percent"] <= 100) == ("disk 2", True)
    assert (away["ready"], away["best_effort"]) == (False, True)
    assert ready.json()["ledger"] == {"name": "ledger", "ready": True}
    assert "127.0.0.1" not in ready.text
    assert str(tmp_path) not in ready.text


def test_the_keys_of_tokens_are_fetched(tmp_path: Path) -> None:
    """They are counted, and a source without any that can be used is a failure."""
    place = ("--to", str(tmp_path / "a"), "--port", "0", "--jwt-audience", "files")
    with IdentityProvider() as provider:
        provider.more = [{"kty": "new"}]
        code, found = findings(*place, "--jwt-keys", provider.url)
        assert (code, bad(found)) == (0, [])
        text = next(each["text"] for each in found if each["check"] == "JWT keys")
        assert text == f"{provider.url} has 1, and 1 of no use here"
        assert "agrees with that of the issuer of tokens" in str(found)
        code, found = findings(*place, "--jwt-keys", provider.url, "--jwt-algorithm", "RS256")
        assert (code, bad(found)) == (1, [("JWT keys", "failed")])
    code, found = findings(*place, "--jwt-keys", provider.url)
    assert (code, bad(found)) == (1, [("JWT keys", "failed")])
