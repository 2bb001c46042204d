"""TLS of the server itself: a certificate and its key, read again when one of them changes.

A new certificate is for connections that begin from then on; those under way keep theirs. One that
cannot be used changes nothing, and the log says why. Knows no HTTP.
"""

from __future__ import annotations

import ssl

from sluiceway.server.access.owned_file import WatchedFile
from sluiceway.server.settings.guarded import BadSetting

__all__ = ["ServingTls"]

# A session of TLS 1.2 that is resumed would show the certificate of its beginning.
_OPTIONS = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET


class ServingTls:
    """The TLS of one process. `key` None: it is in the certificate's file. Raises BadSetting."""

    def __init__(self, certificate: str, key: str | None) -> None:
        self._certificate, self._key = certificate, key

        def read(_: str) -> ssl.SSLContext:
            return _context(certificate, key)

        self._file: WatchedFile[ssl.SSLContext] = WatchedFile(
            certificate, read, "the certificate and its key", also=() if key is None else (key,)
        )
        self.context: ssl.SSLContext = _context(certificate, key)
        self.context.sni_callback = self._choose

    def look_again(self) -> None:
        """Read the files at the next connection."""
        self._file.look_again()

    def _choose(self, connection: ssl.SSLObject, *_: object) -> None:
        """At the beginning of each connection, also of one that names no host."""
        self._file.changed()
        connection.context = self._file.value


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    """Raises BadSetting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= _OPTIONS
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        what = f"--tls-cert {certificate}" + ("" if key is None else f" and --tls-key {key}")
        raise BadSetting(
            f"{what} cannot be used: {reason}. Give a PEM file with the certificate and those "
            "between it and its authority, and the key that belongs to it, without a password"
        ) from None
    return context
