"""sluiceway.wire.names: names made safe, keys refused when they are not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadName
from sluiceway.wire.names import (
    MOST_KEY_BYTES,
    MOST_NAME_BYTES,
    MOST_SEGMENT_BYTES,
    MOST_SEGMENTS,
    check_key,
    clean_name,
    stays_inside,
)
from unicode_text import CHARACTERS
from wire.forms.costs import assert_linear

CLEAN = [
    ("report.pdf", "report.pdf"),
    ("Größe 10 €.txt", "Größe 10 €.txt"),
    ("👩‍👧.png", "👩‍👧.png"),
    ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
    ("\\\\server\\share\\photo.jpg", "photo.jpg"),
    ("../../etc/passwd", "passwd"),
    ("..\\..\\boot.ini", "boot.ini"),
    ("a/b\\c/d.txt", "d.txt"),
    ("/", "unnamed"),
    ("dir/", "unnamed"),
    ("", "unnamed"),
    (".", "unnamed"),
    ("..", "unnamed"),
    ("...", "unnamed"),
    (" . . ", "unnamed"),
    ("\x00", "unnamed"),
    ("a\x00b\r\nc\x7f\x85.txt", "abc.txt"),
    ("safe\u202egpj.exe", "safegpj.exe"),
    ("a\u2028b\u2029c\u2066d\u2069e\u200ef\ufeff", "abcdef"),
    (".\u202e./x", "x"),
    (".\u202e.", "unnamed"),
    (".bashrc", "_bashrc"),
    ("..hidden", "_.hidden"),
    (" .sluiceway", "_sluiceway"),
    ("name. . .", "name"),
    ("  name  ", "name"),
    ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
    ("file.txt:stream", "file.txt_stream"),
    ("%2e%2e%2fx", "%2e%2e%2fx"),
    ("-rf", "-rf"),
    ("e\u0301.txt", "é.txt"),
    ("\ud800x\udfff", "\ufffdx\ufffd"),
    ("CON", "_CON"),
    ("con.txt", "_con.txt"),
    ("NUL.tar.gz", "_NUL.tar.gz"),
    ("aux .txt", "_aux .txt"),
    ("Com1", "_Com1"),
    ("COM¹.log", "_COM¹.log"),
    ("LPT³", "_LPT³"),
    ("CONIN$", "_CONIN$"),
    ("PRN:", "PRN_"),
    ("console.txt", "console.txt"),
    ("COM10", "COM10"),
    ("dir/nul", "_nul"),
    ("a" + "\u0316" * 30 + ".txt", "a" + "\u0316" * 30 + ".txt"),
    ("a" + "\u0316" * 31 + ".txt", "a" + "\u0316" * 30 + ".txt"),
    ("a" * 5000 + ".tar.gz", "a" * 197 + ".gz"),
]


@pytest.mark.parametrize(("raw", "expected"), CLEAN)
def test_a_name_becomes_a_safe_last_segment(raw: str, expected: str) -> None:
    """Paths, controls, and traps of screens and Windows are removed or replaced."""
    assert clean_name(raw) == expected


LONG = [
    ("a" * 200, "a" * 200),
    ("a" * 201, "a" * 200),
    ("a" * 300 + ".txt", "a" * 196 + ".txt"),
    ("é" * 150 + ".txt", "é" * 98 + ".txt"),
    ("a" + "é" * 150, "a" + "é" * 99),
    ("a." + "b" * 300, "a." + "b" * 198),
    ("a" * 199 + " b", "a" * 199),
    ("CON." + "x" * 300, "_CON." + "x" * 195),
]


@pytest.mark.parametrize(("raw", "expected"), LONG)
def test_a_long_name_is_cut_at_a_character_and_keeps_its_extension(raw: str, expected: str) -> None:
    """At most MOST_NAME_BYTES bytes of UTF-8; an extension that is too long is cut, too."""
    assert clean_name(raw) == expected
    assert len(expected.encode()) <= MOST_NAME_BYTES


ANY_TEXT = st.text(CHARACTERS, max_size=300) | st.text(
    alphabet='aA.é\u0301 /\\:<>"|?*\x00\r\n\u202e\u2028\ud800\u212a\u037e\u0338COMNUL1¹~-_',
    max_size=260,
)


CROWDS = st.lists(
    st.sampled_from(
        ["a", "\u0316" * 29, "\u0301", "\u0f73" * 9, "\u0344", "é", "ṩ", ".", "\u3099"]
    ),
    max_size=40,
).map("".join)


@given(
    ANY_TEXT
    | st.text(alphabet=st.characters(categories=["Cs", "Mn", "Lo", "Po"]), max_size=120)
    | CROWDS
)
def test_cleaning_is_total_idempotent_and_always_safe(raw: str) -> None:
    """Every text gives a name that is safe everywhere, a valid key, and already clean."""
    name = clean_name(raw)

    assert clean_name(name) == name
    assert check_key(name) == name
    assert 0 < len(name.encode()) <= MOST_NAME_BYTES
    assert not name.startswith(".")
    assert name[-1] not in " ."
    assert not set(name) & set('/\\:<>"|?*')
    assert not any(unicodedata.category(c) == "Cc" for c in name)


GOOD_KEYS = [
    "a",
    "a/b/c.txt",
    ".hidden",
    "a/.config/x",
    "Größe €",
    "2026-01-01T10:00:00Z",
    "a b",
    "-",
    "~",
    "x" * 255,
]


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_safe_key_stays_as_it_is(key: str) -> None:
    """Keys are written on purpose, so nothing in them is replaced."""
    assert check_key(key) == key


def test_both_spellings_of_an_accent_name_one_object() -> None:
    """macOS types NFD, others NFC: the key is returned in NFC."""
    assert check_key("e\u0301/o\u0308") == "é/ö"


BAD_KEYS = [
    ("", "empty segment"),
    ("/a", "empty segment"),
    ("a/", "empty segment"),
    ("a//b", "empty segment"),
    (".", "segment"),
    ("..", "segment"),
    ("a/../b", "segment"),
    ("a/..", "segment"),
    ("a/.. /b", "dot or space"),
    ("a/b.", "dot or space"),
    ("a /b", "dot or space"),
    ("a\\b", "backslash"),
    ("a\x00b", "invisible character"),
    ("a\nb", "invisible character"),
    ("a\x7f", "invisible character"),
    ("a\u202eb", "invisible character"),
    ("\ud800", "Unicode"),
    (".sluiceway", "belong to the server"),
    ("a/.sluiceway-tmp/b", "belong to the server"),
    (".SluiceWay/x", "belong to the server"),
    (".slui\u200cceway", "belong to the server"),
    ("C:x", "drive"),
    ("a/c:", "drive"),
    ("CON", "device"),
    ("a/nul.txt/b", "device"),
    ("COM¹", "device"),
    ("NUL:x", "device"),
    ("x" * 256, "255 bytes"),
    ("é" * 128, "255 bytes"),
]


@pytest.mark.parametrize(("key", "reason"), BAD_KEYS)
def test_an_unsafe_key_is_refused_with_its_reason(key: str, reason: str) -> None:
    """BadName says which rule was broken."""
    with pytest.raises(BadName, match=reason):
        check_key(key)


def test_the_lengths_of_keys_are_at_their_edge() -> None:
    """1024 bytes in all, 255 in a segment, 32 segments, or what the store takes."""
    segment = "é" * 127 + "x"
    longest = "/".join(["a" * 200] * 5) + "/" + "b" * 19
    deepest = "/".join("d" * MOST_SEGMENTS)
    assert len(segment.encode()) == MOST_SEGMENT_BYTES
    assert len(longest) == MOST_KEY_BYTES

    assert check_key(segment) == segment
    assert check_key(longest) == longest
    assert check_key(deepest) == deepest
    with pytest.raises(BadName, match="32 segments"):
        check_key(deepest + "/d")
    assert check_key("abc", max_bytes=3) == "abc"
    with pytest.raises(BadName, match="255"):
        check_key(segment + "x")
    with pytest.raises(BadName, match="1024"):
        check_key(longest + "c")
    with pytest.raises(BadName, match="3 bytes"):
        check_key("abcd", max_bytes=3)


MARKS = [
    "\u0301",
    "\u0316\u0301",
    "\u0f73",
    "\u0344",
    "e\u0301\u0316\u0f73",
]  # the third one decomposes into two


@pytest.mark.parametrize("marks", MARKS)
def test_names_of_marks_cost_linear_time(marks: str) -> None:
    """Sorting marks is quadratic: a form of 3 MB of them took ten seconds."""

    def name(size: int) -> None:
        for _ in range(4):
            clean_name("a" + marks * size + ".txt")
            with pytest.raises(BadName):
                check_key("a" + marks * size)

    assert_linear(name, 4_000)
    assert len(clean_name("a" + marks * 100_000 + ".txt").encode()) <= MOST_NAME_BYTES


def test_a_key_has_thirty_marks_in_a_row_at_most() -> None:
    """UAX #15's stream-safe format, counted when the letters are taken apart."""
    assert check_key("a" + "\u0316" * 30) == "a" + "\u0316" * 30
    assert check_key("e\u0301" + "\u0316" * 29)
    for crowd in ("a" + "\u0316" * 31, "é" + "\u0316" * 30, "a" + "\u0f73" * 16):
        with pytest.raises(BadName, match="30"):
            check_key(crowd)


