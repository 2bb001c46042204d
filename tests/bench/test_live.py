"""The rows of a Flask view that passes a file on.

What is computed from given values, and one small run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.live import LIVE, PLAIN, live_rows, paced_rows  # noqa: E402
from bench.process import Server  # noqa: E402
from bench.relay import PIPE_NOW  # noqa: E402
from bench.relay_rows import Sides  # noqa: E402
from bench.rounds import Bench, Sent  # noqa: E402
from bench.stored import MIB  # noqa: E402
from bench.watch import Peaks  # noqa: E402


def sent(seconds: float, rss: int = 50 * MIB, temp: int = 0) -> Sent:
    return Sent(seconds, 1000 * MIB, 2 * seconds, rss, temp)


@pytest.mark.parametrize(("ours", "met"), [(1.0, True), (1.2, False)])
def test_a_live_view_is_held_to_the_time_of_two_steps(ours: float, met: bool) -> None:
    """Paired by rounds, with a goal against two steps only.

    Memory and temporary files of all stand in one row.
    """
    sides = Sides(
        [0.9],
        {
            LIVE.label: [sent(ours)],
            PLAIN.label: [sent(2.0, temp=9 * MIB)],
            PIPE_NOW.label: [sent(1.5, rss=70 * MIB)],
        },
    )

    plain, piped, memory = paced_rows(sides, (PLAIN, PIPE_NOW), 1000 * MIB)

    assert (plain.met, plain.goal) == (met, "<= 0.55x")
    assert "the slower side alone 0.90 s" in plain.ours
    assert (piped.met, piped.goal) == (None, "reported")
    assert memory.ours == "peak RSS 50.0 MiB, temp files 0.0 MiB"
    assert "(two steps): peak RSS 50.0 MiB, temp files 9.0 MiB" in memory.best_peer
    assert "peak RSS 70.0 MiB" in memory.best_peer
    assert paced_rows(Sides([], {LIVE.label: []}), (), MIB)[0].ours == "not measured"


def test_peaks_are_the_most_of_all_looks() -> None:
    """A temporary file that is gone at the end counts."""

    class Look(Server):
        def __init__(self, rss: int, temp: int) -> None:
            self._told = (rss, temp)

        def peak(self) -> int:
            return self._told[0]

        def temp_bytes(self) -> int:
            return self._told[1]

    peaks = Peaks()
    for rss, temp in ((1, 5), (3, 9), (2, 0)):
        peaks.look(Look(rss, temp))

    assert (peaks.rss, peaks.temp) == (3, 9)


@pytest.mark.torture
def test_live_runs_with_little(bench: Bench) -> None:
    """With limited sides and without.

    The unchanged view passes every byte on, with our line and without it.
    """
    result = live_rows(bench, lambda peers: peers)

    assert not result.failed
    assert [row.ours == "not measured" for row in result.rows] == [False] * 5
