"""The older digest headers: every digest is checked, or refused as unknown."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping

import pytest
import requests
from awscrt.checksums import crc64nvme
from blake3 import blake3

from fix_gateway import Gateway, takes
from fix_taking import eventually, noise
from fix_ways import NAMES, Way
from raw_http import BOUNDARY, form_body
from rude_peer import Peer

DATA = noise(200_000)
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def b64(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def digits(algorithm: str, data: bytes) -> str:
    return hashlib.new(algorithm, data).hexdigest()


def asked(data: bytes) -> dict[str, tuple[str, str]]:
    """Every header that asks for a check, as its senders write it."""
    crc, adler = zlib.crc32(data).to_bytes(4), zlib.adler32(data).to_bytes(4)
    return {
        "RFC 1864": ("Content-MD5", b64("md5", data)),
        "RFC 3230": ("Digest", f"SHA-256={b64('sha256', data)}"),
        "RFC 3230, MD5": ("Digest", f"md5={b64('md5', data)}"),
        "RFC 3230, several": (
            "Digest",
            f"unixsum=30637, SHA={b64('sha1', data)},sha-512={b64('sha512', data)}",
        ),
        "RFC 3230, adler32": ("Digest", f"adler32={adler.hex()}"),
        "RFC 9530": ("Repr-Digest", f"sha-256=:{b64('sha256', data)}:"),
        "ownCloud": ("OC-Checksum", f"SHA1:{digits('sha1', data)}"),
        "ownCloud, several": (
            "OC-Checksum",
            f"SHA3-256:00 MD5:{digits('md5', data)} ADLER32:{adler.hex()}",
        ),
        "tus": ("Upload-Checksum", f"sha1 {b64('sha1', data)}"),
        "Artifactory": ("X-Checksum-Sha256", digits("sha256", data)),
        "Artifactory, SHA-1": ("X-Checksum-Sha1", digits("sha1", data).upper()),
        "Artifactory, MD5": ("X-Checksum-MD5", digits("md5", data)),
        "a plain one": ("X-Checksum", digits("sha256", data)),
        "a named one": ("X-Checksum", f"sha384={digits('sha384', data)}"),
        "Amazon": ("x-amz-checksum-sha256", b64("sha256", data)),
        "Amazon, CRC-32": ("x-amz-checksum-crc32", base64.b64encode(crc).decode()),
        "Amazon, CRC64NVME": (
            "x-amz-checksum-crc64nvme",
            base64.b64encode(crc64nvme(data).to_bytes(8)).decode(),
        ),
        "CRC64NVME": ("X-Checksum-Crc64nvme", f"{crc64nvme(data):016x}"),
        "BLAKE3": ("X-Checksum-Blake3", blake3(data).hexdigest()),
        "Amazon's signature": ("x-amz-content-sha256", digits("sha256", data)),
        "Google": ("x-goog-hash", f"crc32c=n03x6A==,md5={b64('md5', data)}"),
        "Azure": ("x-ms-blob-content-md5", b64("md5", data)),
        "Backblaze": ("X-Bz-Content-Sha1", digits("sha1", data)),
    }


RIGHT, WRONG = asked(DATA), asked(DATA[:-1])

UNKNOWN = {
    "RFC 3230": ("Digest", "unixsum=30637"),
    "RFC 3230, CRC-32C": ("Digest", "crc32c=9f4df1e8"),
    "ownCloud": ("OC-Checksum", "SHA3-256:00ff"),
    "Amazon": ("x-amz-checksum-crc32c", "AAAAAA=="),
    "Artifactory": ("X-Checksum-Whirlpool", "00"),
    "Azure": ("x-ms-content-crc64", "AAAAAAAAAAA="),
}

UNREADABLE = {
    "not base64": ("Content-MD5", "!!!"),
    "too short": ("Content-MD5", base64.b64encode(b"short").decode()),
    "digits of another algorithm": ("Content-MD5", digits("sha256", DATA)),
    "no algorithm": ("Digest", b64("md5", DATA)),
    "no value": ("OC-Checksum", "SHA1:"),
    "nothing": ("Digest", ""),
    "odd digits": ("X-Checksum-Sha256", "0" * 63),
    "only for the end": ("Trailer", "Content-MD5"),
    "endless": ("Digest", "md5=" + "A" * 4000),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_correct_checksum_is_accepted(ways: Mapping[str, Way], kind: str) -> None:
    """Each header; the file is stored."""
    response = requests.put(
        f"{ways['alone'].url}/files/right", data=DATA, headers=dict([RIGHT[kind]]), timeout=10
    )

    assert response.status_code in (200, 201), response.text
    assert ways["alone"].read("right") == DATA


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_checksum_stores_nothing(ways: Mapping[str, Way], kind: str) -> None:
    """Each header, by PUT, by POST and with a form around the bytes."""
    way = ways["alone"]
    before = way.stored()
    put = requests.put(f"{way.url}/files/wrong", data=DATA, headers=dict([WRONG[kind]]), timeout=10)
    post = requests.post(
        f"{way.url}/files?name=wrong", data=DATA, headers=dict([WRONG[kind]]), timeout=10
    )
    form = requests.post(
        f"{way.url}/files",
        data=form_body(("f", "x", DATA)),
        headers={**FORM, **dict([WRONG[kind]])},
        timeout=10,
    )

    assert [(response.status_code, response.json()["code"]) for response in (put, post, form)] == [
        (400, "digest-mismatch")
    ] * 3
    assert way.stored() == before


@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_algorithm_is_refused_with_its_name(ways: Mapping[str, Way], kind: str) -> None:
    """Its sender believes that the bytes are protected; they would not be."""
    name, value = UNKNOWN[kind]
    response = requests.put(
        f"{ways['alone'].url}/files/unknown", data=DATA, headers={name: value}, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-digest")
    assert response.json()["unsupported_algorithms"]
    assert name.lower() in response.json()["detail"]
    assert "unknown" not in ways["alone"].stored()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_checksum_is_refused(ways: Mapping[str, Way], kind: str) -> None:
    response = requests.put(
        f"{ways['alone'].url}/files/bad", data=DATA, headers=dict([UNREADABLE[kind]]), timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-digest")
    assert "bad" not in ways["alone"].stored()


def test_the_words_for_no_digest_ask_for_no_check(ways: Mapping[str, Way]) -> None:
    """Amazon's and Backblaze's clients send them where they signed no body."""
    for name, value in (
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("X-Bz-Content-Sha1", "do_not_verify"),
    ):
        assert (
            requests.put(
                f"{ways['alone'].url}/files/none", data=DATA, headers={name: value}, timeout=10
            ).status_code
            < 300
        )


def test_two_headers_that_contradict_each_other_are_refused(ways: Mapping[str, Way]) -> None:
    """One of the two promises would be broken."""
    headers = dict([RIGHT["RFC 3230"], WRONG["Artifactory"]])
    response = requests.put(
        f"{ways['alone'].url}/files/two", data=DATA, headers=headers, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize("name", NAMES)
def test_every_way_in_checks_the_digest(ways: Mapping[str, Way], name: str) -> None:
    """A raw body, a form and a form's part, alone, through a gateway and in a mounted service."""
    way = ways[name]
    before = way.stored()
    wrong, right = dict([WRONG["RFC 1864"]]), dict([RIGHT["RFC 1864"]])
    raw = requests.put(f"{way.url}/files/every", data=DATA, headers=wrong, timeout=10)
    form = requests.post(
        f"{way.url}/files", data=form_body(("f", "x", DATA)), headers={**FORM, **wrong}, timeout=10
    )
    part = requests.post(f"{way.url}/files", data=with_part_head(wrong), headers=FORM, timeout=10)

    assert [(response.status_code, response.json()["code"]) for response in (raw, form, part)] == [
        (400, "digest-mismatch")
    ] * 3
    assert way.stored() == before
    assert (
        requests.post(
            f"{way.url}/files", data=with_part_head(right), headers=FORM, timeout=10
        ).status_code
        == 201
    )


