"""A proxy in front names the user, in a header that counts from nobody else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from raw_http import Wire, head
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from token_names import secret_of, token_file

HEADER = "X-Remote-User"
PROXY = "127.0.0.5"  # the others of 127.0.0.0/8 are other machines here


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("users")
    tokens = token_file(folder / "tokens", {"boss": "admin"})
    server = start_server(
        folder / "root",
        *("--trust-user-header", HEADER, "--trusted-proxies", f"{PROXY}/32"),
        *("--user-prefix", "{user}/", "--token-file", str(tokens)),
    )
    yield server
    server.stop()


def ask(
    server: RunningServer,
    method: str,
    path: str,
    *fields: str,
    peer: str = PROXY,
    body: bytes = b"",
) -> tuple[int, bytes]:
    """A request of the machine with this address."""
    with Wire(server.port, source=peer) as wire:
        length = f"Content-Length: {len(body)}"
        wire.send(head(method, path, length, "Connection: close", *fields) + body)
        answer = wire.answer()
    return answer.status, answer.body


def test_a_user_has_the_rights_and_the_folder_of_the_template(running: RunningServer) -> None:
    ann, bob = f"{HEADER}: ann@example.com", f"{HEADER}: bob"
    mine = "/files/ann@example.com/a.txt"
    assert ask(running, "PUT", mine, ann, body=b"x")[0] == 201
    note = json.loads(os.getxattr(running.root / mine[7:], "user.sluiceway"))
    assert note["user"] == {"owner": "ann@example.com"}
    assert ask(running, "GET", mine, ann) == (200, b"x")
    assert ask(running, "GET", mine, bob)[0] == 404
    assert ask(running, "PUT", "/files/b.txt", bob, body=b"x")[0] == 403
    assert ask(running, "DELETE", mine, ann)[0] == 403
    # nothing the client said for itself counts: the proxy checked it
    assert ask(running, "GET", mine, ann, "Authorization: Basic YW5uOm90aGVy")[0] == 200
    boss = f"Authorization: Bearer {secret_of('boss')}"
    assert ask(running, "GET", mine, boss) == (200, b"x")
    assert ask(running, "GET", mine, boss, peer="127.0.0.1") == (200, b"x")
    assert ask(running, "GET", mine)[0] == 401


SPOOFS = [
    (f"{HEADER}: ann",),
    (f"{HEADER}: ann", f"X-Forwarded-For: {PROXY}"),
    (f"{HEADER}: ann", f"X-Real-IP: {PROXY}", f"Forwarded: for={PROXY}"),
    (f"{HEADER}: ann", f"X-Forwarded-For: {PROXY}, {PROXY}", f"{HEADER}: ann"),
    ("x_remote_user: ann",),
    (f"{HEADER.upper()}: ann",),
]


@pytest.mark.parametrize("fields", SPOOFS)
def test_no_other_peer_names_a_user(running: RunningServer, fields: tuple[str, ...]) -> None:
    """Also not where a server in front of the app believes X-Forwarded-For of this machine."""
    for peer in ("127.0.0.1", "127.0.0.4", "127.0.0.6"):
        assert ask(running, "GET", "/files", *fields, peer=peer)[0] == 401
    for path in ("/files/ann/x", "/", "/uploads/an-upload-of-somebody-0123", "/links"):
        assert ask(running, "GET", path, *fields, peer="127.0.0.1")[0] == 401


@pytest.mark.parametrize(
    "users",
    [
        ("ann", "bob"),
        ("ann", "ann"),
        ("",),
        ("../ann",),
        ("ann/..",),
        (".",),
        ("ann bob",),
        ("ann,bob",),
        ("a" * 65,),
        ("\xe4nn",),
        ("a\\b",),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(
    running: RunningServer, users: tuple[str, ...]
) -> None:
    """A proxy that adds its header to that of the client would let the client choose."""
    fields = [f"{HEADER}: {user}" for user in users]
    assert ask(running, "GET", "/files", *fields)[0] == 403


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trust_user_header": HEADER}, "go together"),
        ({"trusted_proxies": "10.0.0.1"}, "go together"),
        ({"trust_user_header": "a b", "trusted_proxies": "10.0.0.1"}, "takes a name"),
        ({"trust_user_header": "Authorization", "trusted_proxies": "10.0.0.1"}, "takes a name"),
        ({"trust_user_header": HEADER, "trusted_proxies": "0.0.0.0/0"}, "every address"),
        ({"trust_user_header": HEADER, "trusted_proxies": "proxy"}, "not a network"),
        ({"user_rights": "fly"}, "no right"),
        ({"user_prefix": "../"}, "ends in /"),
        ({"user_prefix": "{name}/"}, "ends in /"),
        (
            {"trust_user_header": HEADER, "trusted_proxies": "::1", "allow_origin": "*"},
            "every web site",
        ),
    ],
)
def test_settings_that_cannot_be_meant(options: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Settings(to=("memory:",), **options)  # type: ignore[arg-type]  # each has its own


def test_with_a_proxy_the_server_may_listen_to_other_machines() -> None:
    settings = Settings(
        to=("memory:",),
        host="0.0.0.0",
        trust_user_header=HEADER,
        trusted_proxies=("10.0.0.0/8", "fd00::1"),
    )
    assert settings.has_tokens


def test_without_tokens_no_text_asks_for_one(serve: Serve) -> None:
    server = serve("--trust-user-header", HEADER, "--trusted-proxies", f"{PROXY}/32")
    assert not any("TOKEN" in line for line in server.lines)
    refused = requests.get(f"{server.url}/files", timeout=30)
    assert (refused.status_code, "proxy" in refused.json()["detail"]) == (401, True)
    assert "TOKEN" not in refused.text
