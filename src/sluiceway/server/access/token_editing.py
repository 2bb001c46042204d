"""Changes to a token file: a name is added or removed, all else stays as its operator wrote it.

The new file replaces the old one in one step, so a server never reads half of it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping

from sluiceway.errors import BadRequest, NotFound
from sluiceway.server.access.named_tokens import (
    LIMITS,
    NamedToken,
    check_name,
    is_toml,
    parse_rights,
    parse_tokens,
    token_limits,
)
from sluiceway.server.access.owned_file import edited_alone, read_owned, write_owned
from sluiceway.server.settings.guarded import BadSetting, is_single

__all__ = ["add_token", "listed_tokens", "remove_token"]

_HEADER = re.compile(r"\s*\[\s*(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*\]\s*(?:#.*)?")


def listed_tokens(path: str) -> list[NamedToken]:
    """The tokens of a file. Raises BadSetting."""
    return parse_tokens(_text(path))


def add_token(path: str, name: str, hashed: str, rights: str, limits: Mapping[str, str]) -> None:
    """Add a name; the file is made where there is none.

    Raises BadSetting, also for a name that is there already; then nothing changes.
    """
    _check_options(name, rights, limits)
    with edited_alone(path):
        _add(path, name, {"hash": hashed, "rights": rights, **limits})


def _add(path: str, name: str, facts: Mapping[str, str]) -> None:
    text = _text(path) if os.path.exists(path) else ""
    if any(token.name == name for token in parse_tokens(text)):
        raise BadSetting(f"{path} has the name {name!r} already; remove it first")
    if text and not text.endswith("\n"):
        text += "\n"
    if is_toml(text):
        lines = [f"[{json.dumps(name)}]", *(f"{key} = {json.dumps(facts[key])}" for key in facts)]
        text += "\n" + "\n".join(lines) + "\n"
    else:
        if spaced := [key for key, value in facts.items() if value.split() != [value]]:
            raise BadSetting(
                f"--{spaced[0]} has a space; only a file of tables (TOML) can have that"
            )
        limits = [f"{key}={facts[key]}" for key in LIMITS if key in facts]
        words = [name, facts["hash"], facts["rights"], *limits]
        text += "  ".join(words) + "\n"
    parse_tokens(text)
    write_owned(path, text)


def remove_token(path: str, name: str) -> None:
    """Remove a name, which is not the last one. Raises NotFound, BadSetting."""
    with edited_alone(path):
        _remove(path, name)


def _remove(path: str, name: str) -> None:
    text = _text(path)
    before = parse_tokens(text)
    if all(token.name != name for token in before):
        raise NotFound(f"{path} has no token {name!r}")
    if len(before) == 1:
        # A server takes no file without names: it would go on with this one.
        raise BadSetting(f"{name} is the last name of {path}; add another one first")
    left = _without_table(text, name) if is_toml(text) else _without_line(text, name)
    if parse_tokens(left) != [token for token in before if token.name != name]:
        raise BadSetting(f"{path} is written in a way that cannot be edited here; edit it by hand")
    write_owned(path, left)


def _check_options(name: str, rights: str, limits: Mapping[str, str]) -> None:
    """Before they stand in a file: the words are about what was typed. Raises BadSetting."""
    try:
        check_name(name)  # it may be what a stranger calls himself
    except BadRequest as error:
        raise BadSetting(error.detail) from None
    try:
        parsed = parse_rights(rights.split(","))
    except BadRequest as error:
        raise BadSetting(f"--rights: {error.detail}") from None
    try:
        grant = token_limits(name, parsed, limits)
    except BadRequest as error:
        is_option = error.detail.startswith(LIMITS)
        raise BadSetting("--" * is_option + error.detail) from None
    if grant.expires is not None and grant.expires <= time.time():
        raise BadSetting(f"--expires {limits['expires']} is over already; give a later time")


def _without_line(text: str, name: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.split()[:1] != [name])


def _without_table(text: str, name: str) -> str:
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if found := _HEADER.fullmatch(line.rstrip("\r\n")):
            inside = name in found.groups()
        if not inside:
            kept.append(line)
    return "".join(kept)


def _text(path: str) -> str:
    try:
        text = read_owned(path)
    except BadSetting as error:
        raise BadSetting(f"{path}: {error.detail}") from None
    if text.strip() and is_single(path):
        raise BadSetting(
            f"{path} holds one token without a name, the admin's; keep the names in another file"
        )
    return text
