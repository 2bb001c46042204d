"""Errors are mapped by type, errno and status; a file's name in their text decides nothing."""

from __future__ import annotations

import errno
import ftplib
import os
import ssl

import httpx
import pytest
from botocore.exceptions import ClientError

from sluiceway.errors import (
    NoSpace,
    NotFound,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    SluiceError,
    StoreFailed,
)
from sluiceway.stores.fsspec.errors import map_error
from sluiceway.stores.objects.errors import map_error as map_bucket_error
from sluiceway.wire.problems import problem

PLACE = "s3://buck/srv"
NAMES = [
    "quota.txt",
    "401",
    "disk full",
    "No space left on device",
    "530 Login incorrect",
    "is closed",
    "Failure",
    "status code: 507",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: OSError(f"cannot open {name}"),
        lambda name: OSError(errno.EIO, "Input/output error", name),
        lambda name: RuntimeError(f"{name} is odd"),
        lambda name: ValueError(name),
        lambda name: ftplib.error_perm(f"553 {name}: not allowed"),
    ],
    ids=["os", "errno", "runtime", "value", "ftp"],
)
def test_a_name_in_an_errors_text_decides_nothing(name: str, make: object) -> None:
    """It is no full disk, wrong password or broken connection: it was refused."""
    error = make(name)  # type: ignore[operator]  # a function of one name
    assert type(map_error(error, "there", ())) is StoreFailed
    detail = map_error(error, "there", ()).detail
    assert "password" not in detail
    assert "full" not in detail.replace(name, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_missing_is_not_found(name: str) -> None:
    """fsspec and obstore both put the name into the text."""
    missing = FileNotFoundError(
        f"Object at location {name} not found <Code>AccessDenied</Code> status code: 401"
    )
    assert type(map_error(missing, "there", ())) is NotFound
    assert type(map_bucket_error(missing, "there")) is NotFound


def _http(status: int) -> Exception:
    request = httpx.Request("PUT", "https://there/x")
    return httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(status, request=request)
    )


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), NoSpace, "full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), NoSpace, "full"),
        (OSError(os.strerror(errno.ENOSPC)), NoSpace, "full"),  # SFTP 3 has no number for it
        (_http(507), NoSpace, "full"),
        (ftplib.error_perm("552 Exceeded storage allocation"), NoSpace, "full"),
        (_http(401), StoreFailed, "password"),
        (ftplib.error_perm("530 Login incorrect"), StoreFailed, "password"),
        (_http(403), StoreFailed, "no right"),
        (_http(404), NotFound, "no such"),
        (PermissionError(errno.EACCES, "no"), StoreFailed, "no right"),
        (OSError("Failure"), StoreFailed, "without a reason"),
        (OSError("Socket is closed"), PeerFailed, "broke the connection off"),
        (EOFError(), PeerFailed, "broke the connection off"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), PeerUnreachable, "no server answers"),
        (TimeoutError(), PeerTimeout, "took too long"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_numbers_and_types_become_errors_with_words(
    error: Exception, kind: type[SluiceError], words: str
) -> None:
    """The same kinds of failure in the numbers of the system, of HTTP and of FTP."""
    mapped = map_error(error, PLACE, ())
    assert type(mapped) is kind
    assert words in mapped.detail
    assert PLACE not in told(mapped)


def test_no_client_reads_where_a_destination_is() -> None:
    """Whatever a cloud answers, and whatever is wrong with a place: that is for the log."""
    for status in (400, 401, 403, 404, 409, 412, 416, 429, 500, 503, 507):
        for code in ("", "NoSuchBucket", "SlowDown", "StorageFull", "Odd"):
            response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            mapped = map_bucket_error(ClientError(response, "PutObject"), PLACE, "a.bin")
            assert "buck" not in told(mapped), mapped
    for kind in (TimeoutError(), ConnectionError(), ssl.SSLCertVerificationError(), ValueError()):
        assert "buck" not in told(map_bucket_error(kind, PLACE))
    for each in (StoreFailed, PeerFailed):
        for one in (each, *each.__subclasses__()):
            assert PLACE not in told(one(f"{PLACE} is away"))
            assert PLACE in told(one(f"{PLACE} is away").for_everyone())


def told(error: SluiceError) -> str:
    return str(problem(error)["detail"])
