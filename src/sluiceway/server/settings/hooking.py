"""The checks of settings about hooks: URLs and commands, their secret, and how long they may take.

Nothing is called here. A program that is not there is an error now, not at the first upload.
"""

from __future__ import annotations

from sluiceway.errors import BadRequest
from sluiceway.server.settings.guarded import BadSetting, read_secret
from sluiceway.server.settings.listed import SettingList
from sluiceway.wire.events.cloud_events import check_source
from sluiceway.wire.events.webhooks import parse_secrets
from sluiceway.wire.urls import is_url, parse_address

__all__ = ["HOOK_SETTINGS", "check_hooks"]

HOOK_SETTINGS = ("on_start", "on_kept", "on_finish")
FAILURES = ("refuse", "accept")
MOST_TIMEOUT = 3600.0  # seconds; a client waits as long, and proxies on the way for a minute
LACKS_KEY = (
    "give a secret that signs its requests, with --hook-secret-file FILE; make one with: "
    'echo "whsec_$(openssl rand -base64 32)" > FILE'
)


def check_hooks(settings: SettingList) -> None:
    """Reads the file of the secret. Raises BadSetting."""
    _read_secret(settings)
    if settings.hook_failure not in FAILURES:
        raise BadSetting(f"--hook-failure must be refuse or accept, not {settings.hook_failure!r}")
    if not 0 < settings.hook_timeout <= MOST_TIMEOUT:
        raise BadSetting(
            f"--hook-timeout must be a number of seconds above 0, at most {MOST_TIMEOUT:g}, not "
            f"{settings.hook_timeout}"
        )
    try:
        check_source(settings.event_source)
    except BadRequest as error:
        raise BadSetting(f"--event-source: {error.detail}") from None
    hooks = {name: hook for name in HOOK_SETTINGS if (hook := getattr(settings, name)) is not None}
    for name, hook in hooks.items():
        try:
            _check_hook(name, hook, settings)
        except BadRequest as error:
            raise BadSetting(f"--{name.replace('_', '-')}: {error.detail}") from None
    if settings.hook_secret is not None and not any(map(is_url, hooks.values())):
        raise BadSetting(
            "There is a secret for hooks, but no --on-start, --on-kept or --on-finish that is a "
            "URL; give both"
        )


def _read_secret(settings: SettingList) -> None:
    if settings.hook_secret_file is None:
        return
    if settings.hook_secret is not None:
        raise BadSetting("--hook-secret-file and SLUICEWAY_HOOK_SECRET are both given; give one")
    read = read_secret(settings.hook_secret_file, "--hook-secret-file", "secret")
    object.__setattr__(settings, "hook_secret", read)
    object.__setattr__(settings, "hook_secret_file", None)  # as that of the token


def _check_hook(name: str, hook: str, settings: SettingList) -> None:
    if is_url(hook):
        parse_address(hook)
        if settings.hook_secret is None:
            raise BadRequest(LACKS_KEY)
        parse_secrets(settings.hook_secret)
        return
    # Late: a server without a command needs nothing that starts one.
    from sluiceway.server.hooks.command import PATH_WORD, find_command, parse_command

    argv = parse_command(hook)
    find_command(argv)
    if any(PATH_WORD in each for each in argv) and not (
        name == "on_kept" and len(settings.to) == 1 and _is_folder(settings.to[0])
    ):
        raise BadRequest(
            f"{PATH_WORD} is a file that only --on-kept can read, where --to is one folder; leave "
            "it out, or scan in another way (docs/hooks.md)"
        )


def _is_folder(place: str) -> bool:
    return "://" not in place and not place.lower().startswith("memory:")
