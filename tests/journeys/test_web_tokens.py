"""Tokens of an identity provider (JWT): keys over HTTP, claims as names, rights, folders."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from identity_provider import AUDIENCE, IdentityProvider
from token_names import secret_of, token_file

PROXY_HEADER = "Cf-Access-Jwt-Assertion"


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("jwt")
    tokens = token_file(folder / "tokens", {"boss": "admin"})
    server = start_server(
        folder / "root",
        *("--jwt-keys", f"{provider.origin}/.well-known/openid-configuration"),
        *("--jwt-audience", AUDIENCE, "--jwt-issuer", provider.origin),
        *("--jwt-header", PROXY_HEADER, "--token-file", str(tokens)),
        *("--jwt-claim", "rights=realm_access.roles", "--jwt-claim", "prefix=tenant"),
        *("--jwt-claim", "max-size=most", "--jwt-claim", "quota=room", "--quota", "unlimited"),
        *("--jwt-role", "staff=upload,read,list", "--jwt-role", "ops=admin"),
        *("--jwt-leeway", "5", "--log-format", "json"),
    )
    yield server
    server.stop()


def ask(
    server: RunningServer, method: str, path: str, token: str, body: bytes = b"", **fields: str
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    return requests.request(method, server.url + path, data=body, headers=headers, timeout=60)


def staff(provider: IdentityProvider, **claims: object) -> str:
    given = {"realm_access": {"roles": ["offline_access", "staff"]}, "tenant": "acme", **claims}
    return provider.token(**given)


def test_claims_become_name_rights_folder_and_limits(
    running: RunningServer, provider: IdentityProvider
) -> None:
    token = staff(provider, most=10, room="25B")
    made = ask(running, "PUT", "/files/acme/a.txt", token, b"12345")
    assert made.status_code == 201, made.text
    note = json.loads(os.getxattr(running.root / "acme/a.txt", "user.sluiceway"))
    assert note["user"] == {"owner": "ann"}
    assert ask(running, "GET", "/files/acme/a.txt", token).content == b"12345"
    assert ask(running, "PUT", "/files/other/a.txt", token, b"x").status_code == 403
    assert ask(running, "PUT", "/files/acme/b", token, bytes(11)).status_code == 413
    assert ask(running, "PUT", "/files/acme/c", token, bytes(10)).status_code == 201
    full = ask(running, "PUT", "/files/acme/d", token, bytes(10)).status_code
    assert ask(running, "PUT", "/files/acme/e", token, bytes(10)).json()["code"] == "over-quota"
    assert full == 201
    assert ask(running, "DELETE", "/files/acme/a.txt", token).status_code == 403
    boss = staff(provider, sub="eve", realm_access={"roles": ["ops"]}, tenant=None)
    assert ask(running, "DELETE", "/files/acme/a.txt", boss).status_code == 204
    eventually(
        lambda: any(
            line.get("name") == "eve" and line.get("method") == "DELETE" for line in lines(running)
        ),
        "the access log names her",
    )
    eventually(
        lambda: any(
            line.get("event") == "audit" and line.get("name") == "eve" for line in lines(running)
        ),
        "the audit line names her",
    )
    assert token.rpartition(".")[2] not in running.log()


def lines(server: RunningServer) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.lines if line.startswith("{")]


def test_a_token_comes_as_bearer_as_password_or_in_the_header_of_a_proxy(
    running: RunningServer, provider: IdentityProvider
) -> None:
    """The page's browser sends what its proxy adds, or what was typed as the password."""
    token = staff(provider)
    for user in ("", "ann"):
        basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        assert ask(running, "GET", "/", "", Authorization=f"Basic {basic}").status_code == 200
    other = base64.b64encode(f"bob:{token}".encode()).decode()
    assert ask(running, "GET", "/", "", Authorization=f"Basic {other}").status_code == 401
    assert ask(running, "GET", "/files", "", Cf_Access_Jwt_Assertion=token).status_code == 200
    good = f"Bearer {token}"
    both = ask(running, "GET", "/files", "no-token-at-all", Cf_Access_Jwt_Assertion=good)
    assert both.status_code == 200
    # what the proxy says goes before what the client says for itself
    bad = ask(running, "GET", "/files", secret_of("boss"), Cf_Access_Jwt_Assertion="x.y.z")
    assert bad.status_code == 401
    assert ask(running, "GET", "/files", secret_of("boss")).status_code == 200


