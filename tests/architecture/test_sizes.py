"""Files and folders stay small enough to be read at once; every name says something, once.

A list of exceptions only ever gets shorter: an entry that is not needed any more fails too.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict

from architecture.sources import ROOT, modules, require

MOST_LINES = 400
LONG_FILES: set[str] = set()
MOST_FILES = 16
FULL_FOLDERS = set[str]()
# classes of one name in two modules
TWICE = {
    "Sluiceway",  # the ASGI app, and Flask's extension: each is what its users write
}
# words that no text of the package uses any more -> folders (or modules) that still do
RETIRED_WORDS: dict[str, set[str]] = {
    "told": set(),
}
SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "core"}


def same(found: set[str], excused: set[str], what: str) -> None:
    """Fails for what is found and not excused, and for what is excused and not found."""
    require(
        [f"{one}: {what}" for one in found - excused]
        + [f"{one}: take it off the list of exceptions" for one in excused - found]
    )


def test_no_file_is_too_long() -> None:
    """At most 400 lines."""
    found = {module.short for module in modules() if module.text.count("\n") > MOST_LINES}

    same(found, LONG_FILES, f"more than {MOST_LINES} lines")


def test_no_folder_is_too_full() -> None:
    """At most 16 files, whatever their kind."""
    counted = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    found = {folder for folder, files in counted.items() if files > MOST_FILES}

    same(found, FULL_FOLDERS, f"more than {MOST_FILES} files")


def test_no_class_name_is_used_twice() -> None:
    """A name stands for one thing in the whole package, private classes included."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.short)
    found = {name for name, where in places.items() if len(where) > 1}

    same(found, TWICE, "a class of this name is in two places")


def test_retired_words_are_gone() -> None:
    """In names, comments and texts alike; `_word` and `word_` count, `foreword` does not."""
    for word, excused in RETIRED_WORDS.items():
        pattern = re.compile(rf"(?<![a-z]){word}(?![a-z])", re.IGNORECASE)
        found = {
            module.short if module.path.parent == ROOT else module.short.rpartition("/")[0]
            for module in modules()
            if pattern.search(module.text)
        }

        same(found, excused, f'uses the word "{word}"')


def test_no_name_of_a_file_says_nothing() -> None:
    """A function without a home means that the model lacks a word."""
    require(
        module.short for module in modules() if not SAY_NOTHING.isdisjoint(module.name.split("."))
    )


def test_every_file_begins_with_its_rules() -> None:
    """The docstring says what lives here, and what the file must not know."""
    for module in modules():
        if not module.text.strip():
            continue
        text = ast.get_docstring(module.tree)
        assert text, f"{module.short} has no docstring"
        first, *others = text.splitlines()
        assert first.endswith((".", ":", "?")) or others, f"{module.short}: an unfinished sentence"
