"""Settings given in Python: the same rules as on the command line, wherever the service is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flask
import pytest

from sluiceway import Sluiceway
from sluiceway.flask import mount
from sluiceway.server.guarded_settings import BadSetting
from sluiceway.server.settings import Settings

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
def test_an_empty_secret_opens_no_server(
    make: Callable[..., object], given: dict[str, str]
) -> None:
    with pytest.raises(BadSetting):
        make(**given)


def test_a_token_is_read_once_from_its_file(tmp_path: Path) -> None:
    """What is handed on to worker processes has the token, and makes the same settings again."""
    (tmp_path / "token").write_text(TOKEN + "\r\n")
    told = Settings(token_file=str(tmp_path / "token"))
    assert (told.token, told.token_file) == (TOKEN, None)
