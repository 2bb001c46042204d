"""From a bucket's URL and the operator's options to a Bucket. Each cloud has its own key sources.

S3: boto3's chain (variables, ~/.aws with profiles, SSO, instance roles). Google and Azure:
obstore's own (variables, service-account files, managed identities). The setting `ca_file` names
the trusted certificates for all of them.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

    from sluiceway.stores.objects.cloud_bucket import CloudBucket
    from sluiceway.stores.objects.s3_bucket import S3Bucket

__all__ = ["AnyBucket", "BucketUrl", "open_bucket"]

AnyBucket: TypeAlias = "S3Bucket | CloudBucket"

NAMES = {"s3": "s3", "gs": "google", "az": "azure"}
CONNECT_TIMEOUT = 10  # seconds
IDLE_TIMEOUT = 30  # seconds without a byte in either direction, after which a request is retried
ATTEMPTS = 5  # of one request, with random pauses that double up to 20 s
COMMON_OPTIONS = {"timeout", "attempts", "ca_file"}  # of every cloud
S3_OPTIONS = {
    "endpoint",
    "region",
    "profile",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "addressing",
}
MOST_CERTIFICATES = 4 << 20  # bytes of a CA file; all of Mozilla's are a quarter of one MiB
# The usual variables; the first that is set counts.
CA_VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
NO_DEADLINE = timedelta(days=3650)  # a whole transfer has none; its silence has


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A parsed URL and its options, names with `_`."""

    scheme: str
    bucket: str
    prefix: str  # "" or ending in /
    display_name: str
    options: dict[str, str]

    @property
    def idle_timeout(self) -> int:
        return self._number("timeout", IDLE_TIMEOUT)

    @property
    def attempts(self) -> int:
        return self._number("attempts", ATTEMPTS)

    def _number(self, name: str, default: int) -> int:
        return max(1, ascii_uint(self.options[name], name)) if name in self.options else default


