"""Settings given in Python follow the rules of the command line, in every way to start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import flask
import pytest

from sluiceway import Sluiceway
from sluiceway.flask import mount
from sluiceway.server.settings.arguments import SettingArguments
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting

TOKEN = "s3cret-token-of-some-length"

MAKERS: list[Callable[..., object]] = [
    lambda **given: Settings(**given),
    lambda **given: Sluiceway(to="memory:", **given),
    lambda **given: mount(flask.Flask("app"), "/drop", to="memory:", **given),
]


@pytest.mark.parametrize("make", MAKERS, ids=["settings", "app", "mount"])
@pytest.mark.parametrize(
    "given",
    [
        {"token": ""},
        {"token": "   "},
        {"token_file": ""},
        {"relay_header": "Authorization: Basic "},
    ],
)
def test_an_empty_secret_is_refused(make: Callable[..., object], given: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        make(**given)


def test_a_setting_beside_the_settings_object_is_refused() -> None:
    """The service would ignore such a destination; the error names the setting to move."""
    settings = Settings(to=("memory:",))
    with pytest.raises(BadSetting, match="max_size, to"):
        Sluiceway(settings, to="./elsewhere", max_size=1)


def test_a_token_file_is_read_once(tmp_path: Path) -> None:
    """Worker processes get the token itself, and build the same settings from it."""
    (tmp_path / "token").write_text(TOKEN + "\r\n")
    settings = Settings(token_file=str(tmp_path / "token"))
    assert (settings.token, settings.token_file) == (TOKEN, None)


def test_keyword_arguments_are_the_settings_field_by_field() -> None:
    """A type checker sees every setting with its type.

    One value is enough where a setting is a list.
    """
    several = str(tuple[str, ...])
    expected = {
        item.name: str(get_type_hints(Settings)[item.name])
        for item in fields(Settings)
        # arguments of their own: `to` has a default, functions of an app stand for the others
        if item.name not in ("to", "on_start", "on_kept")
    }
    found = {name: str(kind) for name, kind in get_type_hints(SettingArguments).items()}

    assert found == {
        name: "str | collections.abc.Sequence[str]" if kind == several else kind
        for name, kind in expected.items()
    }


@pytest.mark.parametrize("to", ["one", Path("one"), ["one"], (Path("one"),)])
def test_one_destination_needs_no_list(to: str | Path | list[str]) -> None:
    assert Settings.of(to, {"relay_field": "a=b"}) == Settings(to=("one",), relay_field=("a=b",))
