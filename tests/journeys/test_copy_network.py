"""How servers are reached: own certificates, proxies of the environment, slow servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_fetch import REMOTE
from fix_gateway import Gateway, takes
from fix_proxy import Proxy
from fix_server import start_server
from fix_taking import noise
from fix_tls import Certificates, TlsPeer
from rude_peer import Exchange, Peer, ranged
from sluiceway.client.http.proxies import Proxies
from sluiceway.errors import BadRequest, PeerFailed, PeerTimeout, PeerUnreachable

DATA = noise(150_000)
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method", "ssl_cert_file")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proxies and certificates of this machine."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(DATA)
    return tmp_path / "a.bin"


def both(exchange: Exchange) -> None:
    if exchange.method in ("PUT", "POST"):
        takes(exchange)
    elif exchange.method == "HEAD":
        exchange.head(404)
    else:
        ranged(DATA)(exchange)


def by_command(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sluiceway", "copy", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, timeout=60
    )


# Certificates


def test_a_private_authority_is_trusted_when_it_is_named(
    source: Path, tmp_path: Path, tls: Certificates
) -> None:
    """By --ca-file, by ca_file= and by SSL_CERT_FILE; both ways, one file and many."""
    with TlsPeer(both, tls) as peer:
        done = by_command(source, f"{peer.url}/a.bin", "--ca-file", tls.ca)
        assert done.returncode == 0, done.stderr
        done = by_command(source, f"{peer.url}/a.bin", SSL_CERT_FILE=str(tls.ca))
        assert done.returncode == 0, done.stderr
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back", ca_file=str(tls.ca))
        assert (tmp_path / "back").read_bytes() == DATA
        many = sluiceway.copy_all(
            source.parent, f"{peer.url}/many/", include=["a.bin"], force=True, ca_file=str(tls.ca)
        )
        assert many.copied == 1, many


def test_a_server_that_is_not_trusted_is_named_with_the_cure(
    source: Path, tmp_path: Path, tls: Certificates
) -> None:
    """In one line, whatever is done with it; what a name of its own cures needs no authority."""
    with TlsPeer(both, tls) as peer:
        done = by_command(source, f"{peer.url}/a.bin")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        with pytest.raises(PeerUnreachable, match=r"not trusted: unable .* --ca-file"):
            sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back")
        assert "not trusted: unable" in line
        assert "--ca-file" in line
        many = sluiceway.copy_all(source.parent, f"{peer.url}/many/", include=["a.bin"])
        assert [each.code for each in many.failures] == ["peer-unreachable"]
        with (
            TlsPeer(both, tls, host="127.0.0.2") as other,
            pytest.raises(PeerUnreachable, match=r"not valid for '127\.0\.0\.2'") as caught,
        ):
            sluiceway.copy(source, f"{other.url}/a.bin", ca_file=str(tls.ca))
        assert "--ca-file" not in str(caught.value)
        plain = peer.url.replace("https:", "http:")
        with pytest.raises(PeerFailed, match="begins with https://"):
            sluiceway.copy(source, f"{plain}/a.bin", retries=0)


def test_a_file_without_a_certificate_is_an_error(
    source: Path, tmp_path: Path, tls: Certificates
) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for options in (
        {"ca_file": str(tmp_path / "none.pem")},
        {"client_cert": str(tls.ca)},
        {"ca_file": "/none/there.pem"},
    ):
        with pytest.raises(BadRequest, match=r"none\.pem|ca\.pem|there\.pem"):
            sluiceway.copy(source, "https://127.0.0.1:1/x", **options)  # type: ignore[arg-type]  # one at a time


def test_our_certificate_is_shown_to_the_server_that_was_named_and_to_no_other(
    source: Path, tls: Certificates
) -> None:
    """Another server behind a redirect gets none; then the error says that one is wanted."""
    options = {"ca_file": str(tls.ca), "client_cert": str(tls.client)}
    with TlsPeer(both, tls, asks=True) as peer:
        assert sluiceway.copy(source, f"{peer.url}/a.bin", **options).status == 201  # type: ignore[arg-type]  # files
        with pytest.raises(PeerFailed, match="certificate"):
            sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca), retries=0)

        def on(exchange: Exchange) -> None:
            exchange.read_body()
            exchange.reply(307, {"Location": f"{peer.url}/a.bin"})

        with TlsPeer(on, tls, asks=True) as first, pytest.raises(PeerFailed, match="certificate"):
            sluiceway.copy(source, f"{first.url}/a.bin", retries=0, **options)  # type: ignore[arg-type]
        assert len(peer.seen) == 1


def test_a_gateway_uses_the_certificates_of_its_operator(
    gateway: Gateway, tls: Certificates
) -> None:
    with TlsPeer(takes, tls, asks=True) as peer:
        server = gateway(
            f"{peer.url}/books", "--ca-file", str(tls.ca), "--client-cert", str(tls.client)
        )
        assert requests.put(f"{server.url}/files/a", data=DATA, timeout=20).status_code == 201
        assert peer.seen[0].body == DATA
        server = gateway(f"{peer.url}/books", "--ca-file", str(tls.ca))
        assert requests.put(f"{server.url}/files/a", data=DATA, timeout=20).status_code == 502
        server = gateway(f"{peer.url}/books")
        response = requests.put(f"{server.url}/files/a", data=DATA, timeout=20)
        assert (response.status_code, response.json()["code"]) == (502, "peer-unreachable")
        assert "127.0.0.1" not in response.text
        assert requests.get(f"{server.url}/readyz", timeout=20).status_code == 503
        assert "certificate is not trusted: " in server.log()


def test_a_port_that_speaks_no_tls_is_not_called_untrusted(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def plain() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        serving = threading.Thread(target=plain)
        serving.start()
        with pytest.raises(PeerFailed, match="TLS") as caught:
            sluiceway.copy(
                source, f"https://127.0.0.1:{listener.getsockname()[1]}/a.bin", retries=0
            )
        serving.join(10)
    assert "trusted" not in str(caught.value)


# Proxies


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_copy_goes_through_the_proxy_of_the_environment(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In both directions, with the password of its URL, which the server does not see."""
    with Peer(both) as peer, Proxy("me:pass") as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert sluiceway.copy(source, f"{peer.url}/a.bin").status == 201
        sluiceway.copy(f"{peer.url}/a.bin", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == DATA
        assert (
            sluiceway.copy_all(
                source.parent, f"{peer.url}/m/", include=["a.bin"], force=True
            ).copied
            == 1
        )
        assert proxy.asked[:2] == [f"PUT {peer.url}/a.bin", f"GET {peer.url}/a.bin"]
        assert len(proxy.asked) == 4
        assert all("proxy-authorization" not in exchange.headers for exchange in peer.seen)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_a_tunnel(
    source: Path, monkeypatch: pytest.MonkeyPatch, tls: Certificates, name: str
) -> None:
    """CONNECT, and TLS with the server itself inside."""
    with TlsPeer(both, tls) as peer, Proxy("me:pass") as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca)).status == 201
        assert peer.seen[0].body == DATA
        assert proxy.asked == [f"CONNECT {peer.url.removeprefix('https://')}"]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca)).status == 201
        assert len(proxy.asked) == 1


