"""The sources' tables: what is computed from given values, and one small run of each group."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.live import LIVE  # noqa: E402
from bench.rounds import Bench, Sent, Series  # noqa: E402
from bench.sources_cases import CLOCK, PROFILERS, SERVERS, SETTINGS, cases  # noqa: E402
from bench.sources_peers import CELLS, OWN  # noqa: E402
from bench.sources_sweep import pipe, sweep_lines  # noqa: E402
from bench.sources_table import HEAD, kind_and_bytes, profile_cells, table_group, table_lines  # noqa: E402
from bench.sources_why import Measured, findings, why_group, why_lines  # noqa: E402
from bench.stored import MIB  # noqa: E402
from bench.table import grid  # noqa: E402

from bench import sources, sources_cases, sources_sweep, sources_why  # noqa: E402

SIZE = 4 * MIB


def sent(seconds: float, size: int = 1000 * MIB, rss: int = 50 * MIB, temp: int = 0) -> Sent:
    return Sent(seconds, size, 2 * seconds, rss, temp)


def test_a_cell_has_seconds_rate_cpu_and_the_most_of_both_peaks() -> None:
    """Medians with the least and the most; peaks are the most of all rounds.

    Who failed says why.
    """
    runs = [sent(1.0, 10**9), sent(3.0, 10**9, rss=60 * MIB, temp=7 * MIB), sent(2.0, 10**9)]
    good = Series(CELLS[0].contender, [], notes=[asdict(one) for one in runs])
    bad = Series(CELLS[1].contender, [], failed="it fell over", notes=[])

    first, second = table_lines(10**9, CELLS[:2], [good, bad])

    assert first[1:3] == ("request.stream to disk", "Flask's development server")
    assert first[3:] == ("2.000 (1.000-3.000)", "500 (333-1,000)", "4.00", "60.0 MiB", "7.0 MiB")
    assert second[3] == "failed: it fell over"
    assert grid(HEAD, [first]).count("\n") == 3


def test_every_method_stands_in_every_deployment_where_it_means_something() -> None:
    """Four methods in three deployments, and the two that `sluiceway serve` has."""
    assert len(CELLS) == 4 * 3 + 2
    assert len({one.contender.label for one in CELLS}) == len(CELLS)
    assert {one.method for one in CELLS if one.deployment == OWN} == {"ours raw", "ours form"}
    assert len({one.stem + one.contender.how for one in CELLS}) == len(CELLS)


def measured(costs: dict[tuple[str, str, str], float]) -> list[Measured]:
    """Runs of 1000 MiB at these seconds for each; 1 where nothing is said."""
    return [Measured(one, [sent(costs.get(one.key, 1.0))]) for one in cases()]


def test_the_answer_is_computed_from_the_medians() -> None:
    """Lines, profiler, clock, router and settings.

    Each sentence has the ratio of its own two cases.
    """
    dev, router = SERVERS
    direct, *_, last = SETTINGS
    none, plain, syscall, slow = PROFILERS
    lines = "lines, 2019"
    text = "\n".join(
        findings(
            measured(
                {
                    (lines, dev, none): 3.0, (lines, dev, plain): 6.0, (lines, dev, syscall): 12.0,
                    (lines, dev, slow): 60.0,
                    (lines, router, none): 4.0, (lines, router, plain): 9.0,
                    (lines, router, slow): 90.0,
                    ("lines, today", dev, none): 70.0, ("fixed reads", direct, none): 0.5,
                    ("fixed reads", last, none): 0.25,
                }
            )
        )
    )  # fmt: skip

    assert f"{dev}, no profiler: lines as in 2019 take 3.00 times" in text
    assert "lines as Werkzeug takes them today 70 times." in text
    assert (
        "cProfile takes 2.00 times the seconds of no profiler,"
        " with a clock that is a system call 4.00 times" in text
    )
    assert (
        "1.33 times the seconds without a profiler, 1.50 times with cProfile in both,"
        " 1.50 times with the slow" in text
    )
    assert "and 15 times when only uWSGI's clock is slow (published: 14.8 times)" in text
    assert "The http router: 2.00 times" in text
    assert (
        f"{last}: 0.50 times the seconds of plain --http-socket with fixed reads, 1.00 times"
        in text
    )
    assert f"The fastest here was {last}: 4,194 MB/s" in text
    assert "360 times as fast." in text


def test_what_was_not_measured_is_not_claimed() -> None:
    """A case that failed makes its sentences say so, and its line tells the reason."""
    every = measured({})
    for one in every:
        one.failed = "no such server"

    assert "not measured" in findings(every)[0]
    assert not any("The cure" in line for line in findings(every))
    assert why_lines(every)[0][4] == "failed: no such server"


def test_slow_cases_carry_a_part_of_the_data() -> None:
    """The slow clock is the published one.

    What stands still on lines or on tiny buffers is sent less.
    """
    shares = {one.key: one.share for one in cases()}

    assert 7.6e-6 < CLOCK < 7.7e-6
    assert min(shares.values()) < 0.1
    assert all(
        share == 1
        for (view, server, _), share in shares.items()
        if view == "fixed reads" and server in SERVERS
    )
    assert not any("nginx" in one.server for one in cases(nginx=False))


def test_the_sweep_compares_bytes_a_second_with_the_unbuffered_pipe() -> None:
    """Whatever each carried."""
    slow = Series(pipe(0), [1e6], notes=[asdict(sent(1.0, MIB))])
    quick = Series(pipe(4000), [20e6], notes=[asdict(sent(2.0, 32 * MIB, temp=MIB))])

    lines = sweep_lines([slow, quick, Series(LIVE, [], failed="gone", notes=[])])

    assert [line[4] for line in lines] == ["1.0", "20.0", "-"]
    assert lines[1] == (
        "pipe, gathered to 4,000 bytes",
        "32",
        "2.000 (2.000-2.000)",
        "20.0 (20.0-20.0)",
        "20.0",
        *lines[1][5:],
    )
    assert lines[2][2] == "failed: gone"


@pytest.mark.torture
def test_the_table_runs_with_little_and_each_run_has_a_profile(
    bench: Bench, tmp_path: Path
) -> None:
    """Each method and each deployment stores every byte.

    Profiles are named by content type and bytes.
    """
    some = [*CELLS[::2], CELLS[-1]]
    text, data, failed = table_group(bench, [SIZE], some)

    assert not failed
    assert {one.method for one in some} == {one.method for one in CELLS}
    assert {one.deployment for one in some} == {one.deployment for one in CELLS}
    assert text.count("| 4 MiB |") == len(some)
    assert set(data) == {str(SIZE)}

    few = [CELLS[0], CELLS[5], CELLS[-1]]
    assert not profile_cells(bench, [SIZE], tmp_path / "profiles", few)
    names = {path.name for path in (tmp_path / "profiles").iterdir()}
    assert names == {f"{one.stem}_{kind_and_bytes(one, SIZE)}-bytes.txt" for one in few}
    assert f"flask_application-octet-stream_{SIZE}-bytes.txt" in names
    assert all("tottime" in path.read_text() for path in (tmp_path / "profiles").iterdir())


@pytest.mark.torture
def test_why_runs_with_little(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both servers, without a profiler and with a slow one, and one of uWSGI's settings.

    The views say what they took.
    """

    def few(nginx: bool) -> list[sources_cases.Case]:
        none, *_, slow = PROFILERS
        kept = [
            one
            for one in cases(nginx)
            if one.server in (*SERVERS, "--http-socket, post-buffering 8192")
        ]
        return [
            one for one in kept if one.view == "lines, 2019" and one.profiler in (none, slow)
        ] + kept[-2:-1]

    monkeypatch.setattr(sources_why, "cases", few)
    text, data, failed = why_group(bench, nginx=False)

    assert not failed
    assert len(data) == len(few(False))
    assert "- uWSGI against the development server" in text


