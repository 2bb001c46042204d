"""sluiceway.wire.headers.digests: RFC 9530, with the vectors of its appendix."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadDigest, SluiceError
from sluiceway.pipe.hashes import digest_of
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.headers.digests import (
    MOST_DIGEST_HEADER,
    Promise,
    format_digest,
    parse_digests,
)
from unicode_text import CHARACTERS

BODY = b'{"hello": "world"}'
SHA256, SHA512 = hashlib.sha256(BODY).digest(), hashlib.sha512(BODY).digest()
IN_256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
IN_512 = (
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHW"
    "XvJwew==:"
)
MD5 = "md5=:Sd/dVLAcvNLSq16eXua5uQ==:"
CONTENT, REPR = "Content-Digest", "Repr-Digest"


def test_the_vectors_of_the_rfc() -> None:
    """Read and written."""
    assert parse_digests(IN_256, None) == [Promise("sha-256", SHA256)]
    assert parse_digests(None, IN_512) == [Promise("sha-512", SHA512)]
    assert format_digest("sha-256", SHA256) == IN_256
    assert format_digest("sha-512", SHA512) == IN_512


def test_every_known_digest_is_returned() -> None:
    """Several algorithms, both fields, parameters ignored, the last of a kind counts."""
    assert parse_digests(None, None) == parse_digests("", " ") == []
    assert parse_digests(f"{IN_512} , {IN_256};x=1", IN_256) == [
        Promise("sha-512", SHA512),
        Promise("sha-256", SHA256),
        Promise("sha-256", SHA256),
    ]
    assert parse_digests(f"sha-256=:AAAA:, {IN_256}", None) == [Promise("sha-256", SHA256)]


def test_unknown_algorithms_are_ignored_beside_a_known_one() -> None:
    """RFC 9530: a recipient may ignore any."""
    assert parse_digests(f"{MD5}, {IN_256}, x-new=1", None) == [Promise("sha-256", SHA256)]


def test_a_field_with_only_unknown_algorithms_is_refused() -> None:
    """Its sender believes that the bytes are protected; the refusal comes before the body."""
    with pytest.raises(BadDigest, match="sha-256") as refused:
        parse_digests(f"{MD5}, crc32c=:Q3lHIA==:", IN_256)
    assert refused.value.members == {
        "unsupported_algorithms": [
            {"algorithm": "md5", "header": CONTENT},
            {"algorithm": "crc32c", "header": CONTENT},
        ]
    }


@pytest.mark.parametrize(
    "value",
    [
        "sha-256=:AAAA:",
        "sha-256",
        "sha-256=1",
        'sha-256="abc"',
        "sha-256=::",
        f"{IN_512}, sha-256=(1 2)",
        "sha-512=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
    ],
)
def test_a_value_of_the_wrong_length_is_refused_before_the_body(value: str) -> None:
    """The member names the algorithm, the field and the reason."""
    with pytest.raises(BadDigest) as refused:
        parse_digests(None, value)
    invalids = refused.value.members["invalid_digests"]
    assert isinstance(invalids, list)
    (invalid,) = invalids
    assert invalid["algorithm"] in ("sha-256", "sha-512")
    assert invalid["header"] == REPR
    assert "bytes" in invalid["reason"]


@pytest.mark.parametrize(
    "value",
    [
        ",",
        "nonsense=",
        "sha-256=:!:",
        "SHA-256=:AAAA:",
        f"{IN_256},",
        f"sha-256={SHA256.hex()}",
        "sha-256=:AAAA",
        "é",
        "a" * (MOST_DIGEST_HEADER + 1),
        "d=@99999999999999",
    ],
)
def test_a_field_that_is_no_dictionary_is_refused(value: str) -> None:
    """BadDigest with invalid_digests, for every fault."""
    with pytest.raises(BadDigest) as refused:
        parse_digests(value, None)
    assert ("invalid_digests" in refused.value.members) or (
        "unsupported_algorithms" in refused.value.members
    )


@pytest.mark.parametrize(
    ("value", "instead"),
    [
        ("crc64nvme=:AAAAAAAAAAA=:", "send X-Checksum-Crc64nvme: HEXADECIMAL or "),
        (MD5, "send X-Checksum-Md5: HEXADECIMAL or "),
        ("blake3=:AA==:, sha=:AAA=:", "send X-Checksum-Blake3: HEXADECIMAL or X-Checksum-Sha: "),
        ("crc32c=:Q3lHIA==:", "send "),
    ],
)
def test_an_algorithm_of_another_header_is_refused_with_the_one_that_works(
    value: str, instead: str
) -> None:
    """That header is read, and a digest of this one works as well."""
    with pytest.raises(BadDigest) as refused:
        parse_digests(None, value)
    assert instead in refused.value.detail
    assert refused.value.detail.endswith("Repr-Digest: sha-256=:BASE64:")
    for header in re.findall(r"X-Checksum-\w+", refused.value.detail):
        algorithm = header.lower().removeprefix("x-checksum-")
        digits = digest_of(algorithm, BODY).hex()
        assert expected_of({header.lower(): digits}) == {algorithm: bytes.fromhex(digits)}


def test_the_length_of_a_field_is_at_its_edge() -> None:
    """MOST_DIGEST_HEADER characters are read."""
    longest = f'{IN_256}, x="{"a" * (MOST_DIGEST_HEADER - len(IN_256) - 6)}"'
    assert len(longest) == MOST_DIGEST_HEADER
    assert parse_digests(longest, None) == [Promise("sha-256", SHA256)]
    with pytest.raises(BadDigest):
        parse_digests(longest.replace("a", "aa", 1), None)


def test_a_digest_of_the_wrong_length_is_not_written() -> None:
    """Nor one of another algorithm."""
    for algorithm, value in (("sha-256", b"x"), ("md5", bytes(16)), ("sha-512", SHA256)):
        with pytest.raises(BadDigest):
            format_digest(algorithm, value)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_written_values_are_read_back(short: bytes, long: bytes) -> None:
    """Any value of the right length."""
    fields = f"{format_digest('sha-256', short)}, {format_digest('sha-512', long)}"
    assert [promise.value for promise in parse_digests(fields, None)] == [short, long]


@given(st.text(CHARACTERS, max_size=60) | st.text(alphabet='sha-256=:;,()"@?%1.9A ', max_size=60))
def test_any_field_is_read_or_refused(value: str) -> None:
    """Only a SluiceError is ever raised."""
    for text in (value, "sha-256=" + value, "a=@" + value, "a=" + value):
        try:
            parse_digests(text, text)
        except SluiceError:
            pass
