"""docs/tutorial.md works as it is printed, from its first block to its last."""

from __future__ import annotations

import json
from pathlib import Path

import requests

from docs.tutorial import Tutorial


def test_every_block_of_the_tutorial_works(tmp_path: Path) -> None:
    """Its files, servers and commands, with the answers that it shows."""
    tutorial = Tutorial(tmp_path)
    try:
        tutorial.follow()
        page = requests.get(f"http://127.0.0.1:{tutorial.app}/", timeout=10).text
        script = requests.get(f"http://127.0.0.1:{tutorial.app}/uploads/page/sluice.js", timeout=10)
    finally:
        tutorial.stop()

    _, sent, watched = tutorial.printed
    assert sent == "The API has 6000000 bytes.\n"
    assert sent in watched
    events = [json.loads(line[6:]) for line in watched.splitlines() if line[:6] == "data: "]
    kept = [event["kept"] for event in events]
    assert kept == sorted(kept)
    assert events[-1]["state"] == "complete"
    assert kept[-1] == 6_000_000
    full = [event for event in events[:-1] if event["kept"] >= 6_000_000]
    assert full == []  # not before the API's answer
    checking = [event["kept"] for event in events if event["state"] == "checking"]
    assert checking[-1] == 5_999_999
    assert "Add a file to Persuasion" in page
    assert script.headers["Content-Type"].startswith("text/javascript")
