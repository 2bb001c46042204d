"""Makes the hooks of the settings: a URL or a command each."""

from __future__ import annotations

from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.server.hooks.command import CommandHook
from sluiceway.server.hooks.webhook import Webhook
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.uploads.hooks.asking import HookAsker
from sluiceway.uploads.hooks.contract import Hook, HookWhen
from sluiceway.uploads.hooks.events import EventWriter
from sluiceway.uploads.totals import Totals
from sluiceway.wire.events.webhooks import parse_secrets
from sluiceway.wire.urls import is_url

__all__ = ["open_asker", "open_hook"]


def open_hook(settings: Settings, hook: str) -> Hook:
    """What is called for the value of a setting. Raises BadSetting."""
    trust = Trust(settings.ca_file)
    try:
        if not is_url(hook):
            return CommandHook(hook)
        trust.contexts()
    except BadRequest as error:
        name = "--ca-file" if is_url(hook) else hook
        raise BadSetting(f"{name}: {error.detail}") from None
    return Webhook(hook, parse_secrets(settings.hook_secret or ""), trust, settings.hook_timeout)


def open_asker(settings: Settings, totals: Totals) -> HookAsker | None:
    """The hooks that may refuse a file; None for none. Raises BadSetting."""
    given = {HookWhen.START: settings.on_start, HookWhen.KEPT: settings.on_kept}
    hooks = {when: open_hook(settings, hook) for when, hook in given.items() if hook is not None}
    if not hooks:
        return None
    return HookAsker(
        hooks,
        EventWriter(settings.event_source),
        settings.hook_timeout,
        settings.hook_failure == "accept",
        totals,
    )
