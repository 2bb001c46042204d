"""Keys from templates and ids: fresh, impossible to guess, and always safe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from sluiceway.errors import BadName, BadRequest
from sluiceway.uploads.keys import DEFAULT_TEMPLATE, KeyTemplate, checked_id, new_id, shown_path
from sluiceway.wire.names import check_key, clean_name


def test_ids_are_fresh_and_have_one_form() -> None:
    """129 bits of lower-case letters and digits, and each one new."""
    ids = {new_id() for _ in range(2000)}

    assert len(ids) == 2000
    assert all(re.fullmatch(r"[a-z0-9]{25}", one) for one in ids)


FORKED = """
import os
from sluiceway.uploads.keys import new_id
new_id()
if child := os.fork():
    os.waitpid(child, 0)
print(*(new_id() for _ in range(100)), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_gives_out_other_ids() -> None:
    found = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True
    )
    ids = found.stdout.split()
    assert len(ids) == len(set(ids)) == 200


@pytest.mark.parametrize("good", ["x" * 22, "x" * 64, "AZaz09-_AZaz09-_AZaz09-_"])
def test_a_chosen_id_of_the_right_form_is_taken(good: str) -> None:
    """22 to 64 of the URL-safe alphabet."""
    assert checked_id(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x" * 21,
        "x" * 65,
        "x" * 21 + ".",
        "x" * 21 + "/",
        "ü" * 22,
        "x" * 21 + "\n",
        " " * 22,
        "x" * 21 + "٣",
    ],
)
def test_any_other_id_is_refused(bad: str) -> None:
    """Short enough to be guessed, too long, or with other symbols."""
    with pytest.raises(BadRequest, match="22 to 64"):
        checked_id(bad)


def test_the_default_key_is_an_id_and_the_name() -> None:
    """Two files of one name get two keys."""
    template = KeyTemplate()
    first, second = template.key("a b.txt"), template.key("a b.txt")

    assert template.text == DEFAULT_TEMPLATE == "{id}/{path}"
    assert re.fullmatch(r"[a-z0-9]{25}/a b\.txt", first)
    assert first != second


def test_a_path_is_the_name_with_its_folders() -> None:
    """{path} has them, {filename} has not."""
    assert KeyTemplate("{path}").key("a.txt", "x/y/") == "x/y/a.txt"
    assert KeyTemplate("in/{filename}").key("a.txt", "x/y/") == "in/a.txt"
    assert KeyTemplate("in/{path}").key("a.txt") == "in/a.txt"


def test_people_see_a_key_without_the_id_in_front_of_it() -> None:
    """Only an id as this server makes it, and only in front of something."""
    made = new_id()

    assert shown_path(f"{made}/x/a.txt") == "x/a.txt"
    for other in (made, f"{made}/", f"x/{made}/a", f"{made[1:]}/a", f"{made.upper()}-/a", "a.txt"):
        assert shown_path(other) == other


def test_the_date_of_a_key_is_today() -> None:
    """Year, month and day in UTC, filled with zeros."""
    before = datetime.now(UTC)
    key = KeyTemplate("{year}/{month}/{day}/{id}").key("x")
    after = datetime.now(UTC)

    assert key.rpartition("/")[0] in {f"{now:%Y/%m/%d}" for now in (before, after)}


@pytest.mark.parametrize(
    "text",
    [
        "{name}/{id}",
        "{id",
        "id}",
        "{}",
        "{0}",
        "{id.__class__}",
        "{filename[0]}",
        "static",
        "",
        "{year}/{month}",
    ],
)
def test_a_template_that_cannot_work_is_refused(text: str) -> None:
    """Unknown or open fields, or no field that differs: refused at the start, in words."""
    with pytest.raises(BadName, match="template"):
        KeyTemplate(text)


@pytest.mark.parametrize(
    "text",
    [
        "../{id}",
        "/{id}",
        "{id}/",
        "a//{id}",
        "a/./{id}",
        "a\\{id}",
        ".sluiceway/{id}",
        "NUL/{id}",
        "{id}.",
        "a\n{id}",
        "x" * 1100 + "{id}",
    ],
)
def test_a_template_that_makes_unsafe_keys_is_refused(text: str) -> None:
    """The template is checked like any key, before the first upload."""
    with pytest.raises(BadName, match="no safe key"):
        KeyTemplate(text)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "NUL", ".sluiceway", "a" * 5000, "\0", "", "x\u202ey", "ü" * 300 + ".tar.gz"],
)
@pytest.mark.parametrize(
    "text", ["{filename}", "{path}", "{id}/{filename}", "in/{filename}", "{year}-{filename}"]
)
def test_every_cleaned_name_makes_a_good_key(text: str, name: str) -> None:
    """`check_key` takes every name of `clean_name`, in each template."""
    key = KeyTemplate(text).key(clean_name(name))

    assert check_key(key) == key
