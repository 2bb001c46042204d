"""The catalogue of the page's texts: complete in every language, and nothing is written beside it.

Reads the files as they are shipped. Needs no browser.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

PAGE = Path(str(files("sluiceway.server").joinpath("page")))
LANGUAGES = sorted(path.stem for path in (PAGE / "texts" / "languages").glob("*.js"))
PAGES = (PAGE / "index.html", PAGE / "live" / "live.html")
SCRIPTS = sorted(path for path in PAGE.rglob("*.js") if "languages" not in path.parts)

# The plural forms that a language needs (CLDR); "many" of Spanish and French is for millions.
FORMS = {
    "en": {"one", "other"},
    "de": {"one", "other"},
    "es": {"one", "other"},
    "fr": {"one", "other"},
    "zh": {"other"},
    "ja": {"other"},
    "ar": {"zero", "one", "two", "few", "many", "other"},
}
PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
# Keys that are made of a part that is known only when it runs.
MADE = re.compile(r"`([a-z.-]*)\$\{[^}]*\}([a-z.-]*)`")

Entry = str | dict[str, str]


def _catalogue(language: str) -> dict[str, Entry]:
    """The common texts, those of the list, and those of the view of what runs."""
    languages = PAGE / "texts" / "languages"
    found: dict[str, Entry] = {}
    for folder in (languages, languages / "list", languages / "live"):
        more = _entries(folder / f"{language}.js")
        assert not found.keys() & more.keys(), "a key stands twice"
        found |= more
    return found


def _entries(path: Path) -> dict[str, Entry]:
    text = path.read_text("utf-8")
    text = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r'"\s*\+\s*"', "", text)
    text = re.sub(r"([{,]\s*)(zero|one|two|few|many|other):", r'\1"\2":', text)
    text = re.sub(r",(\s*})", r"\1", text)
    body = text.split("export default", 1)[1].strip().removesuffix(";")
    pairs: list[tuple[str, Entry]] = json.loads(
        body, object_pairs_hook=lambda found: found if len(found) > 10 else dict(found)
    )
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), "a key stands twice"
    return dict(pairs)


def _placeholders(entry: Entry) -> set[str]:
    text = entry if isinstance(entry, str) else " ".join(entry.values())
    return set(PLACEHOLDER.findall(text))


def _literals(text: str) -> list[str]:
    """The texts in quotes of a script, without its comments."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"(^|\s)//.*$", "", text, flags=re.MULTILINE)
    return re.findall(r'"((?:[^"\\\n]|\\.)*)"', text) + re.findall(r"`([^`]*)`", text)


def test_the_languages_are_those_that_the_page_offers() -> None:
    """The list in texts.js has a file for each language, and these tests know them all."""
    listed = re.search(
        r"const LANGUAGES = (\[.*?\]);", (PAGE / "texts/texts.js").read_text("utf-8")
    )
    assert listed is not None
    assert sorted(json.loads(listed[1])) == LANGUAGES
    assert set(FORMS) == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    """The keys, the placeholders and the plural forms are complete; no text is empty."""
    english, own = _catalogue("en"), _catalogue(language)
    assert sorted(own) == sorted(english)
    for key, entry in own.items():
        assert _placeholders(entry) == _placeholders(english[key]), key
        assert isinstance(entry, str) == isinstance(english[key], str), key
        texts = [entry] if isinstance(entry, str) else list(entry.values())
        assert all(text.strip() == text and text for text in texts), key
        if not isinstance(entry, str):
            assert set(entry) - {"many"} == FORMS[language] - {"many"}, key
            assert "many" in entry or "many" not in FORMS[language], key
            # Only a form for one number may leave the number out.
            assert all(
                "{count}" in entry[form] for form in ("few", "many", "other") if form in entry
            )


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_a_text_is_translated_and_not_copied(language: str) -> None:
    """Whole sentences differ from the English ones."""
    english, own = _catalogue("en"), _catalogue(language)
    same = [key for key in own if own[key] == english[key] and str(own[key]).count(" ") > 2]
    assert [key for key in same if not PLACEHOLDER.search(str(own[key]))] == []


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    """Scripts and page name only keys of the catalogue, and all of them."""
    keys = set(_catalogue("en"))
    page = "".join(path.read_text("utf-8") for path in PAGES)
    used = set(re.findall(r'data-(?:text|label)="([^"]*)"', page))
    made: list[re.Pattern[str]] = []
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        used.update(re.findall(r'\.get\(\s*"([a-z][a-z0-9.-]*)"', text))
        used.update(literal for literal in _literals(text) if literal in keys)
        made.extend(
            re.compile(f"{re.escape(a)}[a-z0-9-]+{re.escape(b)}")
            for a, b in MADE.findall(text)
            if a or b
        )
    headers = {name for name in used if name in ("key", "limit", "lang", "folder")}
    assert used - headers - keys == set()
    unused = {key for key in keys - used if not any(one.fullmatch(key) for one in made)}
    assert unused == set()


def test_no_text_for_people_is_written_outside_the_catalogue() -> None:
    """A literal of a script is no sentence and no label; the page's elements are empty."""
    found = []
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        # Errors for developers, a program to copy, a style sheet.
        text = re.sub(r"new Error\((?:\"[^\"]*\"|`[^`]*`)\)", "", text)
        text = re.sub(r"const (?:curl|python) = `[^`]*`", "", text)
        text = re.sub(r"replaceSync\(`[^`]*`", "", text)
        for literal in _literals(text):
            words = re.sub(r"\$\{[^}]*\}", "", literal)
            sentence = re.search(r"[A-Za-z]{2,},? [a-z]{2,}", words)
            label = re.fullmatch(r"[A-Z][a-z]+( [a-z]+)*[.!?…]?", words)
            selector = words.startswith((".", "#"))
            if (sentence or label) and not selector and words not in ALLOWED:
                found.append(f"{path.relative_to(PAGE)}: {literal}")
    assert found == [], "\n".join(found)

    page = "".join(path.read_text("utf-8") for path in PAGES)
    known = r"<noscript>.*?</noscript>|<title>.*?</title>|<h1>.*?</h1>|<!--.*?-->"
    page = re.sub(known, "", page, flags=re.DOTALL)
    assert re.findall(r">\s*([A-Za-z][^<]*)<", page) == ["curl", "Python"]
    assert re.findall(r'\s(?:aria-label|title|placeholder)="([^"]*)"', page) == []


def test_no_line_of_the_page_is_longer_than_100_columns() -> None:
    """Scripts, styles, images and the page itself."""
    kinds = (".js", ".ts", ".css", ".html", ".svg")
    paths = [path for path in PAGE.rglob("*") if path.suffix in kinds]
    assert len(paths) > 30
    long = [
        f"{path.relative_to(PAGE)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > 100
    ]
    assert long == []


# Names of headers and keys, and the detail of an event that only the page's developer reads.
ALLOWED = {
    "Name that origin in the attribute token-origins to allow it.",
    "The token is not sent to . ",
    "Accept",
    "Destination",
    "Overwrite",
    "Authorization",
    "Location",
    "Via",
    "Enter",
    "Escape",
    "Files",
    "Bearer ",
}