def with_part_head(
    headers: Mapping[str, str], data: bytes = DATA, filename: str | None = "x"
) -> bytes:
    """Return a form of one part with these lines in its head."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    return form_body(("f", filename, data)).replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n", 1)


@pytest.mark.parametrize("kind", RIGHT)
def test_a_digest_in_a_part_s_head_is_checked(ways: Mapping[str, Way], kind: str) -> None:
    """Every header counts in a part's head, for the part's bytes."""
    url = f"{ways['alone'].url}/files"
    assert (
        requests.post(
            url, data=with_part_head(dict([RIGHT[kind]])), headers=FORM, timeout=10
        ).status_code
        == 201
    )
    response = requests.post(
        url, data=with_part_head(dict([WRONG[kind]])), headers=FORM, timeout=10
    )

    assert (response.status_code, response.json()["code"]) == (400, "digest-mismatch")


def test_a_part_is_checked_after_decoding(ways: Mapping[str, Way]) -> None:
    """RFC 1864 counts the bytes inside base64; a field with a digest is checked, too."""
    url = f"{ways['alone'].url}/files"
    coded = {"Content-Transfer-Encoding": "base64", **dict([RIGHT["RFC 1864"]])}
    assert (
        requests.post(
            url, data=with_part_head(coded, base64.encodebytes(DATA)), headers=FORM, timeout=10
        ).status_code
        == 201
    )

    field = with_part_head({"Content-MD5": b64("md5", b"other")}, b"value", None)
    assert (
        requests.post(url, data=field, headers=FORM, timeout=10).json()["code"] == "digest-mismatch"
    )


def test_an_unknown_algorithm_in_a_part_is_refused(ways: Mapping[str, Way]) -> None:
    response = requests.post(
        f"{ways['alone'].url}/files",
        data=with_part_head(dict([UNKNOWN["RFC 3230"]])),
        headers=FORM,
        timeout=10,
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad-digest")


def test_a_backend_never_gets_a_whole_body_with_a_wrong_digest(gateway: Gateway) -> None:
    """A gateway checks while it sends on: it withholds the end of a raw body and of a form."""
    with Peer(takes) as peer:
        server = gateway(f"{peer.url}/files")
        requests.put(
            f"{server.url}/files/k", data=DATA, headers=dict([WRONG["RFC 1864"]]), timeout=10
        )
        requests.post(
            f"{server.url}/files",
            data=with_part_head(dict([WRONG["ownCloud"]])),
            headers=FORM,
            timeout=10,
        )

        eventually(lambda: len(peer.seen) == 2, "the backend has read both heads")
        assert [exchange.was_cut() for exchange in peer.seen] == [True, True]