@pytest.mark.parametrize(
    ("claims", "status", "words"),
    [
        ({"exp": int(time.time()) - 60}, 401, "expired"),
        ({"nbf": int(time.time()) + 3600}, 401, "not valid yet"),
        ({"iat": int(time.time()) + 3600}, 401, "not valid yet"),
        ({"exp": None}, 401, "lacks"),
        ({"aud": None}, 401, "lacks"),
        ({"aud": "mail"}, 401, "another service"),
        ({"aud": ["mail", "calendar"]}, 401, "another service"),
        ({"iss": "https://evil.example"}, 401, "issuer"),
        ({"iss": None}, 401, "issuer"),
        ({"sub": None}, 403, "genuine"),
        ({"sub": "../ann"}, 403, "genuine"),
        ({"sub": "auth0|1"}, 403, "genuine"),
        ({"tenant": None}, 403, "genuine"),
        ({"tenant": ""}, 403, "genuine"),
        ({"tenant": "/"}, 403, "genuine"),
        ({"tenant": "a/../b"}, 403, "genuine"),
        ({"tenant": ["acme"]}, 403, "genuine"),
        ({"most": "plenty"}, 403, "genuine"),
        ({"most": -1}, 403, "genuine"),
        ({"most": True}, 403, "genuine"),
        ({"realm_access": {"roles": []}}, 403, "right"),
        ({"realm_access": "staff"}, 403, "right"),
        ({"realm_access": {"roles": ["admin", "upload", "STAFF"]}}, 403, "right"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(
    running: RunningServer,
    provider: IdentityProvider,
    claims: dict[str, object],
    status: int,
    words: str,
) -> None:
    answer = ask(running, "GET", "/files", staff(provider, **claims))
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    if status == 401:
        asked = answer.headers["www-authenticate"]
        assert 'Bearer realm="sluiceway", error="invalid_token", error_description="' in asked
        assert "Basic realm=" in asked


def test_the_clock_of_the_issuer_may_differ_a_little(
    running: RunningServer, provider: IdentityProvider
) -> None:
    now = int(time.time())
    assert ask(running, "GET", "/files", staff(provider, exp=now + 300)).status_code == 200
    early = staff(provider, nbf=now + 3, iat=now + 3)
    assert ask(running, "GET", "/files", early).status_code == 200


def test_a_new_key_counts_at_once_and_forged_ones_make_no_requests(
    running: RunningServer, provider: IdentityProvider
) -> None:
    assert ask(running, "GET", "/files", staff(provider)).status_code == 200
    provider.rotate()
    assert ask(running, "GET", "/files", staff(provider)).status_code == 200
    hits = provider.hits
    with IdentityProvider() as stranger:
        for _ in range(20):
            stranger.rotate()
            forged = staff(stranger, iss=provider.origin)
            assert ask(running, "GET", "/files", forged).status_code == 401
    # each fetch asks for two documents; one more for a machine that took seconds for these
    assert provider.hits <= hits + 4


def test_without_keys_the_answer_is_503_and_with_known_ones_all_goes_on(serve: Serve) -> None:
    with IdentityProvider() as provider:
        provider.status = 500
        server = serve("--jwt-keys", provider.url, "--jwt-audience", AUDIENCE)
        answer = ask(server, "GET", "/files", provider.token())
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert provider.origin not in answer.text
        eventually(lambda: "answered 500" in server.log(), "the log has the reason")
        provider.status = 200
        eventually(
            lambda: ask(server, "GET", "/files", provider.token()).status_code == 200,
            "the keys are fetched again",
        )
        provider.status = 500
        old = provider.token()
        provider.rotate()
        assert ask(server, "GET", "/files", old).status_code == 200
        assert ask(server, "GET", "/files", provider.token()).status_code == 503
    assert ask(server, "GET", "/files", old).status_code == 200