@pytest.mark.torture
def test_the_sweep_runs_with_little(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a pipe, gathered or not, and ours: the sink gets the same bytes."""
    monkeypatch.setattr(sources_sweep, "THRESHOLDS", {0: MIB // 8, 4_000: MIB})
    text, data, failed = sources_sweep.sweep_group(replace(bench, size=2 * MIB))

    assert not failed
    assert len(data) == 4
    assert text.count("\n") == 2 + 4


def test_the_notes_and_the_files_of_a_run(tmp_path: Path) -> None:
    """Markdown and JSON have the parts, the failures and the machine."""
    asked = sources.arguments(["--sizes", "32MiB,1GiB", "--out", str(tmp_path), "--rounds", "2"])
    text = sources.keep(
        asked, {"cpu": "two"}, {"sweep": "| a |\n"}, {"sweep": {"x": 1}}, ["it fell"]
    )

    assert (tmp_path / "sources.md").read_text() == text
    assert all(
        part in text
        for part in (
            sources.GROUPS["sweep"],
            "| a |",
            "- it fell",
            "- cpu: two",
            "2 rounds, everyone",
        )
    )
    assert json.loads((tmp_path / "sources.json").read_text())["sizes"] == [32 * MIB, 1024 * MIB]
    assert all(note.endswith(".") for note in sources.notes(3))


@pytest.mark.parametrize(
    "given", [["--rows", "nothing"], ["--sizes", "1K"], ["--rounds", "0"], ["--sizes", "much"]]
)
def test_what_cannot_be_measured_is_refused(given: list[str]) -> None:
    """Unknown groups, sizes below a MiB and no rounds end the command at once."""
    with pytest.raises(SystemExit):
        sources.arguments(given)
