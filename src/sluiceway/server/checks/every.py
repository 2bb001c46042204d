"""All checks that a start makes, and those that a server finds out later, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

from sluiceway.pipe.budget import Budget
from sluiceway.server.checks.calls import check_hook_calls
from sluiceway.server.checks.credentials import (
    check_link_keys,
    check_tls,
    check_tokens,
    check_web_tokens,
)
from sluiceway.server.checks.finding import Finding, from_error, passed
from sluiceway.server.checks.machine import check_clock, check_descriptors, check_port
from sluiceway.server.checks.places import check_all_destinations, check_place, check_state
from sluiceway.server.settings.checked import Settings

__all__ = ["check_everything"]

# Checks that need these settings and no others
_APART: tuple[tuple[Callable[[Settings], Iterable[Finding]], tuple[str, ...]], ...] = (
    (check_tokens, ("token", "token_file")),
    (check_link_keys, ("link_key_file",)),
    (check_tls, ("tls_cert", "tls_key", "ca_file", "client_cert")),
    (lambda settings: [check_port(settings)], ("host", "port")),
)


async def check_everything(given: Mapping[str, Any]) -> AsyncIterator[Finding]:
    """Look at everything that `sluiceway serve` needs with these settings, and store nothing.

    Args:
        given: Settings by their names; the others have their defaults.

    Returns:
        A finding for each thing, the good ones included. Where settings cannot be used, all of them
        are named, and only what needs none of them is looked at.

    Example:
        [one async for one in check_everything({"to": ("/srv/files",)}) if one.level == "failed"]
    """
    if faults := Settings.faults(given):
        for error in faults:
            yield from_error("settings", error, "correct the setting")
        for one in _apart(given):
            yield one
        return
    settings = Settings(**given)
    yield passed("settings", "all can be used")
    for one in (*check_tokens(settings), *check_link_keys(settings), *check_tls(settings)):
        yield one
    for one in check_hook_calls(settings):
        yield one
    budget, skews = Budget(settings.budget), dict[str, float]()
    async for one in check_web_tokens(settings, skews):
        yield one
    for place in settings.to:
        async for one in check_place(settings, place, budget, skews):
            yield one
    store, found = check_all_destinations(settings, budget)
    yield found
    try:
        async for one in check_state(settings, store, skews):
            yield one
    finally:
        if store is not None:
            await store.aclose()
    for one in check_clock(skews):
        yield one
    yield check_port(settings)
    yield check_descriptors()


def _apart(given: Mapping[str, Any]) -> Iterator[Finding]:
    """What can be said although other settings are wrong."""
    for check, names in _APART:
        own: dict[str, Any] = {"to": ("memory:",), "no_auth": True}
        own |= {name: given[name] for name in names if name in given}
        if not Settings.faults(own):
            yield from check(Settings(**own))
    yield check_descriptors()
