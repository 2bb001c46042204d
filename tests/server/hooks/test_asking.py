"""How hooks are asked: at most so many at a time, in bounded time; and what their words become."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sluiceway.errors import HookUnavailable, UploadRefused
from sluiceway.server.hooks.command import AT_ONCE as COMMANDS
from sluiceway.server.hooks.opening import open_asker
from sluiceway.server.hooks.verdicts import HookVerdict, read_verdict
from sluiceway.server.hooks.webhook import AT_ONCE as REQUESTS
from sluiceway.server.settings.checked import Settings
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.access.grant import FULL
from sluiceway.uploads.hooks.asking import MOST_WORDS, HookAsker
from sluiceway.uploads.totals import Totals
from webhook_receiver import SECRET, WebhookReceiver, hang


def asker_of(totals: Totals, hook: str, timeout: float, secret: str | None = None) -> HookAsker:
    settings = Settings(on_start=hook, hook_timeout=timeout, hook_secret=secret)
    found = open_asker(settings, totals)
    assert found is not None
    return found


async def ask(asker: HookAsker, times: int) -> list[object]:
    """What each call came to, at the same time."""
    calls = [asker.start(f"u{at}", UploadRequest(key="k"), 3, FULL) for at in range(times)]
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("kind", ["command", "url"])
async def test_few_calls_run_at_a_time(kind: str, tmp_path: Path) -> None:
    """The others wait, and are refused where none of those that run ends in time."""
    most, totals = COMMANDS if kind == "command" else REQUESTS, Totals()
    with WebhookReceiver() as receiver:
        receiver.next_responses += [hang] * (most + 3)
        if kind == "command":
            program = tmp_path / "program"
            program.write_text(f"#!/bin/sh\necho >> {tmp_path}/began\nexec sleep 300\n")
            program.chmod(0o755)
            asker = asker_of(totals, str(program), 1.0)
        else:
            asker = asker_of(totals, receiver.url, 1.0, SECRET)
        found = await ask(asker, most + 3)
        began = receiver.requests
        if kind == "command":
            began = len((tmp_path / "began").read_text().splitlines())
        await asker.aclose()
    assert all(isinstance(one, HookUnavailable) for one in found)
    assert began <= most + 3
    assert totals.hook_calls("on-start", "failed") == most + 3
    waited = [one for one in found if "too many calls run" in str(one)]
    assert len(waited) <= 3


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"<html>", None),
        (b"[1]", None),
        (b'"refuse"', None),
        (b"{}", HookVerdict(False)),
        (b'{"refuse": false}', HookVerdict(False)),
        (b'{"refuse": null, "detail": 3}', HookVerdict(False)),
        (b'{"refuse": "a"}', HookVerdict(True, "a")),
        (b'{"refuse": {"detail": "", "title": "b", "status": 499}}', HookVerdict(True, "b", 499)),
        (b'{"refuse": {"status": 500}}', HookVerdict(True)),
        (b'{"refuse": {"status": "400"}}', HookVerdict(True)),
        (b'{"refuse": {"status": true}}', HookVerdict(True)),
        (b'{"title": "t", "detail": "d", "status": 402}', HookVerdict(False, "d", 402)),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_read_of_its_json(said: bytes, expected: HookVerdict | None) -> None:
    assert read_verdict(said) == expected


def test_words_are_one_line_of_bounded_length() -> None:
    """A client may show them as they are."""
    text = "a\r\n\tb \x1b[31m " + "x" * 10_000
    verdict = read_verdict(json.dumps({"refuse": text}).encode())
    assert verdict is not None
    assert verdict.words.startswith("a b \ufffd[31m xx")
    assert len(verdict.words) == MOST_WORDS


async def test_a_refusal_without_words_has_some(tmp_path: Path) -> None:
    asker = asker_of(Totals(), "false", 20.0)
    [refused] = await ask(asker, 1)
    assert isinstance(refused, UploadRefused)
    assert (refused.status, refused.detail) == (
        403,
        "The rules of this server refuse this file; nothing was stored",
    )
