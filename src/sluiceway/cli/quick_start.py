"""A copy's libraries, loaded quickly: a command of one second feels every tenth of it.

For a process that is starting, with one thread: it changes the environment for a moment. The HTTP
library reads the system's certificates twice when it is loaded; our client reads its own, once TLS
is used.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from sluiceway.wire.urls import is_place, is_url

__all__ = ["quick_imports"]

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # where OpenSSL looks before its own places


@contextmanager
def quick_imports(*sides: str) -> Iterator[None]:
    """Import within it; the HTTP client is loaded where one of `sides` is a server.

    The libraries of a place need the certificates.
    """
    before = {name: os.environ.get(name) for name in CERTIFICATES}
    if not any(map(is_place, sides)):
        os.environ.update(dict.fromkeys(CERTIFICATES, os.devnull))
    collects = gc.isenabled()
    gc.disable()  # what is imported stays
    try:
        if any(map(is_url, sides)):
            import_module("sluiceway.client.http.transport")
        yield
        gc.freeze()  # nor is it garbage at the end, which took a tenth of a short command
    finally:
        if collects:
            gc.enable()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
