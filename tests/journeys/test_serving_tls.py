"""`https://` by the server itself: whole bodies, and a new certificate while transfers go on."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from fix_tls import Certificates, certificates
from sluiceway.errors import SluiceError
from sluiceway.server.http1.serving_tls import ServingTls

LARGE = 12 << 20  # bytes; without TLS, threads would read the connection itself


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, own: Certificates) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("tls-server")
    used = folder / "used.pem"
    shutil.copy(own.server, used)
    server = start_server(folder / "root", "--tls-cert", str(used))
    yield server
    server.stop()


def opened(port: int, ca: Path | None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=ca)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(sock, server_hostname="localhost")


def serial(port: int) -> int:
    """The number of the certificate that the server shows."""
    with opened(port, None) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def number(certificate: Path) -> int:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number


def test_large_files_pass_whole_both_ways(running: RunningServer, own: Certificates) -> None:
    assert running.url.startswith("https://")
    data = noise(LARGE)
    url, ca = f"{running.url}/files/large", str(own.ca)
    assert requests.put(url, data=data, verify=ca, timeout=120).status_code == 201
    assert requests.get(url, verify=ca, timeout=120).content == data
    part = requests.get(url, headers={"Range": "bytes=5-1048580"}, verify=ca, timeout=120)
    assert (part.status_code, part.content) == (206, data[5:1048581])
    body = iter([data[:100_000], data[100_000:200_000]])
    assert requests.put(f"{url}-chunked", data=body, verify=ca, timeout=120).status_code == 201
    assert (running.root / "large-chunked").read_bytes() == data[:200_000]


def test_a_new_certificate_drops_no_transfer(
    running: RunningServer, own: Certificates, tmp_path: Path
) -> None:
    """It is for the next connections; a bad one changes nothing."""
    used, other = running.root.parent / "used.pem", certificates(tmp_path)
    data = noise(200_000, 2)
    assert serial(running.port) == number(own.server)
    with opened(running.port, own.ca) as upload:
        head = f"PUT /files/during HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        upload.sendall(head.encode() + b"Connection: close\r\n\r\n" + data[:100_000])
        used.write_text("no certificate")
        eventually(lambda: serial(running.port) and "stay as they were" in running.log(), "bad")
        assert serial(running.port) == number(own.server)
        shutil.copy(other.server, used)
        eventually(lambda: serial(running.port) == number(other.server), "the new one counts")
        upload.sendall(data[100_000:])
        answer = upload.recv(65536)
    assert b" 201 " in answer.partition(b"\r\n")[0]
    assert (running.root / "during").read_bytes() == data
    response = requests.get(f"{running.url}/files/during", verify=str(other.ca), timeout=60)
    assert response.content == data
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(running.url, verify=str(own.ca), timeout=60)


def test_old_protocols_and_plain_text_are_not_served(
    running: RunningServer, own: Certificates
) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert b"HTTP/" not in plain.recv(4096)
        except ConnectionResetError:
            pass
    tls = ServingTls(str(own.server), None)
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.torture
def test_each_worker_has_the_certificate_and_follows_it(serve: Serve, tmp_path: Path) -> None:
    used, folders = tmp_path / "c.pem", [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    one, two = (certificates(folder) for folder in folders)
    shutil.copy(one.server, used)
    server = serve("--tls-cert", str(used), "--workers", "2")
    assert serial(server.port) == number(one.server)
    shutil.copy(two.server, used)
    eventually(
        lambda: {serial(server.port) for _ in range(8)} == {number(two.server)}, "each follows"
    )


def test_a_certificate_and_a_key_that_do_not_fit_are_refused(own: Certificates) -> None:
    for certificate, key in (
        (own.server, own.client),  # another one's key
        (own.ca, None),  # no key
        (Path("/none"), None),
    ):
        with pytest.raises(SluiceError, match="cannot be used"):
            ServingTls(str(certificate), None if key is None else str(key))
    assert ServingTls(str(own.server), str(own.server)).context
