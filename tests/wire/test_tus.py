"""The headers of tus 1.0.0: strict, and each bound at its edge."""

from __future__ import annotations

import base64

import pytest

from sluiceway.errors import BadDigest, BadRequest
from sluiceway.wire.tus import (
    MOST_METADATA,
    MOST_PARTIALS,
    UnsupportedVersion,
    check_version,
    parse_checksum,
    parse_concatenation,
    parse_creation,
    parse_metadata,
    parse_offset,
)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_metadata_are_pairs_of_a_key_and_base64() -> None:
    text = f"filename {coded('naïve,.txt')},is_private , filetype {coded('text/plain')}"
    assert parse_metadata(text) == {
        "filename": "naïve,.txt",
        "is_private": "",
        "filetype": "text/plain",
    }
    assert parse_metadata("") == {}


@pytest.mark.parametrize(
    "text", ["filename %%%", "a YQ==,a YQ==", ",", "a YQ==,", "ä YQ==", "a YQ== YQ==", "a YQ"]
)
def test_metadata_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_metadata(text)


def test_the_metadata_of_an_upload_are_bounded() -> None:
    text = f"key {'A' * (MOST_METADATA - 4)}"
    assert len(text) == MOST_METADATA
    assert len(parse_metadata(text)["key"]) == (MOST_METADATA - 4) // 4 * 3
    with pytest.raises(BadRequest):
        parse_metadata(text + " ")


def test_a_final_upload_joins_so_many_parts() -> None:
    most = parse_concatenation("final;" + "/a " * MOST_PARTIALS)
    assert most is not None
    assert len(most.partials) == MOST_PARTIALS
    with pytest.raises(BadRequest):
        parse_concatenation("final;" + "/a " * (MOST_PARTIALS + 1))


@pytest.mark.parametrize("text", ["", "final", "final;", "partial;/a", "whole", "final /a"])
def test_a_concatenation_is_partial_or_names_its_parts(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_concatenation(text)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload-length": "1", "upload-defer-length": "1"},
        {"upload-defer-length": "0"},
        {"upload-length": "-1"},
        {"upload-length": "+1"},
        {"upload-length": "1_0"},
        {"upload-length": "١"},
        {"upload-length": "1", "upload-concat": "final;/a"},
    ],
)
def test_a_creation_says_its_length_once_and_in_digits(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        parse_creation(headers)


def test_an_offset_is_digits_alone() -> None:
    assert parse_offset({"upload-offset": "70"}) == 70
    for headers in ({}, {"upload-offset": ""}, {"upload-offset": " 7"}, {"upload-offset": "0x7"}):
        with pytest.raises(BadRequest):
            parse_offset(headers)


def test_one_version_is_spoken() -> None:
    check_version({"tus-resumable": "1.0.0"})
    for headers in ({}, {"tus-resumable": "0.2.2"}, {"tus-resumable": ""}):
        with pytest.raises(UnsupportedVersion):
            check_version(headers)


def test_a_checksum_is_of_a_known_algorithm_and_its_size() -> None:
    assert parse_checksum(None) == {}
    assert parse_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")["sha"].hex().startswith("2aae6c35")
    for text in ("sha1", "sha1 Kq5s", "sha1 ***"):
        with pytest.raises(BadDigest):
            parse_checksum(text)
    with pytest.raises(BadRequest):
        parse_checksum("xxhash Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
