"""TLS as clients meet it, and how far ahead a client may send over HTTP/2."""

from __future__ import annotations

import ssl
import time
import warnings
from dataclasses import dataclass

from sluiceway.client.doctor.target import Target

__all__ = ["TlsFacts", "look_at_tls", "stream_window"]

TIMEOUT = 10.0  # seconds
MOST_SETTINGS = 16 << 10  # bytes until the settings must have come
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # and empty settings
FRAME_HEAD, SETTINGS, INITIAL_WINDOW_SIZE = 9, 4, 4
USUAL_WINDOW = 65535  # RFC 9113 6.9.2


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """`problem` is why the certificate is not trusted, or no text. `days` are left until it ends.

    `takes_old` is whether TLS 1.1 or older is accepted; `window` is that of an HTTP/2 stream in
    bytes, None without HTTP/2.
    """

    problem: str = ""
    days: float = 0.0
    takes_old: bool = False
    window: int | None = None


def look_at_tls(target: Target) -> TlsFacts:
    """Raises OSError where there is no connection, or no TLS at all."""
    try:
        with target.connect(TIMEOUT) as connection:
            found = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else {}
    except ssl.SSLCertVerificationError as error:
        return TlsFacts(error.verify_message or "it cannot be verified")
    ends = str((found or {}).get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86400 if ends else 0.0
    return TlsFacts("", days, _takes_old(target), _offered_window(target))


def _takes_old(target: Target) -> bool:
    """No secret is sent on this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with target.connect(TIMEOUT, context):
            return True
    except (OSError, ValueError):
        return False


def _offered_window(target: Target) -> int | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with target.connect(TIMEOUT, context) as connection:
            if not isinstance(connection, ssl.SSLSocket):
                return None
            if connection.selected_alpn_protocol() != "h2":
                return None
            connection.sendall(PREFACE)
            read, until = bytearray(), time.monotonic() + TIMEOUT
            while (window := stream_window(bytes(read))) is None and len(read) < MOST_SETTINGS:
                connection.settimeout(max(0.01, until - time.monotonic()))
                if not (more := connection.recv(MOST_SETTINGS)):
                    break
                read += more
            return window
    except OSError:
        return None


def stream_window(read: bytes) -> int | None:
    """The window of a stream as the server's first settings say (RFC 9113 6.5.2).

    None while the frame has not come whole.
    """
    at = 0
    while len(read) >= at + FRAME_HEAD:
        length, kind, flags = int.from_bytes(read[at : at + 3]), read[at + 3], read[at + 4]
        payload = read[at + FRAME_HEAD : at + FRAME_HEAD + length]
        if len(payload) < length:
            return None
        if kind == SETTINGS and not flags & 1:
            window = USUAL_WINDOW
            for pair in range(0, length - 5, 6):
                if int.from_bytes(payload[pair : pair + 2]) == INITIAL_WINDOW_SIZE:
                    window = int.from_bytes(payload[pair + 2 : pair + 6])
            return window
        at += FRAME_HEAD + length
    return None
