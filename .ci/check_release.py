"""`make release`: checks what was built, and uses the wheel as a user would.

Metadata, contents, long description; then, in a new environment outside of the tree, the wheel is
installed, `sluiceway --version` answers and one upload arrives whole.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = os.urandom(3 << 20)


def main(dist: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = project["version"]
    wheel = dist / f"sluiceway-{version}-py3-none-any.whl"
    sdist = dist / f"sluiceway-{version}.tar.gz"
    found = sorted(path.name for path in dist.iterdir() if path.name != ".gitignore")
    require(found == sorted([wheel.name, sdist.name]), f"dist has {found}")
    check_contents(wheel, sdist, version)
    check_metadata(wheel, project)
    if importlib.util.find_spec("twine"):
        subprocess.run(
            [sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], check=True
        )
    else:
        print("twine is not installed: its check of the description is left out")
    try_it(wheel, version)
    print(f"{wheel.name} and {sdist.name} are ready")


def check_contents(wheel: Path, sdist: Path, version: str) -> None:
    """Every source file is in both, and nothing else of the tree is in the wheel."""
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"sluiceway-{version}/") for name in archive.getnames()}
    in_sdist = {name.removeprefix("src/") for name in names if name.startswith("src/")}
    require(in_wheel == sources, f"the wheel differs by {sorted(in_wheel ^ sources)}")
    require(sources <= in_sdist, f"the sdist lacks {sorted(sources - in_sdist)}")
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"):
        require(name in names, f"the sdist lacks {name}")
    require("sluiceway/py.typed" in in_wheel, "the wheel does not say that it has types")


def check_metadata(wheel: Path, project: dict[str, object]) -> None:
    """Name, version, Python, licence and description are those of pyproject.toml and README.md."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode("utf-8")
    fields = HeaderParser().parsestr(text)
    require(fields["Name"] == project["name"], "another name")
    require(fields["Version"] == project["version"], "another version")
    require(fields["Summary"] == project["description"], "another summary")
    require(fields["Requires-Python"] == project["requires-python"], "another Python")
    require(fields["Description-Content-Type"] == "text/markdown", "no Markdown")
    require("LICENSE" in (fields["License-File"] or ""), "no licence file")
    readme = (ROOT / "README.md").read_text("utf-8")
    require(str(fields.get_payload()).strip() == readme.strip(), "the description is not README.md")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    heading = re.search(r"^## (\S+)", changes, re.MULTILINE)
    require(
        heading is not None and heading[1] == project["version"],
        "the newest heading of CHANGELOG.md is another version",
    )


def try_it(wheel: Path, version: str) -> None:
    """Installs the wheel with what it needs, asks for its version, and uploads one file."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-release-") as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHONPATH")}
        pip = [str(scripts / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        constraints = str(ROOT / "constraints.txt")
        install = [*pip, "install", "--constraint", constraints, str(wheel.resolve())]
        subprocess.run(install, check=True, cwd=folder, env=env)
        command = str(scripts / "sluiceway")
        said = subprocess.run(
            [command, "--version"], check=True, cwd=folder, env=env, capture_output=True, text=True
        ).stdout
        require(version in said, f"--version prints {said!r}")
        serve = [command, "serve", "--to", "stored", "--port", "0"]
        with subprocess.Popen(
            serve, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                url = next(
                    found[1]
                    for line in server.stdout
                    if (found := re.search(r"page +(http://\S+?)/?$", line))
                )
                request = urllib.request.Request(f"{url}/files/one", data=DATA, method="PUT")
                with urllib.request.urlopen(request, timeout=60) as response:
                    require(response.status == 201, f"the upload was answered {response.status}")
            finally:
                server.terminate()
        stored = (folder / "stored" / "one").read_bytes()
        require(
            hashlib.sha256(stored).digest() == hashlib.sha256(DATA).digest(), "other bytes stored"
        )


def require(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"not fit to be released: {what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
