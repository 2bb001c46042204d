"""Writes the reference pages that are facts of the code: settings.md and errors.md. `--check` compares instead.

python docs/generate.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import sluiceway.errors
from sluiceway.errors import SluiceError
from sluiceway.server.settings import setting_help

HERE = Path(__file__).parent


def settings_page() -> str:
    lines = [
        "# Settings of `sluiceway serve`",
        "",
        "Each is an option, a variable and a line in `sluiceway.toml`; an option beats a variable, a variable beats the file.",
        "Sizes are bytes, or numbers with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).",
        "",
        "| option | variable | in the file | default | |",
        "|---|---|---|---|---|",
    ]
    for name, (default, text) in setting_help().items():
        flag = name.replace("_", "-")
        shown = "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(f"| `--{flag}` | `SLUICEWAY_{name.upper()}` | `{name}` | {shown} | {text} |")
    lines += ["", "```toml", "# sluiceway.toml", 'to = "/srv/files"', 'max_size = "50GiB"', 'digest = "sha-256"', "```", ""]
    return "\n".join(lines)


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        "Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail` (one sentence that says what to do) and",
        "`code`. The codes are stable: compare those, not the texts. In Python they are the classes of `sluiceway.errors`.",
        "",
        "| code | status | title | whose turn | worth a retry | class |",
        "|---|---|---|---|---|---|",
    ]
    for name in sluiceway.errors.__all__:
        kind = getattr(sluiceway.errors, name)
        if isinstance(kind, type) and issubclass(kind, SluiceError) and kind is not SluiceError:
            again = "yes" if kind.retryable else "no"
            lines.append(f"| `{kind.code}` | {kind.status} | {kind.title} | {kind.fault} | {again} | `{name}` |")
    return "\n".join([*lines, ""])


PAGES = {"settings.md": settings_page, "errors.md": errors_page}


def main() -> int:
    stale = [name for name, page in PAGES.items() if not (HERE / name).exists() or (HERE / name).read_text("utf-8") != page()]
    if "--check" in sys.argv:
        print("stale: " + ", ".join(stale) if stale else "up to date")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(PAGES[name](), "utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
