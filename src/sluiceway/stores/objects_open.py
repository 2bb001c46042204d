"""From a bucket's URL and the operator's options to the libraries' handles. Keys come from each cloud's usual places.

S3: boto3's chain (variables, ~/.aws with profiles, SSO, instance roles). Google and Azure: obstore's own (variables,
service-account files, managed identities).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sluiceway.client.address import shown
from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.wire.numbers import ascii_uint

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, MemoryStore, RetryConfig, S3Store

    from sluiceway.stores.objects_s3 import S3Bucket

__all__ = ["SCHEMES", "Bucket", "open_bucket"]

SCHEMES = {"s3": "s3", "gs": "google", "az": "azure"}
CONNECT = 10  # seconds to a connection
SILENCE = 30  # seconds without a byte in either direction, after which a request is tried again
ATTEMPTS = 5  # of one request, with pauses of up to 20 s that double and are scattered
FOREVER = timedelta(days=3650)  # a whole transfer has no deadline; its silence has


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place's handles. `store` and `s3` see keys below the prefix."""

    name: str  # of the traits: "s3", "google", "azure"
    called: str  # for people
    prefix: str  # "" or ending in /
    store: S3Store | GCSStore | AzureStore | MemoryStore
    s3: S3Bucket | None
    strict: bool  # creating only, and replacing by tag, are one step there; where nobody measured it, they are not

    @property
    def signing(self) -> S3Store | GCSStore | AzureStore:
        """Raises StoreFailed where URLs cannot be signed."""
        from obstore.store import MemoryStore

        if isinstance(self.store, MemoryStore):
            raise StoreFailed(f"{self.called} signs no URLs")
        return self.store


def open_bucket(url: str, options: Mapping[str, str]) -> Bucket:
    """Options in the URL's query win over `options`. Nothing is connected. Raises BadRequest."""
    parts = urlsplit(url)
    told = {name.replace("-", "_"): value for name, value in {**options, **dict(parse_qsl(parts.query))}.items()}
    prefix = unquote(parts.path).strip("/")
    prefix = f"{prefix}/" if prefix else ""
    if not parts.hostname:
        raise BadRequest(f"{shown(url)} names no bucket: {parts.scheme}://BUCKET/PREFIX")
    silence = _number(told, "timeout", SILENCE)
    attempts = _number(told, "attempts", ATTEMPTS)
    client: ClientConfig = {
        "timeout": FOREVER,
        "read_timeout": timedelta(seconds=silence),
        "connect_timeout": timedelta(seconds=min(CONNECT, silence)),
    }
    retry: RetryConfig = {"max_retries": max(0, attempts - 1), "retry_timeout": timedelta(seconds=(silence + 20) * attempts)}
    place = (parts.netloc, prefix, shown(url))
    if parts.scheme == "s3":
        return _s3(*place, told, client, retry, silence, attempts)
    return _cloud(parts.scheme, *place, told, client, retry)


def _s3(
    bucket: str,
    prefix: str,
    called: str,
    told: dict[str, str],
    client: ClientConfig,
    retry: RetryConfig,
    silence: int,
    attempts: int,
) -> Bucket:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    from sluiceway.stores.objects_s3 import THREADS, S3Bucket

    known = {"endpoint", "region", "profile", "access_key_id", "secret_access_key", "session_token", "addressing"}
    _check(called, told, known)
    try:
        session = boto3.Session(
            aws_access_key_id=told.get("access_key_id"),
            aws_secret_access_key=told.get("secret_access_key"),
            aws_session_token=told.get("session_token"),
            region_name=told.get("region"),
            profile_name=told.get("profile"),
        )
        region = session.region_name or "us-east-1"
        style = told.get("addressing", "auto")
        config = Config(
            region_name=region,
            connect_timeout=min(CONNECT, silence),
            read_timeout=silence,
            # Not "standard": its quota is the process's, and a bad minute of one upload would leave none for the others.
            retries={"mode": "legacy", "total_max_attempts": attempts},
            max_pool_connections=THREADS,
            s3={"addressing_style": style},
        )
        low: Any = session.client("s3", endpoint_url=told.get("endpoint"), config=config)
        if plain := str(low.meta.endpoint_url).startswith("http://"):
            # There the signature covers the body's sha-256, which says more than the CRC-32 that https has instead.
            low.close()
            config = config.merge(Config(request_checksum_calculation="when_required"))
            low = session.client("s3", endpoint_url=told.get("endpoint"), config=config)
        if session.get_credentials() is None:
            raise BadRequest(
                f"{called}: no key was found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
                "(--store-option profile=…), or give this machine a role"
            )
        provider = Boto3CredentialProvider(session)
    except (BotoCoreError, ValueError) as error:
        raise BadRequest(f"{called}: {error}") from None
    endpoint = str(low.meta.endpoint_url)
    amazon = urlsplit(endpoint).hostname or ""
    own = not amazon.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if plain:
        client["allow_http"] = True
    store = S3Store(
        bucket,
        prefix=prefix or None,
        region=region,
        virtual_hosted_style_request=style == "virtual" or (not own and style == "auto" and "." not in bucket),
        client_options=client,
        retry_config=retry,
        credential_provider=provider,
        config={"endpoint": endpoint} if own else {},
    )
    return Bucket("s3", called, prefix, store, S3Bucket(low, bucket, prefix, called), strict=not own)


def _cloud(
    scheme: str, bucket: str, prefix: str, called: str, told: dict[str, str], client: ClientConfig, retry: RetryConfig
) -> Bucket:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore

    for name in ("timeout", "attempts"):
        told.pop(name, None)
    if told.pop("allow_http", "") == "true" or any(value.startswith("http://") for value in told.values()):
        client["allow_http"] = True
    options: Any = told
    try:
        store: Any = (GCSStore if scheme == "gs" else AzureStore)(
            bucket, prefix=prefix or None, client_options=client, retry_config=retry, config=options
        )
    except (BaseError, ValueError, TypeError) as error:
        raise BadRequest(f"{called}: {str(error).partition(chr(10))[0]}") from None
    return Bucket(SCHEMES[scheme], called, prefix, store, None, strict=False)


def _check(called: str, told: Mapping[str, str], known: set[str]) -> None:
    for name in told:
        if name not in known | {"timeout", "attempts"}:
            names = ", ".join(sorted(known | {"timeout", "attempts"})).replace("_", "-")
            raise BadRequest(f"{called}: there is no option {name!r}; known are {names}")
    if told.get("addressing", "auto") not in ("auto", "path", "virtual"):
        raise BadRequest(f"{called}: addressing is auto, path or virtual")


def _number(told: Mapping[str, str], name: str, otherwise: int) -> int:
    return max(1, ascii_uint(told[name], name)) if name in told else otherwise
