"""From a bucket's URL and the operator's options to the libraries' handles. Keys come from each cloud's usual places.

S3: boto3's chain (variables, ~/.aws with profiles, SSO, instance roles). Google and Azure: obstore's own (variables,
service-account files, managed identities). One setting, `ca_file`, says for all whose certificates are trusted.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, MemoryStore, RetryConfig

    from sluiceway.stores.objects.bucket import BucketReads
    from sluiceway.stores.objects.s3_uploads import S3Bucket

__all__ = ["SCHEMES", "Bucket", "open_bucket", "trusted_file"]

SCHEMES = {"s3": "s3", "gs": "google", "az": "azure"}
CONNECT = 10  # seconds to a connection
SILENCE = 30  # seconds without a byte in either direction, after which a request is tried again
EVERYWHERE = {"timeout", "attempts", "ca_file"}  # options of every cloud
MOST_CERTIFICATES = 4 << 20  # bytes of a CA file; all of Mozilla's are a quarter of one MiB
TRUSTED = (
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)  # the usual variables, the first of them that is set
ATTEMPTS = 5  # of one request, with pauses of up to 20 s that double and are scattered
FOREVER = timedelta(days=3650)  # a whole transfer has no deadline; its silence has


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place's handles. All see keys below the prefix."""

    name: str  # of the traits: "s3", "google", "azure"
    display_name: str  # for people
    prefix: str  # "" or ending in /
    cloud: GCSStore | AzureStore | MemoryStore | None
    s3: S3Bucket | None  # one of the two is there
    reads: BucketReads
    strict: bool  # creating only, and replacing by tag, are one step there; where nobody measured it, they are not

    @property
    def store(self) -> GCSStore | AzureStore | MemoryStore:
        """Raises StoreFailed for S3, which has none of obstore's."""
        if self.cloud is None:
            raise StoreFailed(f"{self.display_name} is not reached by obstore")
        return self.cloud

    @property
    def signing(self) -> GCSStore | AzureStore:
        """Raises StoreFailed where URLs cannot be signed."""
        from obstore.store import MemoryStore

        if isinstance(self.store, MemoryStore):
            raise StoreFailed(f"{self.display_name} signs no URLs")
        return self.store


def open_bucket(url: str, options: Mapping[str, str]) -> Bucket:
    """Options in the URL's query win over `options`. Nothing is connected. Raises BadRequest."""
    parts = urlsplit(url)
    told = {
        name.replace("-", "_"): value
        for name, value in {**options, **dict(parse_qsl(parts.query))}.items()
    }
    prefix = unquote(parts.path).removeprefix("/")
    prefix = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
    if not parts.hostname:
        raise BadRequest(f"{redact_url(url)} names no bucket: {parts.scheme}://BUCKET/PREFIX")
    silence = _number(told, "timeout", SILENCE)
    attempts = _number(told, "attempts", ATTEMPTS)
    client: ClientConfig = {
        "timeout": FOREVER,
        "read_timeout": timedelta(seconds=silence),
        "connect_timeout": timedelta(seconds=min(CONNECT, silence)),
    }
    retry: RetryConfig = {
        "max_retries": max(0, attempts - 1),
        "retry_timeout": timedelta(seconds=(silence + 20) * attempts),
    }
    place = (parts.netloc, prefix, redact_url(url))
    if parts.scheme == "s3":
        return _s3(*place, told, silence, attempts)
    return _cloud(parts.scheme, *place, told, client, retry)


