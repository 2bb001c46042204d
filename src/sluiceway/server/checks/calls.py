"""Checks of the operator's hooks. None is called: it would take an event for a real one."""

from __future__ import annotations

from collections.abc import Iterator

from sluiceway.server.checks.finding import Finding, passed, warned
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.hooking import HOOK_SETTINGS
from sluiceway.wire.urls import is_url, redact_url

__all__ = ["check_hook_calls"]


def check_hook_calls(settings: Settings) -> Iterator[Finding]:
    """What each hook calls; that a program is there, the settings have checked."""
    for name in HOOK_SETTINGS:
        hook: str | None = getattr(settings, name)
        if hook is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if is_url(hook):
            yield passed("hooks", f"{option} calls {redact_url(hook)}")
            continue
        from sluiceway.server.hooks.command import find_command, parse_command

        yield passed("hooks", f"{option} runs {find_command(parse_command(hook))}")
    decides = settings.on_start is not None or settings.on_kept is not None
    if decides and settings.hook_failure == "accept":
        yield warned(
            "hooks",
            "files are taken when --on-start or --on-kept cannot be asked",
            "leave --hook-failure accept out, if a hook is to keep files away",
        )
