"""Checks of the settings of a gateway's spool, and the values that are made of them.

Each error says what to do. Nothing is opened here.
"""

from __future__ import annotations

from sluiceway.errors import BadRequest
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.listed import SettingList
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_url

__all__ = ["check_spool", "spool_bytes"]

SECONDS_LIMIT = 1e9  # excludes "inf" and "nan", which Python reads as numbers


def check_spool(settings: SettingList) -> None:
    """Raises BadSetting."""
    for name in ("relay_spool_wait", "relay_spool_for"):
        seconds = getattr(settings, name)
        if not 0 <= seconds < SECONDS_LIMIT:
            raise BadSetting(
                f"--{name.replace('_', '-')} must be a number of seconds, 0 or more, not {seconds}"
            )
    spool_bytes(settings)
    if settings.relay_spool is None:
        if settings.relay_idempotent:
            raise BadSetting("--relay-idempotent is about files that wait: give --relay-spool, too")
        return
    if not settings.relay_spool or "://" in settings.relay_spool:
        raise BadSetting("--relay-spool takes a folder of this machine")
    if len(settings.to) != 1 or not is_url(settings.to[0]):
        raise BadSetting(
            "--relay-spool needs one --to, the http(s):// URL of another server: a file that waits "
            "for one of several would be stored in the others before. Start a server with a spool "
            "for each of them"
        )
    if 0 < settings.expire_after < settings.relay_spool_for:
        raise BadSetting(
            "--relay-spool-for is longer than --expire-after, which removes what waits; make that "
            "one longer"
        )


def spool_bytes(settings: SettingList) -> int:
    """The bound of the folder in bytes. Raises BadSetting."""
    try:
        return parse_size(str(settings.relay_spool_size), "--relay-spool-size")
    except BadRequest as error:
        raise BadSetting(error.detail) from None
