"""sluiceway.wire.names: paths in archives, and the folders of a chosen file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.wire.names import check_key, clean_folders, leads_out


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b.c",
        ".hidden/x",
        "aux.c",
        "con/nul",
        "ends. ",
        "é/日本",
        "ab:c",
        "100%",
        "~/x",
        "-x",
    ],
)
def test_a_name_may_stand_in_an_archive_where_it_means_the_same_everywhere(name: str) -> None:
    """Also where one system would refuse it: Linux kernels have an aux.c."""
    assert leads_out(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a//b",
        "a/",
        "../a",
        "a/..",
        "a/./b",
        "a\\b",
        "..\\a",
        "C:/a",
        "c:a",
        "a\0b",
        "a\nb",
        "\udcff",
        ".sluiceway/a",
        "\u202egpj",
    ],
)
def test_a_name_that_could_lead_out_of_an_archive_is_refused_with_a_reason(name: str) -> None:
    """On every system that packs and unpacks, also on Windows."""
    assert leads_out(name)


@pytest.mark.parametrize(
    ("raw", "folders"),
    [
        ("album/a/README", "album/a/"),
        ("a/b", "a/"),
        ("\u00fc b/.hidden/x", "\u00fc b/_hidden/"),
        ("CON/x", "_CON/"),
        ("e\u0301/x", "\u00e9/"),
        ("ab:b*c/x", "ab_b_c/"),
        ("README", ""),
        ("", ""),
        ("/etc/passwd", ""),
        ("../../etc/passwd", ""),
        ("a/../b", ""),
        ("a/./b", ""),
        ("a/", ""),
        ("a/..", ""),
        ("a//b", ""),
        ("a/. ./b", ""),
        ("C:/x/y", ""),
        ("C:\\fakepath\\x.txt", ""),
        ("a\\b/c", ""),
        ("/".join(["d"] * 32) + "/x", ""),
    ],
)
def test_folders_are_kept_only_where_the_path_is_relative_and_clean(raw: str, folders: str) -> None:
    """Browsers send such paths for a chosen folder; any other path is only a name."""
    assert clean_folders(raw) == folders


@given(st.text(alphabet=st.sampled_from("ab./\\: \u0301\u202e\x00\ud800C"), max_size=30))
def test_folders_lead_nowhere_else(raw: str) -> None:
    """Of any text: a valid key below one's own, or nothing."""
    folders = clean_folders(raw)
    if folders:
        check_key(f"id/{folders}name")