def test_a_proxy_that_refuses_or_is_gone_is_named_as_such(
    source: Path, monkeypatch: pytest.MonkeyPatch, tls: Certificates
) -> None:
    """The error names the proxy, not the server, and never the password in the proxy's URL."""
    with TlsPeer(both, tls) as peer:
        for user, refuses, words in (("me:pass", 403, "proxy.*403"), ("", 502, "proxy.*502")):
            with Proxy(user, refuses) as proxy:
                monkeypatch.setenv("HTTPS_PROXY", proxy.url)
                with pytest.raises(PeerUnreachable, match=words) as caught:
                    sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca))
                assert "pass" not in str(caught.value)
                assert len(proxy.asked) == 1
        with Proxy("me:right") as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("right", "wrong"))
            with pytest.raises(PeerUnreachable, match=r"proxy.*407.*password"):
                sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca))
        monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@127.0.0.1:1")
        with pytest.raises(PeerUnreachable, match="proxy") as caught:
            sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca))
        assert "pass" not in str(caught.value)
        for text in ("socks5://127.0.0.1:1080", "http://[::1", "ftp://127.0.0.1"):
            monkeypatch.setenv("HTTPS_PROXY", text)
            with pytest.raises(BadRequest, match=r"prox(y|ies)"):
                sluiceway.copy(source, f"{peer.url}/a.bin", ca_file=str(tls.ca))
        assert peer.seen == []


