"""Checks of the files that say who may do what, and of the certificates for other servers."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest, SluiceError
from sluiceway.server.access.link_keys import read_link_keys
from sluiceway.server.access.token_file import read_tokens
from sluiceway.server.checks.finding import Finding, failed, from_error, passed, warned
from sluiceway.server.http1.serving_tls import ServingTls
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.web_tokens import algorithms
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.urls import is_url, redact_url

__all__ = ["check_link_keys", "check_tls", "check_tokens", "check_web_tokens"]

SOON = (
    14 * 86400.0
)  # seconds before the end of a certificate or token from which on it is a warning


def check_tokens(settings: Settings) -> Iterator[Finding]:
    """Whether the names can be read, and which are over or soon will be."""
    if settings.token_file is None:
        if settings.token is not None:
            yield passed("tokens", "one token, which opens everything")
        return
    try:
        tokens = read_tokens(settings.token_file)
    except BadSetting as error:
        yield from_error("tokens", error, "correct the file")
        return
    yield passed("tokens", f"{settings.token_file} has {len(tokens)}")
    for token in tokens:
        if token.grant.expires is not None and token.grant.expires < time.time() + SOON:
            yield warned(
                "tokens",
                f"{token.name} ends on {_day(token.grant.expires)}",
                f"sluiceway token remove {token.name} --token-file …, and add it again",
            )


def check_link_keys(settings: Settings) -> Iterator[Finding]:
    if settings.link_key_file is None:
        return
    try:
        found = read_link_keys(settings.link_key_file)
    except BadSetting as error:
        yield from_error("link keys", error, "sluiceway link new-key makes a key")
        return
    yield passed("link keys", f"{settings.link_key_file} has {len(found.keys)}")


async def check_web_tokens(settings: Settings, skews: dict[str, float]) -> AsyncIterator[Finding]:
    """Whether the keys of JWTs can be had. What their server's clock says is put into `skews`."""
    if settings.jwt_keys is None:
        return
    source, date = redact_url(settings.jwt_keys), ""
    try:
        # Late: their libraries are an extra.
        from sluiceway.server.access.web_tokens.key_file import read_keys
        from sluiceway.server.access.web_tokens.key_url import fetch_keys

        if is_url(settings.jwt_keys):
            keys, date = await fetch_keys(settings.jwt_keys, Trust(settings.ca_file))
        else:
            keys = read_keys(settings.jwt_keys)
    except ImportError:
        yield failed("JWT keys", "a library is missing", "pip install 'sluiceway[jwt]'")
        return
    except SluiceError as error:
        yield from_error("JWT keys", error, "correct --jwt-keys, or the server that it names")
        return
    if (there := parse_http_date(date)) is not None:
        skews["the issuer of tokens"] = there - time.time()
    usable = {name for key in keys.keys for name in key.algorithms} & algorithms(settings)
    if usable:
        unused = f", and {keys.left_out} of no use here" if keys.left_out else ""
        yield passed("JWT keys", f"{source} has {len(keys.keys)}{unused}")
    else:
        what = "add an algorithm of these keys to --jwt-algorithm"
        yield failed("JWT keys", f"no key of {source} fits --jwt-algorithm", what)


def check_tls(settings: Settings) -> Iterator[Finding]:
    """Whether the files of certificates can be used, and which authorities are over."""
    if settings.tls_cert is not None:
        try:
            ServingTls(settings.tls_cert, settings.tls_key)
        except BadSetting as error:
            yield from_error("certificate", error, "give a certificate and the key that fits it")
        else:
            yield passed("certificate", f"{os.path.basename(settings.tls_cert)} can be used")
    if settings.ca_file is None and settings.client_cert is None:
        return
    try:
        Trust(settings.ca_file, settings.client_cert).contexts()
    except BadRequest as error:
        yield from_error("TLS files", error, "give a PEM file that this user can read")
        return
    names = [os.path.basename(each) for each in (settings.ca_file, settings.client_cert) if each]
    yield passed("TLS files", f"{' and '.join(names)} can be used")
    if settings.ca_file is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(settings.ca_file)
    for certificate in context.get_ca_certs():
        end = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        if end < time.time() + SOON:
            yield warned(
                "TLS files",
                f"an authority in {settings.ca_file} ends on {_day(end)}",
                "put the authority's next certificate beside it",
            )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
