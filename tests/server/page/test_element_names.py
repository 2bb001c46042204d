"""What docs/page.md, sluice.d.ts and the code of <sluice-drop> name is the same.

Reads the files. `tsc` of the tests' npm packages checks the types and the example.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from fix_npm import npm_package

PAGE = Path(str(files("sluiceway.server").joinpath("page")))
DOCS = Path(__file__).parents[3] / "docs" / "page.md"
CODE = {path.relative_to(PAGE).as_posix(): path.read_text("utf-8") for path in PAGE.rglob("*.js")}
TYPES = (PAGE / "sluice.d.ts").read_text("utf-8")
CODE_SPAN = re.compile("`([^`]+)`")
COMPILER = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2023", "dom", "dom.iterable"],
        "types": [],
    }
}


def _documented(first_column: str) -> set[str]:
    """The names in the first column of a table."""
    rows = DOCS.read_text("utf-8").partition(f"| {first_column} |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in rows.splitlines()[2:]]
    return {name for cell in cells for name in CODE_SPAN.findall(cell)}


def _typed(name: str) -> str:
    """The text of a type or an interface."""
    found = re.search(rf"export (?:type|interface|class) {name}\b.*?\n(?=\n|$)", TYPES, re.DOTALL)
    assert found is not None, name
    return re.sub(r"/\*\*.*?\*/", "", found[0], flags=re.DOTALL)


def _strings(text: str) -> set[str]:
    return set(re.findall(r'"([a-z-]+)"', text))


def test_the_attributes_are_the_same() -> None:
    """In the docs, the types and the code, which also reads no other one."""
    observed = re.search(r"observedAttributes = \[(.*?)\]", CODE["sluice.js"], re.DOTALL)
    assert observed is not None
    coded = _strings(observed[1])
    own = CODE["sluice.js"] + CODE["elements/drop-attributes.js"]
    read = set(re.findall(r'(?:get|has)Attribute\("([a-z-]+)"\)', own))
    assert read <= coded
    typed = re.findall(r'^  "?([a-z-]+)"?\?:', _typed("SluiceDropAttributes"), re.MULTILINE)
    assert set(typed) == coded
    assert _documented("attribute") == coded | {"data-…"}


def test_the_events_and_methods_are_the_same() -> None:
    """Each event has its detail typed and documented; each public method stands in both."""
    emitted = set(re.findall(r'#emit\("([a-z-]+)"', CODE["sluice.js"]))
    assert _strings(_typed("SluiceDropEventMap")) == emitted == _documented("event")

    methods = {re.sub(r"\(.*", "", name) for name in _documented("method")}
    typed = set(re.findall(r"^  ([a-z]+)\([^)]*\): void;$", TYPES, re.MULTILINE))
    assert typed == methods
    assert all(re.search(rf"^  {name}\(", CODE["sluice.js"], re.MULTILINE) for name in methods)


def test_the_parts_variables_and_states_are_the_same() -> None:
    """What a page can style."""
    view = CODE["elements/drop-view.js"]
    made = set(re.findall(r'make\("\w+", "([a-z-]+)"', view)) - {"unseen"}
    made |= set(re.findall(r'button\("([a-z-]+)"', view)) | {"icon"}
    assert _strings(_typed("SluiceDropPart")) == made == _documented("`::part()`")

    used = set(re.findall(r"var\((--sluice-[a-z-]+)", CODE["elements/drop-style.js"]))
    assert _strings(_typed("SluiceDropVariable")) == used == _documented("custom property")

    states = _strings(_typed("SluiceDropState"))
    assert set(re.findall(r":state\((\w+)\)", DOCS.read_text("utf-8"))) == states
    assert re.search(r'"busy", "failed", "done"', CODE["sluice.js"])
    assert '#setState("over"' in CODE["sluice.js"]


def test_the_types_compile_and_so_does_the_example(tmp_path: Path) -> None:
    """tsc accepts the example of the docs, and refuses a wrong name of each kind."""
    compiler = npm_package("typescript") / "bin" / "tsc"
    shutil.copy(PAGE / "sluice.d.ts", tmp_path)
    (tmp_path / "tsconfig.json").write_text(json.dumps(COMPILER))
    (example,) = re.findall(r"```ts\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    (tmp_path / "example.ts").write_text(example)
    wrong = [
        'document.querySelector("sluice-drop")?.begin();',
        'document.addEventListener("sluice-done", ({ detail }) => detail.entries[0].bytes);',
        'const attributes: SluiceDropAttributes = { "max-paralell": 3 };',
        'const part: SluiceDropPart = "lid";',
    ]
    head = 'import type { SluiceDropAttributes, SluiceDropPart } from "./sluice.js";'
    (tmp_path / "wrong.ts").write_text("\n".join([head, *wrong]))

    done = subprocess.run(
        ["node", compiler, "--project", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = re.findall(r"^(\S+)\((\d+),\d+\): error", done.stdout, re.MULTILINE)
    assert [place for place in found if place[0] != "wrong.ts"] == [], done.stdout
    assert {int(line) for _, line in found} == {2, 3, 4, 5}, done.stdout
