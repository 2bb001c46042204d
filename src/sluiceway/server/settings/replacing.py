"""Checks of the settings of a stop, and of a server that takes over from another one.

Each error says what to do. Nothing is opened here.
"""

from __future__ import annotations

from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.listed import SettingList

__all__ = ["check_stop"]

SECONDS_LIMIT = 1e9  # excludes "inf" and "nan", which Python reads as numbers


def check_stop(settings: SettingList) -> None:
    """Raises BadSetting."""
    for name in ("shutdown_timeout", "replace_timeout"):
        seconds = getattr(settings, name)
        if not 0 <= seconds < SECONDS_LIMIT:
            raise BadSetting(
                f"--{name.replace('_', '-')} must be a number of seconds, 0 or more, not {seconds}"
            )
    if settings.replace and settings.port == 0:
        raise BadSetting("--replace needs the --port of the server to take over from")
    if settings.replace and "memory:" in settings.to:
        raise BadSetting("--replace: files in memory: are lost with the server that holds them")
