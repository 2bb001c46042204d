"""What is wrong with hooks is an error at the start, and `sluiceway check` names it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sluiceway.server.checks.calls import check_hook_calls
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from webhook_receiver import SECRET

URL = "https://user:hush@hooks.example/a?key=hush"
PYTHON = sys.executable


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on_start": URL}, "--on-start: give a secret"),
        ({"on_kept": URL, "hook_secret": "short"}, "--on-kept: its secret must be"),
        ({"hook_secret": SECRET}, "There is a secret for hooks, but no"),
        ({"on_kept": PYTHON, "hook_secret": SECRET}, "There is a secret for hooks, but no"),
        ({"on_finish": "no-such-program-anywhere"}, "--on-finish: there is no program"),
        ({"on_start": PYTHON, "hook_failure": "open"}, "--hook-failure must be refuse or accept"),
        ({"on_start": PYTHON, "hook_timeout": 0.0}, "--hook-timeout must be"),
        ({"on_start": PYTHON, "hook_timeout": float("nan")}, "--hook-timeout must be"),
        ({"event_source": "a b"}, "--event-source: it is a URI"),
        ({"on_start": f"{PYTHON} {{path}}"}, "--on-start: {path} is a file that only --on-kept"),
        ({"on_finish": f"{PYTHON} {{path}}"}, "--on-finish: {path} is a file that only"),
        ({"on_kept": f"{PYTHON} {{path}}", "to": ("s3://b/c",)}, "where --to is one folder"),
        ({"on_kept": f"{PYTHON} {{path}}", "to": ("a", "b")}, "where --to is one folder"),
        ({"on_kept": f"{PYTHON} {{path}}", "to": ("memory:",)}, "where --to is one folder"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_the_start(given: dict[str, Any], words: str) -> None:
    """And by `sluiceway check`, in the same words and without the secret."""
    with pytest.raises(BadSetting) as raised:
        Settings(**given)
    assert words in raised.value.detail
    assert "hush" not in raised.value.detail
    assert [fault.detail for fault in Settings.faults(given)] == [raised.value.detail]


def test_a_check_says_what_each_hook_calls(tmp_path: Path) -> None:
    """Without what a URL holds for its server alone."""
    settings = Settings(
        to=(str(tmp_path),),
        on_start=URL,
        on_kept=f"{PYTHON} {{path}}",
        hook_secret=SECRET,
        hook_failure="accept",
    )
    found = list(check_hook_calls(settings))
    assert [(one.check, one.level) for one in found] == [
        ("hooks", "ok"),
        ("hooks", "ok"),
        ("hooks", "warning"),
    ]
    assert "hooks.example" in found[0].text
    assert PYTHON in found[1].text
    assert "hush" not in str(found)


def test_the_secret_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    settings = Settings(on_finish=URL, hook_secret_file=str(file))
    assert (settings.hook_secret, settings.hook_secret_file) == (SECRET, None)
    with pytest.raises(BadSetting, match="both given"):
        Settings(on_finish=URL, hook_secret_file=str(file), hook_secret=SECRET)
