"""Describes what the numbers were measured on: machine, kernel, disk, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["describe", "file_system", "journal", "processor"]

PACKAGES = (
    "sluiceway", "uvicorn", "uvloop", "httptools", "starlette", "python-multipart", "gunicorn",
    "Flask", "Werkzeug",
    "aiohttp", "requests", "pyuwsgi",
)  # fmt: skip


def _said(command: Sequence[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def _first(path: str, label: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(label):
            return line.partition(":")[2].strip()
    return "unknown"


def file_system(folder: Path) -> str:
    """Type of the file system the folder lies on, by the longest mount point above it."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found = line.split()[:3]
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def journal(folder: Path) -> str:
    """The file system in words, with whether it has a journal."""
    kind = file_system(folder)
    if kind == "xfs":
        return "xfs, with a journal"
    if kind not in ("ext3", "ext4"):
        return kind
    number = folder.stat().st_dev
    link = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not link.exists():
        return f"{kind}, journal unknown"
    journals = Path("/proc/fs/jbd2")  # one folder a mounted journal: DEVICE-INODE
    names = [entry.name for entry in journals.iterdir()] if journals.exists() else []
    found = any(name.rpartition("-")[0] == link.resolve().name for name in names)
    return f"{kind}, with a journal" if found else f"{kind}, without a journal"


def processor() -> str:
    """How many of which: virtual machines often hide the name, not family and model."""
    name, family, model = (
        _first("/proc/cpuinfo", label) for label in ("model name", "cpu family", "model\t")
    )
    return f"{os.cpu_count()} x {name} (family {family}, model {model})"


def describe(root: Path, work: Path, binaries: Path) -> dict[str, str]:
    """Names and values, all text, in the order they are printed."""
    facts = {
        "processor": processor(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": f"{journal(work)}; the same for every contender",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": _said([str(binaries / "python"), "--version"]).replace("Python ", ""),
    }
    lines = _said(
        [str(binaries / "python"), "-m", "pip", "--disable-pip-version-check", "freeze", "--all"]
    ).splitlines()
    versions = {
        name.lower(): version
        for name, _, version in (line.partition("==") for line in lines)
        if version
    }
    for package in PACKAGES:
        facts[package] = versions.get(
            package.lower(), "this tree" if package == "sluiceway" else "not installed"
        )
    facts["nginx"] = _said(["nginx", "-v"]).rpartition("/")[2] or "not installed"
    commit = _said(["git", "rev-parse", "--short=12", "HEAD"], root)
    changed = _said(["git", "status", "--porcelain", "--", "src", "bench"], root)
    facts["commit"] = commit + (" with uncommitted changes" if changed else "")
    return facts
