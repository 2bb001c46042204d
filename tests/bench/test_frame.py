"""The bench's frame: who used the processors, which runs count, what becomes of the numbers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.contenders import OURS_NONE, OURS_SHA, RAWS, Contender  # noqa: E402
from bench.groups import GOALS, asked_groups  # noqa: E402
from bench.publish import block, publish  # noqa: E402
from bench.results import cost_row, cost_versus, versus  # noqa: E402
from bench.rounds import Bench, Sent, Series, paired_rounds  # noqa: E402
from bench.run import arguments  # noqa: E402
from bench.stored import MIB, empty, new_place  # noqa: E402
from bench.table import PER_GB, RATE, Row, at_most, compare, markdown, verdict  # noqa: E402
from bench.usage import Others, cpu_of, descendants  # noqa: E402

GB = 1_000_000_000
BURN = "import time\nwhile time.process_time() < 0.2: pass\n"
THREADED = f"import threading\ndef burn():\n    {BURN.replace(chr(10), chr(10) + '    ')}\n"


def sent(seconds: float = 1.0, cpu: float = 0.5, others: float = 0.0) -> Sent:
    return Sent(seconds, GB, cpu, MIB, sender_cpu=0.125, others=others)


def test_processor_time_has_ended_threads_and_ended_children() -> None:
    """A thread that worked and ended counts, and so does a child that was waited for."""
    code = f"{THREADED}t = threading.Thread(target=burn); t.start(); t.join()\n"
    code += f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\n"
    code += "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        assert cpu_of(descendants(process.pid)) >= 0.37  # ended children count in ticks of 10 ms
        process.communicate("\n", timeout=30)
    assert cpu_of([process.pid]) == 0


def test_a_process_that_is_not_ours_counts_as_others() -> None:
    """An orphan that burns a processor is no longer below this process."""
    code = "import time; end = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    others = Others()
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -c '{code}' > /dev/null 2>&1 & echo $!"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    orphan = int(done.stdout)
    try:
        time.sleep(0.5)

        assert orphan not in descendants(1 << 30)
        assert others.share() > 0.05
    finally:
        subprocess.run(["/bin/kill", str(orphan)], check=False, timeout=30)


def framed(rounds: int, repeats: int = 0) -> tuple[Bench, list[str]]:
    said: list[str] = []
    bench = Bench(Path(), Path(), GB, rounds, said.append, repeats=repeats, quick=True)
    return bench, said


def noting(order: list[str], runs: dict[str, list[Sent]]) -> Callable[[Contender], Sent]:
    def once(contender: Contender) -> Sent:
        order.append(contender.label)
        return runs[contender.label].pop(0)

    return once


def test_the_order_turns_and_a_failure_ends_one_series_only() -> None:
    """Who was first in a round is last in the next one; who failed has its reason."""
    bench, said = framed(rounds=3)
    order: list[str] = []
    a, b = (replace(OURS_NONE, name=name) for name in "ab")
    first, second = paired_rounds(
        bench, [a, b], noting(order, {"a": [sent()] * 3, "b": [sent(2.0)] * 3})
    )

    assert "".join(order) == "abbaab"
    assert (first.values, second.values) == ([GB] * 3, [GB / 2] * 3)
    assert "s/GB: server 0.50, sender 0.12" in said[0]

    def fails(contender: Contender) -> Sent:
        if contender is b:
            raise OSError("no such file")
        return sent()

    first, second = paired_rounds(bench, [a, b], fails)
    assert (len(first.values), second.failed) == (3, "no such file")


def test_a_disturbed_run_is_repeated_and_the_calmest_counts() -> None:
    """The first calm run ends the repeats; what stays disturbed is marked, and its row says so."""
    bench, said = framed(rounds=1, repeats=2)
    calm = [sent(3.0, others=0.5), sent(1.0, others=0.1)]
    noisy = [sent(3.0, others=0.5), sent(1.0, others=0.3), sent(2.0, others=0.4)]
    a, b = (replace(OURS_NONE, name=name) for name in "ab")
    first, second = paired_rounds(bench, [a, b], noting([], {"a": calm, "b": noisy}))

    assert (first.values, first.marked) == ([GB], 0)
    assert (second.values, second.marked) == ([GB], 1)
    assert [line.split(": ")[1] for line in said if "once more" in line] == ["a", "b", "b"]
    assert "MARKED: others used 30%" in said[-1]
    row = versus("t", [first, second], a, (b,), 1.0)
    assert row.marked == "1 of 1 rounds"
    assert "disturbed: 1 of 1 rounds" in markdown([row])


def test_rows_have_both_figures_and_say_by_how_much_a_goal_is_missed() -> None:
    """Bytes a second in pairs, processor seconds of all, and the distance to the goal."""
    ours = Series(OURS_NONE, [GB, GB], sent=[sent(1.0, 0.5), sent(1.0, 0.6)])
    peer = Series(RAWS[3], [2e9, 2e9], sent=[sent(0.5, 0.4), sent(0.5, 0.4)])
    both = [ours, peer]
    row = versus("t", both, OURS_NONE, (RAWS[3],), 1.0)

    assert (row.ratio, verdict(row)) == ("0.50x (0.50-0.50)", "**short by 50.0%**")
    assert row.cost == "server 0.55, sender 0.12 s/GB; against: server 0.40, sender 0.12 s/GB"
    reached = cost_row("t", both, OURS_NONE, 0.55)
    assert (reached.ours, reached.goal) == ("0.55 s/GB (0.50-0.60)", "<= 0.55 s/GB")
    assert verdict(reached) == "reached"
    dearer = cost_versus("t", both, OURS_NONE, RAWS[3], 1.1)
    assert (dearer.goal, verdict(dearer)) == ("<= 1.1x", "**short by 25.0%**")
    absent = cost_row("t", both, OURS_SHA, 0.5)
    assert (absent.met, verdict(absent)) == (None, "not measured")
    assert verdict(compare("t", [1.0], {"p": [1.0]}, None, RATE)) == "-"
    assert at_most("t", [2e-9], 1e-9, PER_GB).met is False


def test_a_page_keeps_the_runs_of_each_processor() -> None:
    """A block is replaced by one of the same processor and group, and by nothing else."""
    page = "# The bench\n\n## Runs\n\nWords.\n\n## Later\n\nMore.\n"
    facts = {"commit": "abc", "disk": "ext4, with a journal", "starlette": "1"}
    table = markdown([Row("r", "1", "2", "3", ">= 1x", True)])
    one = block("upload", table, facts, ["5 rounds"])
    page = publish(page, "2 x A", "upload", one)
    page = publish(page, "2 x B", "upload", one)
    page = publish(page, "2 x A", "form", one)
    again = publish(page, "2 x A", "upload", one.replace("abc", "def \\1"))

    assert "`upload`: 5 rounds; commit abc; disk ext4, with a journal; starlette 1." in page
    headings = [line for line in again.splitlines() if line.startswith(("#", "<!-- bench"))]
    assert headings == [
        "# The bench", "## Runs",
        "### 2 x A", "<!-- bench: 2 x A; upload -->", "<!-- bench: 2 x A; form -->",
        "### 2 x B", "<!-- bench: 2 x B; upload -->",
        "## Later",
    ]  # fmt: skip
    assert (again.count("commit def \\1"), again.count("commit abc")) == (1, 2)
    assert publish(page, "2 x A", "upload", one) == page
    assert publish("# P\n", "2 x A", "upload", one).startswith("# P\n\n## Runs\n\n### 2 x A\n")


def test_space_is_given_back_without_deleting(tmp_path: Path) -> None:
    """Inodes stay, small files stay as they are, and so does a source with a second name."""
    place, source = new_place(tmp_path), tmp_path / "source"
    source.write_bytes(bytes(MIB))
    (place / "link").hardlink_to(source)
    (place / "large").write_bytes(bytes(MIB))
    (place / "small").write_bytes(bytes(100))
    empty(place)

    sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    assert sizes == {"link": MIB, "large": 0, "small": 100}
    assert new_place(tmp_path) != place


def test_rows_are_asked_for_by_group_by_goals_or_all() -> None:
    """An unknown word is an error that names what there is; --quick is one round with little."""
    names, unknown = asked_groups("goals")
    assert set(names) <= set(GOALS)
    assert {"upload", "restore"} <= set(names)
    assert unknown == []
    assert asked_groups("upload,relay,upload") == (["upload", "relay"], [])
    assert asked_groups("uplaod")[1] == ["uplaod"]
    with pytest.raises(SystemExit):
        arguments(["--rows", "uplaod"])
    quick, usual = arguments(["--quick", "--rounds", "2"]), arguments([])
    assert (quick.rounds, quick.size, quick.repeats) == (2, 16 * MIB, 0)
    assert (usual.rounds, usual.size, usual.repeats) == (5, 1 << 30, 3)
