"""The texts say what the code does: generated pages are fresh, named places exist, commands and options are documented."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_generated_pages_are_what_the_code_says() -> None:
    """`python docs/generate.py` was run after the last change of settings or errors."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert run.returncode == 0, run.stdout


def test_each_step_of_the_architecture_page_exists() -> None:
    """`module:Name.attribute` in the table resolves by import."""
    steps = re.findall(
        r"`(sluiceway[\w.]+):([\w.]+)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    )

    assert len(steps) > 8
    for module, names in steps:
        found = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)


def test_each_rule_by_which_something_is_left_out_is_documented() -> None:
    """The table of docs/many.md has the codes of the code, no more and no fewer."""
    from sluiceway.copying.contract import RULES

    table = (
        (ROOT / "docs" / "many.md")
        .read_text("utf-8")
        .partition("| code | what |")[2]
        .partition("\n\n")[0]
    )
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(RULES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_options_in_the_readme_exist() -> None:
    """Every --option of the README is one that the commands know."""
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "README.md").read_text("utf-8")))
    told = "".join(
        subprocess.run(
            [sys.executable, "-m", "sluiceway", command, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for command in ("serve", "copy")
    )

    assert [option for option in sorted(options) if option not in told] == []


@pytest.mark.parametrize(
    "home", ["sluiceway", "sluiceway.flask", "sluiceway.starlette", "sluiceway.django"]
)
def test_each_public_name_is_in_the_docs(home: str) -> None:
    """A name that nobody explains is one that nobody finds."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    names = [name for name in importlib.import_module(home).__all__ if not name.startswith("_")]

    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