def open_bucket(url: str, budget: Budget, options: Mapping[str, str]) -> AnyBucket:
    """Options in the URL's query win over `options`. Nothing is connected. Raises BadRequest."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).removeprefix("/")
    if not parts.hostname:
        raise BadRequest(f"{redact_url(url)} names no bucket: {parts.scheme}://BUCKET/PREFIX")
    parsed = BucketUrl(
        parts.scheme,
        parts.netloc,
        f"{prefix}/" if prefix and not prefix.endswith("/") else prefix,
        redact_url(url),
        {
            name.replace("-", "_"): value
            for name, value in {**options, **dict(parse_qsl(parts.query))}.items()
        },
    )
    return _open_s3(parsed, budget) if parts.scheme == "s3" else _open_cloud(parsed, budget)


def _open_s3(url: BucketUrl, budget: Budget) -> S3Bucket:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from sluiceway.stores.objects.s3_bucket import S3Bucket
    from sluiceway.stores.objects.s3_calls import READERS, WRITERS, S3Calls

    _check_s3_options(url)
    options, ca_file = url.options, _ca_file(url)
    try:
        session = boto3.Session(
            aws_access_key_id=options.get("access_key_id"),
            aws_secret_access_key=options.get("secret_access_key"),
            aws_session_token=options.get("session_token"),
            region_name=options.get("region"),
            profile_name=options.get("profile"),
        )
        config = Config(
            region_name=session.region_name or "us-east-1",
            connect_timeout=min(CONNECT_TIMEOUT, url.idle_timeout),
            read_timeout=url.idle_timeout,
            # Not "standard": its quota is the process's, and a bad minute of one upload would
            # leave none for the others.
            retries={"mode": "legacy", "total_max_attempts": url.attempts},
            max_pool_connections=READERS + WRITERS,
            s3={"addressing_style": options.get("addressing", "auto")},
        )
        plain_config = config.merge(Config(request_checksum_calculation="when_required"))

        def make_client(plain: bool) -> Any:
            return session.client(
                "s3",
                endpoint_url=options.get("endpoint"),
                config=plain_config if plain else config,
                verify=ca_file,
            )

        # Over http the signature covers the body's sha-256, which proves more than the CRC-32
        # that https has instead. A client takes a moment to make: mostly the first is the right
        # one.
        may_be_plain = not _asks_for_checksums(session)
        is_plain = may_be_plain and options.get("endpoint", "").lower().startswith("http:")
        client = make_client(is_plain)
        if session.get_credentials() is None:
            raise BadRequest(
                f"{url.display_name}: no key was found; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, name a profile (--store-option profile=…), "
                "or give this machine a role"
            )
        endpoint = urlsplit(str(client.meta.endpoint_url))
        if endpoint.scheme == "http" and may_be_plain and not is_plain:
            client.close()
            client = make_client(True)
    except (BotoCoreError, ValueError) as error:
        raise BadRequest(f"{url.display_name}: {error}") from None
    plain = client.meta.config.request_checksum_calculation == "when_required"
    calls = S3Calls(make_client, client, plain, url.bucket, url.prefix, url.display_name)
    if plain and not may_be_plain:  # the operator wants no checksum that S3 does not demand
        calls.sends_crc64nvme = False
    amazon = (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return S3Bucket(calls, budget, compare_and_swap=amazon)


def _asks_for_checksums(session: Any) -> bool:
    """Whether the operator asked for a way to compute them, by variable or profile."""
    name = "request_checksum_calculation"
    return f"AWS_{name.upper()}" in os.environ or name in session._session.get_scoped_config()


def _check_s3_options(url: BucketUrl) -> None:
    known = S3_OPTIONS | COMMON_OPTIONS
    for name in url.options:
        if name not in known:
            names = ", ".join(sorted(known)).replace("_", "-")
            raise BadRequest(f"{url.display_name}: there is no option {name!r}; known are {names}")
    if url.options.get("addressing", "auto") not in ("auto", "path", "virtual"):
        raise BadRequest(f"{url.display_name}: addressing is auto, path or virtual")


def _open_cloud(url: BucketUrl, budget: Budget) -> CloudBucket:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore

    from sluiceway.stores.objects.cloud_bucket import CloudBucket, can_spell

    if not can_spell(url.prefix.rstrip("/") or "root"):
        raise BadRequest(f"{url.display_name}: a folder of a bucket cannot have this name")
    options: Any = {
        name: value for name, value in url.options.items() if name not in COMMON_OPTIONS
    }
    retry: RetryConfig = {
        "max_retries": max(0, url.attempts - 1),
        "retry_timeout": timedelta(seconds=(url.idle_timeout + 20) * url.attempts),
    }
    client = _client_config(url)
    if options.pop("allow_http", "") == "true" or any(
        value.startswith("http://") for value in options.values()
    ):
        client["allow_http"] = True
    try:
        handle: Any = (GCSStore if url.scheme == "gs" else AzureStore)(
            url.bucket,
            prefix=url.prefix or None,
            client_options=client,
            retry_config=retry,
            config=options,
        )
    except (BaseError, ValueError, TypeError) as error:
        raise BadRequest(f"{url.display_name}: {str(error).partition(chr(10))[0]}") from None
    return CloudBucket(handle, NAMES[url.scheme], url.display_name, url.prefix, budget)


def _client_config(url: BucketUrl) -> ClientConfig:
    client: ClientConfig = {
        "timeout": NO_DEADLINE,
        "read_timeout": timedelta(seconds=url.idle_timeout),
        "connect_timeout": timedelta(seconds=min(CONNECT_TIMEOUT, url.idle_timeout)),
    }
    if (ca_file := _ca_file(url)) is not None:
        with open(ca_file, "rb") as file:
            client["root_certificate"] = file.read(MOST_CERTIFICATES)
    return client


def _ca_file(url: BucketUrl) -> str | None:
    """The file of trusted certificates: the option's, or a variable's. Raises BadRequest."""
    variables = (os.environ[name] for name in CA_VARIABLES if os.environ.get(name))
    path = url.options.get("ca_file") or next(variables, None)
    if path is None or os.path.isdir(path):
        return path
    try:
        file = os.stat(path)
        _check_certificates(path, file.st_mtime_ns, file.st_size)
    except OSError as error:  # ssl's own errors are of this kind
        why = "it holds no certificate"
        if error.errno and not isinstance(error, ssl.SSLError):
            why = error.strerror or why
        raise BadRequest(f"{url.display_name}: the CA file {path} cannot be used: {why}") from None
    return path


@lru_cache(maxsize=8)
def _check_certificates(path: str, modified: int, size: int) -> None:
    """Raises OSError. The system's 150 certificates take 20 ms, so a file is read once."""
    ssl.create_default_context(cafile=path)
