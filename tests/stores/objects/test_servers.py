"""S3 servers without checksums, or with a certificate of a private authority."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_s3 import Objects
from s3_crc64nvme import ChecksumKeeper
from s3_faults import S3Faults
from sluiceway.errors import BadRequest, Exists, PeerUnreachable, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.stores.contract import Metadata, Replace, UploadRequest
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.testing.store_suite import pattern, read

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message>{}</Error>"
KNOWN = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
BUNDLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
LARGE = pattern((11 << 20) + 7)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KNOWN, *BUNDLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy(s3: Objects) -> Iterator[S3Faults]:
    proxy = S3Faults(s3.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key."""
    folder = tmp_path_factory.mktemp("certificate")
    words = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 "
        "-subj /CN=private -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        ["openssl", *words.split(), "-keyout", "key", "-out", "ca.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes((folder / "ca.pem").read_bytes() + (folder / "key").read_bytes())
    return both


@pytest.fixture
def secret(s3: Objects, certificate: Path) -> Iterator[S3Faults]:
    proxy = S3Faults(s3.endpoint, certificate)
    yield proxy
    proxy.close()


def store_at(proxy: S3Faults, s3: Objects, bucket: str, **more: str) -> ObjectStore:
    options = {**s3.options, "endpoint": proxy.url, "attempts": "2", "addressing": "path", **more}
    return ObjectStore(s3.url(bucket), Budget(32 << 20), options)


async def put(store: ObjectStore, key: str, data: bytes, replace: Replace = Replace()) -> None:
    """With a known digest, as a copy sends it."""
    sha256 = hashlib.sha256(data)
    expected = {"sha-256": sha256.digest()}
    draft = await store.draft(
        "one", len(data), UploadRequest(key, key, expected=expected, replace=replace)
    )
    try:
        await draft.write(data)
        await draft.publish(key, Metadata(key, digests=digest_pairs(expected)), replace)
    finally:
        await draft.discard()


NO = {
    "501": (
        501,
        ERROR.format(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            "",
        ),
    ),
    "501 with the header": (
        501,
        ERROR.format("NotImplemented", "no", "<Header>x-amz-checksum-sha256</Header>"),
    ),
    "400 NotImplemented": (400, ERROR.format("NotImplemented", "no", "")),
    "400 by its message": (
        400,
        ERROR.format("InvalidArgument", "Unsupported header 'x-amz-checksum-sha256' received", ""),
    ),
    "501 without a body": (501, ""),
}


@pytest.mark.parametrize("response", NO)
async def test_a_request_is_repeated_without_checksums_for_a_server_that_refuses_them(
    s3: Objects, proxy: S3Faults, response: str
) -> None:
    """Small and large objects arrive, conditions still hold, and later requests send none."""
    status, body = NO[response]
    proxy.unknown = (status, body.encode())
    bucket = s3.fresh()
    store = store_at(proxy, s3, bucket)
    try:
        await put(store, "one", b"first")
        sent = proxy.checksums
        assert sent > 0
        await put(store, "two", b"second")
        if response == "501":
            await put(store, "large", LARGE)
            assert await read(store, "large") == LARGE
        assert proxy.checksums == sent
        assert await read(store, "two") == b"second"
        with pytest.raises(Exists):
            await put(store, "one", b"again")
        await put(store, "one", b"new", Replace(allowed=True, etag=(await store.stat("one")).etag))
        assert await read(store, "one") == b"new"
    finally:
        await store.aclose()


async def test_checksums_stay_after_a_refusal_for_another_reason(
    s3: Objects, proxy: S3Faults
) -> None:
    """A response that names another header is raised, and checksums are still sent."""
    bucket = s3.fresh()
    proxy.unknown = (
        501,
        ERROR.format("NotImplemented", "no", "<Header>x-amz-acl</Header>").encode(),
    )
    store = store_at(proxy, s3, bucket)
    try:
        with pytest.raises(SluiceError, match="NotImplemented"):
            await put(store, "one", b"first")
        proxy.unknown = None
        before = proxy.checksums
        await put(store, "one", b"first")
        assert proxy.checksums == before + 1
    finally:
        await store.aclose()