def test_a_key_that_macos_takes_apart_may_be_longer() -> None:
    """Its length in the composed form counts."""
    assert check_key("e\u0301" * 127) == "é" * 127
    with pytest.raises(BadName, match="1024 bytes"):
        check_key("e\u0301" * 100_000)


@given(ANY_TEXT)
def test_any_key_is_returned_or_refused(key: str) -> None:
    """An accepted key is accepted again unchanged, and cannot leave its root on any system."""
    try:
        checked = check_key(key)
    except BadName:
        return

    assert check_key(checked) == checked
    assert not {"", ".", ".."} & {segment.rstrip(" .") for segment in checked.split("/")}
    assert "\\" not in checked


@pytest.mark.parametrize(
    "key", ["e\u0301", "CON", "a.", "trailing /x", "a\nb", "x" * 300, "a\\b", "a/.sluiceway/b"]
)
def test_names_of_other_programs_can_be_looked_up(key: str) -> None:
    """A key that is refused for uploads is still served where it exists."""
    assert stays_inside(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/..",
        "a\0b",
        "\ud800",
        ".sluiceway/x",
        ".SLUICEWAY",
    ],
)
def test_no_lookup_leaves_the_root_or_enters_the_servers_own_folder(key: str) -> None:
    """Laxer than check_key, but not about paths."""
    assert not stays_inside(key)


@given(ANY_TEXT)
def test_every_accepted_key_can_be_looked_up(key: str) -> None:
    """A key of check_key always passes."""
    try:
        checked = check_key(key)
    except BadName:
        return
    assert stays_inside(checked)


@given(st.text("CONAUXcomLPTn19. -_é\n", max_size=9))
def test_a_plain_name_is_judged_as_every_other_one(name: str) -> None:
    """Most names are recognised by one search. An invisible character makes a name no plain one,
    and is removed."""
    by_all_rules = clean_name("\ufeff" + name)

    assert clean_name(name) == by_all_rules
    if not name.startswith((".", " ")):
        try:
            accepted = check_key(name)
        except BadName:
            assert name != by_all_rules
        else:
            assert accepted == by_all_rules
