"""Certificates of an authority of our own, and `TlsPeer`: the rude peer behind TLS.

tls = certificates(folder)      # tls.ca, tls.server, tls.client: PEM files
with TlsPeer(act, tls) as peer: # https://127.0.0.1:PORT
    ...
with TlsPeer(act, tls, asks=True) as peer:  # wants a certificate of the client's, signed by the
same authority
    ...
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rude_peer import Exchange, Peer, drain_and_close

__all__ = ["Certificates", "TlsPeer", "certificates", "tls"]

DAY = dt.timedelta(days=1)


@dataclass
class Certificates:
    ca: Path
    server: Path
    client: Path


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


def certificates(folder: Path) -> Certificates:
    """An authority, a server's certificate for 127.0.0.1 and localhost, and a client's.

    Each with its key in one file.
    """
    ca_key, ca = _signed("test authority", None, None, authority=True)
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name, path in (("server", made.server), ("client", made.client)):
        key, certificate = _signed(name, ca_key, ca)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return made


def _signed(
    name: str,
    signer: ec.EllipticCurvePrivateKey | None,
    issuer: x509.Certificate | None,
    authority: bool = False,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 60 * DAY)  # not so soon that a check warns
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return key, builder.sign(signer or key, hashes.SHA256())


class TlsPeer(Peer):
    def __init__(
        self,
        act: Callable[[Exchange], object],
        tls: Certificates,
        asks: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(act, host)
        self.url = self.url.replace("http://", "https://")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(tls.server)
        if asks:
            self._context.load_verify_locations(tls.ca)
            self._context.verify_mode = ssl.CERT_REQUIRED

    def _serve(self, sock: socket.socket) -> None:
        spoken = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._socks.append(spoken)  # `sock` is empty now
        with self._lock:
            del self._heads[sock]
        try:
            spoken.do_handshake()
        except OSError:  # one of the two does not trust the other
            drain_and_close(spoken)
            return
        super()._serve(spoken)
