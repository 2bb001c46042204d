"""What the three apps with a mounted service decide about uploads: the same in each framework.

The app knows its user by the header X-User. FOLDER comes from the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sluiceway.errors import UploadRefused
from sluiceway.server.mounted.uploads import EndedUpload, StartedUpload
from sluiceway.stores.contract import Entry
from sluiceway.uploads.hooks.around import KeptUpload

__all__ = ["OwnError", "ended", "kept", "place", "published", "started"]

FOLDER = Path(os.environ.get("FOLDER", "."))


class OwnError(Exception):
    """The app has a handler for it, which answers 455 and "own"."""


def place(user: str) -> str:
    return str(FOLDER / user)


def started(upload: StartedUpload, user: str) -> None:
    name = upload.filename
    if name.startswith("refused"):
        raise UploadRefused("Not with this plan", 402)
    if name.startswith("large") and (upload.size or 0) > 1000:
        raise UploadRefused("Too much for you", 413)
    if name.startswith("own"):
        raise OwnError
    if name.startswith("fault"):
        raise ZeroDivisionError
    if name.startswith("chosen"):
        upload.key = f"chosen/{name}"
        upload.metadata["owner"] = user
        upload.metadata["title"] = dict(upload.fields).get("title", "none")
    if name.startswith("avatar"):
        upload.key, upload.replaces = "avatar", True
    if name.startswith("outside"):
        upload.key = "../outside"


def kept(upload: KeptUpload, user: str) -> None:
    assert upload.path is not None
    assert Path(upload.path).stat().st_size == upload.size, "its bytes can be read"
    if "infected" in upload.key:
        seen = (FOLDER / user / upload.key).exists()
        note({"kept": upload.key, "seen": seen, "id": len(upload.id) > 20})
        raise UploadRefused("A virus, seen in time", 422)
    if "undecided" in upload.key and not (FOLDER.parent / "decides").exists():
        raise OwnError


def published(entry: Entry, user: str) -> None:
    assert (FOLDER / user / entry.key).stat().st_size == entry.size, "the bytes are there"
    note({"published": entry.key, "user": user, "metadata": dict(entry.metadata.user)})
    if "virus" in entry.key:
        raise UploadRefused("A virus", 422)
    if "tardy" in entry.key:
        raise OwnError


def ended(upload: EndedUpload, user: str) -> None:
    note(
        {
            "outcome": upload.outcome,
            "user": user,
            "error": getattr(upload.error, "code", upload.error and type(upload.error).__name__),
            "names": upload.filenames,
            "keys": [entry.key for entry in upload.entries],
            "received": upload.received,
            "seconds": upload.seconds >= 0,
            "id": len(upload.id) > 20,
        }
    )


def note(fact: dict[str, object]) -> None:
    with open(FOLDER.parent / "facts", "a") as out:
        out.write(json.dumps(fact) + "\n")
