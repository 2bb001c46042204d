"""`make test`: installs what the tests need, with uv from the indexes that pip is set up for.

pip takes 70 seconds of processor time for these 180 packages, uv 10. Where uv cannot be had, or
does not get along with the indexes, pip installs them.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
INSTALL = [*PIP, "--quiet", "install"]
PINNED = ["--constraint", str(ROOT / "constraints.txt")]
# pip's setting -> uv's. pip takes the best version of all indexes, as UV_INDEX_STRATEGY says here.
INDEXES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}


def main(wanted: list[str]) -> int:
    if with_uv(wanted):
        return 0
    return subprocess.call([*INSTALL, "--no-compile", *PINNED, *wanted], cwd=ROOT)


def with_uv(wanted: list[str]) -> bool:
    if subprocess.call([*INSTALL, *PINNED, "uv"], stderr=subprocess.DEVNULL):
        return False
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        return False
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, *PINNED]
    again = ["--reinstall-package", "sluiceway"]  # its version stays when its source changes
    env = {"UV_INDEX_STRATEGY": "unsafe-best-match", **os.environ, **indexes()}
    return not subprocess.call([*command, *again, *wanted], cwd=ROOT, env=env)


def indexes() -> dict[str, str]:
    """Returns pip's indexes, from its files and variables, as uv's variables."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    found = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        if variable := INDEXES.get(name.rpartition(".")[2]):
            words = str(ast.literal_eval(value)).split()
            found[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(words)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
