"""`/l/LINK/…`: the service below a link, as below the path of an app that mounts it.

Its page, its tus URLs and its relative addresses work there as they do anywhere. The link itself
is a secret: no log has it.
"""

from __future__ import annotations

from starlette.types import Scope

from sluiceway.uploads.access.links import FOLDER

__all__ = ["LINK", "enter_link", "unlinked"]

LINK = "sluiceway.link"  # in a request's scope: the text of the link
_BELOW = f"/{FOLDER}/"


def enter_link(scope: Scope) -> Scope:
    """The scope below a link, where its path names one; else the same."""
    mounted, path = str(scope.get("root_path", "")), str(scope["path"])
    below = path.removeprefix(mounted) if mounted else path
    if not below.startswith(_BELOW):
        return scope
    text = below[len(_BELOW) :].partition("/")[0]
    return {**scope, "root_path": f"{mounted}/{FOLDER}/{text}", LINK: text}


def unlinked(scope: Scope, text: str) -> str:
    """A text for the log, without the link of this request."""
    link = scope.get(LINK)
    return text.replace(f"/{FOLDER}/{link}", f"/{FOLDER}/...") if link else text