async def test_the_operators_setting_of_checksums_counts(
    s3: Objects,
    proxy: S3Faults,
    secret: S3Faults,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AWS_REQUEST_CHECKSUM_CALCULATION turns boto3's own off over https, and on over http."""
    bucket = s3.fresh()
    for value, where, some in (("when_required", secret, False), ("when_supported", proxy, True)):
        monkeypatch.setenv(KNOWN[0], value)
        monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", value)
        store = store_at(where, s3, bucket, ca_file=str(certificate))
        try:
            draft = await store.draft("one", 5, UploadRequest(value, value))
            await draft.write(b"bytes")
            await draft.publish(value, Metadata(value))
            assert await read(store, value) == b"bytes"
        finally:
            await store.aclose()
        assert bool(where.checksums) is some


async def test_over_tls_a_confirmed_crc64nvme_replaces_the_signed_sha256(
    s3: Objects, secret: S3Faults, certificate: Path
) -> None:
    """The first parts are signed: until its answer nothing shows that the server checks them."""
    secret.keeper = ChecksumKeeper()
    store = store_at(secret, s3, s3.fresh(), ca_file=str(certificate))
    try:
        await put(store, "first", LARGE)
        signed = len(secret.payloads)
        assert len(secret.payloads[0]) == 64
        await put(store, "second", LARGE)
        assert await read(store, "second") == LARGE
    finally:
        await store.aclose()
    assert set(secret.payloads[signed:]) == {"UNSIGNED-PAYLOAD"}
    assert secret.keeper.completed == 2


@pytest.mark.parametrize("way", ["option", "query", *BUNDLES])
async def test_one_setting_of_a_private_authority_covers_reads_and_writes(
    s3: Objects, secret: S3Faults, certificate: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The option, or any usual variable: for writes in one request and in parts, and all reads."""
    bucket, more = s3.fresh(), {}
    if way == "option":
        more = {"ca_file": str(certificate)}
    elif way in BUNDLES:
        monkeypatch.setenv(way, str(certificate))
    store = store_at(secret, s3, bucket, **more)
    if way == "query":
        await store.aclose()
        options = {**s3.options, "endpoint": secret.url, "addressing": "path"}
        store = ObjectStore(f"{s3.url(bucket)}?ca-file={certificate}", Budget(32 << 20), options)
    try:
        await store.check()
        await put(store, "small", b"bytes")
        assert [entry.key for entry in (await store.list()).entries] == ["small"]
        assert await read(store, "small") == b"bytes"
        if way == "option":
            await put(store, "large", LARGE)
            assert await read(store, "large") == LARGE
        await store.delete("small")
        assert await store.sweep(0) == 0
    finally:
        await store.aclose()


async def test_an_untrusted_certificate_is_named_as_the_reason(
    s3: Objects, secret: S3Faults
) -> None:
    """The error tells what to do, for reads and writes."""
    store = store_at(secret, s3, "bucket-x")
    try:
        for act in (store.check(), store.list(), store.open("a"), put(store, "a", b"1")):
            with pytest.raises(
                PeerUnreachable, match="certificate is not trusted here; name the file of its CA"
            ):
                await act
    finally:
        await store.aclose()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_an_invalid_ca_file_is_refused_before_the_first_request(
    s3: Objects, secret: S3Faults, tmp_path: Path, content: bytes | None
) -> None:
    """The error names it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRequest, match=r"the CA file .* cannot be used"):
        store_at(secret, s3, "bucket-x", ca_file=str(path))
    for place in ("az://container", "gs://bucket-x"):
        with pytest.raises(BadRequest, match=r"the CA file .* cannot be used"):
            ObjectStore(place, Budget(32 << 20), {"ca_file": str(path)})
