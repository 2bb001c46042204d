"""Lines for curl: their words, and that they contain no secret.

journeys/test_copy_curl.py shows that they copy the same.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sluiceway.copying.api import curl_lines
from sluiceway.copying.curl import PIPE_NOTE, RESUME_NOTE, CurlLine
from sluiceway.copying.options import CopyOptions
from sluiceway.errors import BadRequest

U = "http://h/files/a.txt"


def line(src: str, dst: str, **options: object) -> CurlLine:
    (only,) = curl_lines(CopyOptions.for_one(src, dst, **options))  # type: ignore[arg-type]
    return only


@pytest.mark.parametrize(
    ("src", "dst", "options", "text"),
    [
        (
            "a b.txt",
            U,
            {},
            (
                "curl -sS --fail-with-body -T 'a b.txt' -H 'Content-Type: text/plain' "
                "-H 'If-None-Match: *' http://h/files/a.txt"
            ),
        ),
        (
            "x/a.txt",
            "http://h/d/",
            {},
            (
                "curl -sS --fail-with-body -T x/a.txt -H 'Content-Type: text/plain' "
                "-H 'If-None-Match: *' http://h/d/a.txt"
            ),
        ),
        (
            "-",
            U,
            {},
            (
                "curl -sS --fail-with-body -T - -H 'Content-Type: text/plain' "
                "-H 'If-None-Match: *' http://h/files/a.txt"
            ),
        ),
        (
            "-",
            U,
            {"size": "1KiB"},
            (
                "curl -sS --fail-with-body -T - -H Transfer-Encoding: -H 'Content-Length: 1024' "
                "-H 'Content-Type: text/plain' -H 'If-None-Match: *' http://h/files/a.txt"
            ),
        ),
        (
            "a.txt",
            "http://h/books",
            {"form": [("id", "42"), ("note", "@x")], "field": "cover"},
            (
                "curl -sS --fail-with-body --form-string id=42 --form-string note=@x "
                """-F 'cover=@"a.txt";filename="a.txt";type=text/plain' http://h/books"""
            ),
        ),
        (U, "b", {}, "curl -sSfL http://h/files/a.txt -C - -o b"),
        (U, "b", {"force": True}, "curl -sSfL http://h/files/a.txt -o b"),
        (U, "-", {}, "curl -sSfL http://h/files/a.txt"),
        (
            U,
            "http://g/x",
            {},
            (
                "curl -sSfL http://h/files/a.txt | "
                "curl -sS --fail-with-body -T - -H 'Content-Type: text/plain' "
                "-H 'If-None-Match: *' http://g/x"
            ),
        ),
    ],
)
def test_each_direction_has_its_line(
    src: str, dst: str, options: dict[str, object], text: str
) -> None:
    """A file, a folder, a pipe with and without a size, a form, a download, between servers."""
    assert line(src, dst, **options).text == text


def test_a_download_into_a_folder_names_the_file(tmp_path: Path) -> None:
    """The name in the URL, cleaned; or the given name."""
    assert line("http://h/d/%2e%2e%2fa.txt", str(tmp_path)).text.endswith(f"-o {tmp_path}/a.txt")
    assert line(U, str(tmp_path), name="n.txt").text.endswith(f"-o {tmp_path}/n.txt")