def test_a_gateway_uses_the_proxy_and_a_fetch_never_does(gateway: Gateway, tmp_path: Path) -> None:
    """The addresses of URLs from clients are checked one by one; a proxy would bypass that."""
    with Peer(takes) as peer, Peer(ranged(DATA), REMOTE) as remote, Proxy() as proxy:
        env = {"HTTP_PROXY": proxy.url, "ALL_PROXY": proxy.url}
        server = gateway(f"{peer.url}/books", env=env)
        assert (
            requests.put(
                f"{server.url}/files/a", data=DATA, timeout=20, proxies={"no_proxy": "*"}
            ).status_code
            == 201
        )
        assert proxy.asked == [f"PUT {peer.url}/books/a"]

        server = start_server(
            tmp_path / "root", "--fetch-from", "*", "--fetch-internal", REMOTE, env=env
        )
        try:
            response = requests.get(
                f"{server.url}/fetch",
                params={"url": f"{remote.url}/a"},
                timeout=20,
                proxies={"no_proxy": "*"},
            )
            assert response.content == DATA
            order = json.dumps({"url": f"{remote.url}/a"})
            kind = {"Content-Type": "application/json"}
            imported = requests.post(
                f"{server.url}/files",
                data=order,
                headers=kind,
                timeout=20,
                proxies={"no_proxy": "*"},
            )
            assert imported.status_code in (201, 202), imported.text
        finally:
            server.stop()
        assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("announced", "url", "used"),
    [
        ({"http": "p:1"}, "http://a.example/", "http://p:1/"),
        ({"http": "http://p:1"}, "https://a.example/", None),
        ({"http": "http://p:1"}, "http://127.0.0.1:8000/", "http://p:1/"),
        ({"http": "http://p:1", "no": "127.0.0.1,localhost"}, "http://127.0.0.1:8000/", None),
        ({"http": "http://p:1", "no": "10.0.0.0/8"}, "http://10.1.2.3/", None),
        ({"http": "http://p:1", "no": "10.0.0.0/8"}, "http://11.1.2.3/", "http://p:1/"),
        ({"http": "http://p:1", "no": "::1"}, "http://[::1]:80/", None),
        ({"http": "http://p:1", "no": "[::1]"}, "http://[::1]:80/", None),
        ({"http": "http://p:1", "no": "*"}, "http://a.example/", None),
        ({"http": "http://p:1", "no": "b.example, *"}, "http://a.example/", None),
        ({"http": "http://p:1", "no": "Example"}, "http://a.example/", None),
        ({"http": "http://p:1", "no": ".example"}, "http://a.example/", None),
        ({"http": "http://p:1", "no": "ample"}, "http://a.example/", "http://p:1/"),
        ({"http": "http://p:1", "no": "a.example:81"}, "http://a.example/", "http://p:1/"),
        ({"http": "http://p:1", "no": "a.example:81"}, "http://a.example:81/", None),
        ({"all": "http://p:1"}, "https://a.example/", "http://p:1/"),
        ({"all": "http://p:1", "https": "http://q:1"}, "https://a.example/", "http://q:1/"),
    ],
)
def test_proxy_variables_mean_the_same_as_in_other_programs(
    announced: dict[str, str], url: str, used: str | None
) -> None:
    found = Proxies(announced).of(url)
    assert (None if found is None else found.url) == used


def test_a_client_of_a_cgi_server_cannot_name_a_proxy(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is the header "Proxy:" there; the lower-case name cannot come from a header."""
    with Peer(both) as peer, Proxy() as proxy:
        monkeypatch.setenv("REQUEST_METHOD", "GET")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert sluiceway.copy(source, f"{peer.url}/a.bin").status == 201
        assert proxy.asked == []
        monkeypatch.setenv("http_proxy", proxy.url)
        assert sluiceway.copy(source, f"{peer.url}/a.bin").status == 201
        assert len(proxy.asked) == 1


# Time


@pytest.fixture
def slow() -> Callable[[Exchange], None]:
    """Does not answer the first request until its client has left; answers all others at once."""
    met = threading.Event()

    def act(exchange: Exchange) -> None:
        if not met.is_set():
            met.set()
            exchange.read_body()
            exchange.sock.recv(1)
        else:
            both(exchange)

    return act


@pytest.mark.parametrize("way", ["up", "down", "between"])
def test_a_silent_server_is_retried(
    source: Path, tmp_path: Path, slow: Callable[[Exchange], None], way: str
) -> None:
    """--timeout ends the wait for the first byte, and a request that may be repeated is."""
    with Peer(slow) as peer, Peer(takes) as other:
        src, dst = {
            "up": (source, f"{peer.url}/a.bin"),
            "down": (f"{peer.url}/a.bin", tmp_path / "back"),
            "between": (f"{peer.url}/a.bin", f"{other.url}/a.bin"),
        }[way]
        done = by_command(src, dst, "--timeout", "1")
        assert done.returncode == 0, done.stderr
        # A file that broke off could go on, so its server is asked what it takes.
        methods = ["PUT", "OPTIONS", "PUT"] if way == "up" else ["GET", "GET"]
        assert [exchange.method for exchange in peer.seen] == methods


def test_a_form_that_may_be_stored_is_not_sent_again_when_its_answer_is_late(
    source: Path, slow: Callable[[Exchange], None]
) -> None:
    with Peer(slow) as peer:
        with pytest.raises(PeerTimeout, match="may have stored it"):
            sluiceway.copy(source, f"{peer.url}/files", timeout=0.5)
        assert len(peer.seen) == 1


@pytest.mark.parametrize("timeout", [0, -1, 1e9, float("nan")])
def test_an_invalid_timeout_is_an_error(source: Path, timeout: float) -> None:
    with pytest.raises(BadRequest, match="timeout"):
        sluiceway.copy(source, "http://127.0.0.1:1/", timeout=timeout)
    with pytest.raises(BadRequest, match="timeout"):
        sluiceway.copy_all(source.parent, "http://127.0.0.1:1/", timeout=timeout)
