"""Which certificates are trusted; our own goes to the named servers, never along a redirect.

Knows nothing of the HTTP library.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from sluiceway.errors import BadRequest
from sluiceway.wire.urls import origin

__all__ = ["Contexts", "Trust"]


@dataclass(frozen=True, slots=True)
class Trust:
    """What to trust, and what to show.

    `ca_file`: certificates (PEM) of more authorities, beside the system's or those of
    SSL_CERT_FILE. `client_cert`: a file (PEM) with our own certificate and its key, without a
    password. It is shown to the origins in `shown_to`.
    """

    ca_file: str | None = None
    client_cert: str | None = None
    shown_to: Collection[tuple[str, str, int]] = ()

    def contexts(self) -> Contexts:
        """Read the files. Raises BadRequest for one that cannot be used."""
        plain = ours = None
        if self.ca_file is not None:
            trusting = plain = ssl.create_default_context()
            _load("ca_file", self.ca_file, lambda path: trusting.load_verify_locations(path))
        if self.client_cert is not None:
            ours = ssl.create_default_context()
            if self.ca_file is not None:
                ours.load_verify_locations(self.ca_file)
            context = ours
            _load(
                "client_cert",
                self.client_cert,
                lambda path: context.load_cert_chain(path, password=_no_password),
            )
        return Contexts(plain, ours, frozenset(self.shown_to))


@dataclass(frozen=True)
class Contexts:
    """The TLS contexts with the files read in, by URL."""

    with_ca_file: ssl.SSLContext | None
    ours: ssl.SSLContext | None
    shown_to: frozenset[tuple[str, str, int]]

    def of(self, url: str) -> ssl.SSLContext:
        return self.ours if self.ours is not None and origin(url) in self.shown_to else self._plain

    @cached_property
    def _plain(self) -> ssl.SSLContext:
        """Made at its first use: the system's certificates take a tenth of a command's start."""
        return self.with_ca_file or ssl.create_default_context()


def _load(name: str, path: str, load: Callable[[str], object]) -> None:
    try:
        load(path)
    except ssl.SSLError as error:
        raise BadRequest(
            f"{path} ({name}) holds no certificate that can be used: {error.reason or error}"
        ) from error
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{path} ({name}) cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


def _no_password() -> str:
    """Makes a key with a password fail. Without this, OpenSSL would ask the terminal and wait."""
    return ""
