"""The texts say what the code does.

Generated pages are fresh, named places exist, commands and options are documented.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of a start of the server, of a call in Python, and of a store that tries another way then
NEVER_ANSWERED = {"bad-setting", "source-spent", "condition-unknown"}
CLASS_WITH_CODE = re.compile(r'^class \w+\([^)]*?\bcode="([a-z-]+)"', re.MULTILINE)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_generated_pages_are_up_to_date() -> None:
    """`python docs/generate.py` was run after the last change of settings or errors."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert run.returncode == 0, run.stdout


def test_each_code_that_a_client_may_get_is_documented() -> None:
    """Whichever room its class is in: docs/errors.md has a row for it."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    written = {
        code
        for path in (ROOT / "src").rglob("*.py")
        for code in CLASS_WITH_CODE.findall(path.read_text("utf-8"))
    }

    assert written - set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == NEVER_ANSWERED


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


def test_each_rule_that_skips_an_object_is_documented() -> None:
    """The table of docs/many.md has exactly the codes of the code."""
    from sluiceway.copying.contract import RULES

    table = (
        (ROOT / "docs" / "many.md")
        .read_text("utf-8")
        .partition("| code | what |")[2]
        .partition("\n\n")[0]
    )
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(RULES)


def test_each_finding_of_the_doctor_is_documented() -> None:
    """The table of docs/doctor.md is that of the code: each hop with its setting and its line."""
    from sluiceway.client.doctor.remedies import FAULTS, UNKNOWN_LINE

    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    table = page.partition("client/doctor/remedies.py -->\n")[2].partition("\n<!-- end -->")[0]
    expected = ["| code | severity | means | at | setting | write |", "|---|---|---|---|---|---|"]
    for code, fault in FAULTS.items():
        lines = {str(hop): line for hop, line in fault.lines.items()}
        others = {} if fault.otherwise == UNKNOWN_LINE else {"elsewhere": fault.otherwise}
        for hop, (directive, fix) in {**lines, **others}.items():
            first = next(iter({**lines, **others}), "")
            known = (f"`{code}`", str(fault.severity), fault.meaning) if hop == first else ("",) * 3
            cells = [*known, hop, directive, fix if "`" in fix else f"`{fix}`"]
            expected.append("| " + " | ".join(cells) + " |")
    assert table.splitlines() == expected


def test_links_between_pages_resolve() -> None:
    """Every relative link names a file that is there."""
    broken = [
        f"{page.name} links to {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_options_in_the_readme_exist() -> None:
    """The commands know every --option of the README."""
    readme = (ROOT / "README.md").read_text("utf-8")
    ours = re.sub(r"^.*\bdocker (build|run)\b.*$", "", readme, flags=re.MULTILINE)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))
    help_text = "".join(
        subprocess.run(
            [sys.executable, "-m", "sluiceway", command, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for command in ("serve", "copy")
    )

    assert [option for option in sorted(options) if option not in help_text] == []


def test_each_public_name_is_in_the_docs() -> None:
    """People find only names that the docs explain."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for home in ("sluiceway", "sluiceway.flask", "sluiceway.starlette", "sluiceway.django"):
        names = [name for name in importlib.import_module(home).__all__ if name[0] != "_"]

        assert [name for name in names if not re.search(rf"\b{name}\b", text)] == [], home
