"""A spool that cannot work is refused at the start, in words that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.stores.delivered_later import DeliversLater

TO = ("http://127.0.0.1:9/books",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"to": ("memory:",)}, "one --to"),
        ({"to": (*TO, "memory:")}, "Start a server with a spool for each"),
        ({"relay_spool": ""}, "takes a folder"),
        ({"relay_spool": "s3://bucket"}, "takes a folder"),
        ({"relay_spool_size": "much"}, "--relay-spool-size"),
        ({"relay_spool_wait": -1.0}, "--relay-spool-wait"),
        ({"relay_spool_for": float("inf")}, "--relay-spool-for"),
        ({"expire_after": 60.0}, "--expire-after"),
        ({"relay_spool": None, "relay_idempotent": True}, "give --relay-spool"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], words: str) -> None:
    """Each text names the setting."""
    with pytest.raises(BadSetting, match=words):
        Settings(**{"to": TO, "relay_spool": "spool", **given})


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "spool").write_text("no folder")
    settings = Settings(to=TO, relay_spool=str(tmp_path / "spool"))
    with pytest.raises(BadSetting, match="--relay-spool"):
        open_destination(settings, Budget(1 << 25))


def test_a_folder_has_one_name(tmp_path: Path) -> None:
    """Whichever process comes first; another folder has another one."""
    settings = [Settings(to=TO, relay_spool=str(tmp_path / name)) for name in ("a", "a", "b")]
    stores = [open_destination(each, Budget(1 << 25)) for each in settings]
    names = [store.identity() for store in stores if isinstance(store, DeliversLater)]
    assert names[0] == names[1] != names[2]
    assert all(len(name) == 32 for name in names)
