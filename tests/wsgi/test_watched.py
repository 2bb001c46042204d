"""Watchers of a WSGI app: each holds a thread, so their number is bounded."""

from __future__ import annotations

from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import new_id
from sluiceway.wsgi.watched import MOST_WAITING, upload_events


def test_watchers_of_nothing_cannot_take_all_threads() -> None:
    """One more than may wait gets the state once, and its thread is free."""
    progress = AppProgress("crowded")
    streams = [upload_events(progress, new_id(), threaded=True) for _ in range(MOST_WAITING + 1)]
    first = [next(stream) for stream in streams]

    assert all(b'"waiting"' in event for event in first)
    assert list(streams[-1]) == []
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]  # a generator
