"""A running app with functions around its mounted service (tests/mount_hooks.py), and its notes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from fix_taking import NewLines, eventually

__all__ = ["Hooked"]


@dataclass(frozen=True)
class Hooked:
    """A running app."""

    name: str
    port: int
    folder: Path
    noted: NewLines

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, user: str = "ann", **more: Any) -> requests.Response:
        headers = {"X-User": user, **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **more)

    def facts(self) -> list[dict[str, Any]]:
        """What the functions noted since the last call."""
        return [json.loads(line) for line in self.noted.take()]

    def next_facts(self) -> list[dict[str, Any]]:
        """Waits for them."""
        found: list[dict[str, Any]] = []

        def come() -> bool:
            found.extend(self.facts())
            return bool(found)

        eventually(come, "the upload has ended")
        return found

    def stored(self, user: str = "ann") -> set[str]:
        root = self.folder / user
        files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return {str(path) for path in files if ".sluiceway" not in path.parts}