def _s3(
    bucket: str,
    prefix: str,
    display_name: str,
    told: dict[str, str],
    silence: int,
    attempts: int,
) -> Bucket:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from sluiceway.stores.objects.s3_calls import READERS, WRITERS, S3Calls
    from sluiceway.stores.objects.s3_reads import S3Reads
    from sluiceway.stores.objects.s3_uploads import S3Bucket

    known = {
        "endpoint",
        "region",
        "profile",
        "access_key_id",
        "secret_access_key",
        "session_token",
        "addressing",
    }
    _check(display_name, told, known)
    trusted = trusted_file(display_name, told)
    try:
        session = boto3.Session(
            aws_access_key_id=told.get("access_key_id"),
            aws_secret_access_key=told.get("secret_access_key"),
            aws_session_token=told.get("session_token"),
            region_name=told.get("region"),
            profile_name=told.get("profile"),
        )
        config = Config(
            region_name=session.region_name or "us-east-1",
            connect_timeout=min(CONNECT, silence),
            read_timeout=silence,
            # Not "standard": its quota is the process's, and a bad minute of one upload would leave none for the others.
            retries={"mode": "legacy", "total_max_attempts": attempts},
            max_pool_connections=READERS + WRITERS,
            s3={"addressing_style": told.get("addressing", "auto")},
        )
        plainly = config.merge(Config(request_checksum_calculation="when_required"))

        def make(plain: bool) -> Any:
            using = plainly if plain else config
            return session.client(
                "s3", endpoint_url=told.get("endpoint"), config=using, verify=trusted
            )

        client = make(False)
        if session.get_credentials() is None:
            raise BadRequest(
                f"{display_name}: no key was found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
                "(--store-option profile=…), or give this machine a role"
            )
        endpoint = urlsplit(str(client.meta.endpoint_url))
        if endpoint.scheme == "http" and not _asked_for_checksums(session):
            # There the signature covers the body's sha-256, which says more than the CRC-32 that https has instead.
            client.close()
            client = make(True)
    except (BotoCoreError, ValueError) as error:
        raise BadRequest(f"{display_name}: {error}") from None
    calls = S3Calls(
        make,
        client,
        client.meta.config.request_checksum_calculation == "when_required",
        bucket,
        prefix,
        display_name,
    )
    amazon = (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return Bucket("s3", display_name, prefix, None, S3Bucket(calls), S3Reads(calls), strict=amazon)


def _asked_for_checksums(session: Any) -> bool:
    """Whether the operator did, by variable or profile."""
    name = "request_checksum_calculation"
    return f"AWS_{name.upper()}" in os.environ or name in session._session.get_scoped_config()


def _cloud(
    scheme: str,
    bucket: str,
    prefix: str,
    display_name: str,
    told: dict[str, str],
    client: ClientConfig,
    retry: RetryConfig,
) -> Bucket:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore

    from sluiceway.stores.objects.cloud_reads import CloudReads, spellable

    for name in ("timeout", "attempts"):
        told.pop(name, None)
    if not spellable(prefix.rstrip("/") or "root"):
        raise BadRequest(f"{display_name}: no folder of a bucket is spelled so")
    if (trusted := trusted_file(display_name, told)) is not None:
        with open(trusted, "rb") as file:
            client["root_certificate"] = file.read(MOST_CERTIFICATES)
    told.pop("ca_file", None)
    if told.pop("allow_http", "") == "true" or any(
        value.startswith("http://") for value in told.values()
    ):
        client["allow_http"] = True
    options: Any = told
    try:
        store: Any = (GCSStore if scheme == "gs" else AzureStore)(
            bucket, prefix=prefix or None, client_options=client, retry_config=retry, config=options
        )
    except (BaseError, ValueError, TypeError) as error:
        raise BadRequest(f"{display_name}: {str(error).partition(chr(10))[0]}") from None
    return Bucket(
        SCHEMES[scheme],
        display_name,
        prefix,
        store,
        None,
        CloudReads(store, display_name),
        strict=False,
    )


def trusted_file(display_name: str, told: Mapping[str, str]) -> str | None:
    """The file of certificates that sign the server's: the option's, or a variable's. Raises BadRequest where it is none."""
    path = told.get("ca_file") or next(
        (os.environ[name] for name in TRUSTED if os.environ.get(name)), None
    )
    if path is None or os.path.isdir(path):
        return path
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl's own errors are of this kind
        why = (
            error.strerror
            if error.errno and not isinstance(error, ssl.SSLError)
            else "it holds no certificate"
        )
        raise BadRequest(f"{display_name}: the CA file {path} cannot be used: {why}") from None
    return path


def _check(display_name: str, told: Mapping[str, str], known: set[str]) -> None:
    for name in told:
        if name not in known | EVERYWHERE:
            names = ", ".join(sorted(known | EVERYWHERE)).replace("_", "-")
            raise BadRequest(f"{display_name}: there is no option {name!r}; known are {names}")
    if told.get("addressing", "auto") not in ("auto", "path", "virtual"):
        raise BadRequest(f"{display_name}: addressing is auto, path or virtual")


def _number(told: Mapping[str, str], name: str, otherwise: int) -> int:
    return max(1, ascii_uint(told[name], name)) if name in told else otherwise