def test_a_folder_has_a_line_for_each_file(tmp_path: Path) -> None:
    """In the order in which they would be sent, under the same names."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2").touch()
    (tmp_path / "1").touch()
    texts = [each.text for each in curl_lines(CopyOptions.for_one(str(tmp_path), "http://h/d/"))]

    assert [text.rpartition(" ")[2] for text in texts] == ["http://h/d/1", "http://h/d/b/2"]


def test_lines_contain_no_secret() -> None:
    """Tokens, passwords and keys become variables with names of their own, all listed."""
    done = line(
        "https://me:hush@a/f?X-Amz-Signature=hush&x=1&sig=hush",
        "https://b/files?access_token=hush",
        token="hush",
        from_headers={"X-Api-Key": "hush", "Cookie": "hush", "X-Note": "plain"},
        headers={"X-Auth-Token": "hush", "X-Token": "hush"},
        form=[("password", "hush"), ("id", "42")],
    )

    assert "hush" not in done.text
    assert done.variables == (
        "SLUICEWAY_FROM_PASSWORD",
        "SLUICEWAY_FROM_X_API_KEY",
        "SLUICEWAY_FROM_COOKIE",
        "SLUICEWAY_FROM_X_AMZ_SIGNATURE",
        "SLUICEWAY_FROM_SIG",
        "SLUICEWAY_PASSWORD",
        "SLUICEWAY_TOKEN",
        "SLUICEWAY_X_AUTH_TOKEN",
        "SLUICEWAY_X_TOKEN",
        "SLUICEWAY_ACCESS_TOKEN",
    )
    assert '--user "me:$SLUICEWAY_FROM_PASSWORD"' in done.text
    assert '-H "Authorization: Bearer $SLUICEWAY_TOKEN"' in done.text
    assert "-H 'X-Note: plain'" in done.text
    assert (
        '"https://a/f?X-Amz-Signature=$SLUICEWAY_FROM_X_AMZ_SIGNATURE&x=1&sig=$SLUICEWAY_FROM_SIG"'
        in done.text
    )
    assert "--form-string id=42" in done.text


def test_two_secrets_of_one_name_get_two_variables() -> None:
    """Otherwise the second would be sent twice."""
    done = line("a", "http://h/x?token=1&token=2", token="t")

    assert done.variables == ("SLUICEWAY_TOKEN", "SLUICEWAY_TOKEN_2", "SLUICEWAY_TOKEN_3")


def test_the_scheme_stays_and_the_secret_is_hidden() -> None:
    """The kind of credentials is useful; a value without a scheme is hidden as a whole."""
    assert (
        '-H "Authorization: Own $SLUICEWAY_TOKEN"'
        in line("a", U, headers={"Authorization": "Own hush"}).text
    )
    assert (
        '-H "Authorization: $SLUICEWAY_TOKEN"'
        in line("a", U, headers={"Authorization": "hush"}).text
    )


@pytest.mark.parametrize(
    "name", ["it's", 'a"b', "$HOME", "`id`", "a\\b", "!x", "a;b", "a\nb", "ü [1] {2}", "-x", "*"]
)
def test_a_shell_reads_names_literally(name: str) -> None:
    """One word for the shell, and no pattern for curl."""
    words = shlex.split(line(name, "http://h/files/x").text)

    assert words[words.index("-T") + 1] == name
    assert ("-g" in words) == ("[" in name)


def test_text_beside_a_variable_cannot_run_anything() -> None:
    """Text that double quotes would expand is quoted by itself."""
    text = line("a", U, headers={"X-Key": "s"}, form=None, token="t").text
    risky = line("http://u$(id):pw@h/a", "b").text

    assert '"X-Key: $SLUICEWAY_X_KEY"' in text
    assert "'u$(id):'\"$SLUICEWAY_PASSWORD\"" in risky


def test_notes_say_how_curl_differs() -> None:
    """A pipe of two curls stores a broken source; -C - trusts the existing file."""
    assert line(U, "http://g/x").notes == (PIPE_NOTE,)
    assert line(U, "b").notes == (RESUME_NOTE,)
    assert line("a", U).notes == line(U, "b", force=True).notes == ()


def test_an_empty_header_is_sent_by_curl_too() -> None:
    """`Name:` would remove the header."""
    assert "-H 'X-Note;'" in line("a", U, headers={"X-Note": ""}).text


def test_a_copy_without_a_server_has_no_line(tmp_path: Path) -> None:
    """The same errors as from the copy itself."""
    for src, dst in (("-", "http://h/files"), ("a", "b"), (str(tmp_path), "http://h/x")):
        with pytest.raises(BadRequest):
            list(curl_lines(CopyOptions.for_one(src, dst)))
