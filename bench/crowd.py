"""Many at once against nginx, with one process and with two: what each connection costs.

Idle connections have had one response; idle uploads have sent 1 KiB of a body; slow ones send 1 KiB
a second. Memory is what the server's processes hold more than before the crowd. Each crowd meets a
fresh server on a fresh disk. Fast uploads are those of at_once.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.at_once import many_once
from bench.contenders import NGINX, OURS_NONE, RAWS, Contender, start
from bench.journaled import fresh_disk
from bench.peers.nginx import NGINX_CROWD_CONF
from bench.process import Failed, Server
from bench.results import Result, Wanted, noted, versus
from bench.rounds import Bench, Sent, Series, described, paired_rounds
from bench.slow import FIRST, raise_open_files
from bench.table import TIMES, Row, Unit, spread
from bench.transfer import ROOT, send
from bench.usage import Others, cpu_of

__all__ = ["Crowd", "Scene", "crowd_row", "crowd_rows"]

OPEN_FILES = 65536
SPARE = 100  # descriptors that a server uses without a client
STEADY, QUICK_STEADY = 10.0, 0.5  # seconds for which processor time is counted
SETTLE = 1.0
WARM = 8  # uploads before memory is read: each of several workers has served one
DECLARED = 256 << 10  # bytes an upload says it brings: 10,000 reservations fit on the fresh disk
UPS = 300.0  # seconds until all connections are there
FAST = 100
MEMORY_GOAL, CPU_GOAL = 24 << 10, 0.01  # of 10,000 idle ones: bytes each, share of a processor
FAIR_GOAL = 2.0
KIB = Unit(" KiB each", 1 << 10, 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a crowd does."""

    name: str
    count: int
    client: tuple[str, ...]  # the client's module and options
    goal: bool = False
    files: int = 1  # descriptors of our server for each

    def fitting(self, descriptors: int, quick: bool) -> Scene:
        """The same with as many as a process of these descriptors takes, or with few."""
        # Ours serves no connection whose number is in the upper half.
        most = (descriptors // 2 - SPARE) // self.files
        return replace(self, count=self.count // 50 if quick else min(self.count, most))

    def title(self, processes: int) -> str:
        return f"{self.count:,} {self.name}, {processes} process{'es' if processes > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Crowd:
    """What one scene cost one contender."""

    idle_rss: int
    loaded_rss: int
    count: int
    alive: int  # at the end
    cpu: float  # the server's processor seconds a second
    client_cpu: float
    others: float  # share of the machine
    disk: str

    @property
    def bytes_each(self) -> float:
        return (self.loaded_rss - self.idle_rss) / self.count

    def text(self) -> str:
        lost = f"; only {self.alive:,} alive" if self.alive < self.count else ""
        return f"{KIB.number(self.bytes_each)}{KIB.name}, {self.cpu:.1%} of a processor{lost}"


IDLE = ("bench.idle", "--path", "/nothing-here")
UPLOADS = ("bench.trickle", "--declared", str(DECLARED), "--once")
SLOW = ("bench.trickle", "--declared", str(DECLARED))
SCENES = (
    Scene("idle connections", 1000, IDLE),
    Scene("idle connections", 10_000, IDLE, goal=True),
    Scene("idle uploads", 1000, UPLOADS, files=2),
    Scene("idle uploads", 10_000, UPLOADS, goal=True, files=2),
    Scene("uploads at 1 KiB/s", 1000, SLOW, files=2),
)


def _processes(count: int) -> tuple[Contender, Contender]:
    """Ours and nginx with so many worker processes."""
    title = f"{count} worker{'s' * (count > 1)}"
    words = ("--workers", str(count)) if count > 1 else ()
    ours = replace(
        OURS_NONE, name=f"{OURS_NONE.name}, {title}", command=(*OURS_NONE.command, *words)
    )
    conf = {"nginx.conf": NGINX_CROWD_CONF.replace("WORKERS", str(count))}
    return ours, replace(RAWS[3], name=f"nginx, {title}", command=NGINX, files=conf)


PAIRS = {count: _processes(count) for count in (1, 2)}


def crowd_rows(bench: Bench, wanted: Wanted) -> Result:
    """Every scene with every contender, then 100 fast uploads in rounds."""
    descriptors, result = raise_open_files(OPEN_FILES), Result()
    for processes, (ours, nginx) in PAIRS.items():
        for scene in SCENES[1::2] if bench.quick else SCENES:
            scene = scene.fitting(descriptors, bench.quick)
            measured = {}
            for contender in (ours, *wanted((nginx,))):
                crowd = _tried(bench, contender, scene, result)
                if crowd is not None:
                    measured[contender.name] = crowd
            title = scene.title(processes)
            result.data[title] = {name: asdict(crowd) for name, crowd in measured.items()}
            row = crowd_row(scene, title, measured.get(ours.name), measured.get(nginx.name))
            result.rows.append(row)
    _fast(bench, wanted, result)
    return result


def _tried(bench: Bench, contender: Contender, scene: Scene, result: Result) -> Crowd | None:
    try:
        crowd = measure(bench, contender, scene)
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"{scene.count:,} {scene.name}: {contender.name}: {error}")
        bench.say(f"  {contender.name}: {scene.name}: FAILED: {error}")
        return None
    bench.say(f"  {scene.count:,} {scene.name}: {contender.name}: {crowd.text()}")
    return crowd


def measure(bench: Bench, contender: Contender, scene: Scene) -> Crowd:
    """One crowd at a fresh server."""
    steady = QUICK_STEADY if bench.quick else STEADY
    with (
        fresh_disk(bench) as (disk, where),
        start(contender, bench.binaries, disk / "place") as (server, _),
    ):
        for number in range(1 if bench.quick else WARM):
            send(server, contender, bench.source(FIRST), f"first-{number}.bin")
        time.sleep(SETTLE)
        idle = server.rss()
        with _crowding(server, contender, scene) as client:
            time.sleep(SETTLE)
            others, cpu, theirs = Others(), server.cpu(), cpu_of([client.pid])
            time.sleep(steady)
            cpu, theirs = server.cpu() - cpu, cpu_of([client.pid]) - theirs
            share, loaded = others.share(), server.rss()
            told = _end(client)
    return Crowd(
        idle, loaded, scene.count, told["alive"], cpu / steady, theirs / steady, share, where
    )


@contextmanager
def _crowding(
    server: Server, contender: Contender, scene: Scene
) -> Iterator[subprocess.Popen[str]]:
    """The client process, when all its connections are there."""
    module, *options = scene.client
    command = [sys.executable, "-m", module, "--port", str(server.port), *options]
    if module != "bench.idle":
        command += ["--method", contender.method, "--path", contender.path]
    command += ["--count", str(scene.count)]
    client = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        line = _line(client)
        if line["alive"] < scene.count:
            raise Failed(f"only {line['alive']:,} of {scene.count:,} came about")
        yield client
    finally:
        if client.poll() is None:
            client.kill()
        client.communicate()


def _line(client: subprocess.Popen[str]) -> dict[str, Any]:
    line = client.stdout.readline() if client.stdout is not None else ""
    if not line:
        raise Failed("the client ended early")
    told: dict[str, Any] = json.loads(line)
    return told


def _end(client: subprocess.Popen[str]) -> dict[str, Any]:
    """Closes the client's input; its last words."""
    out, _ = client.communicate(timeout=UPS)
    told: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return told


def crowd_row(scene: Scene, title: str, mine: Crowd | None, other: Crowd | None) -> Row:
    """One line: memory and processor time of both; goals for 10,000 idle ones."""
    text = f"<= {MEMORY_GOAL >> 10} KiB each, <= {CPU_GOAL:.0%}" if scene.goal else "reported"
    peer = f"nginx: {other.text()}" if other else "not measured"
    if mine is None:
        return Row(title, "not measured", peer, "-", text, None)
    ratio = "-"
    if other is not None and other.bytes_each > 0:
        ratio = f"{mine.bytes_each / other.bytes_each:.2f}x the memory"
    if not scene.goal:
        return Row(title, mine.text(), peer, ratio, text, None)
    worst = max(mine.bytes_each / MEMORY_GOAL, mine.cpu / CPU_GOAL)
    met = worst <= 1 and mine.alive == mine.count
    return Row(title, mine.text(), peer, ratio, text, met, value=worst, target=1.0)


def _fast(bench: Bench, wanted: Wanted, result: Result) -> None:
    """100 uploads at once, as fast as they go: rate, processor time, fairness."""

    def text(sent: Sent) -> str:
        return f"{described(sent)}, fair within {sent.more['fair']:.1f}x"

    pairs = {count: (ours, wanted((nginx,))) for count, (ours, nginx) in PAIRS.items()}
    contenders = [one for ours, peers in pairs.values() for one in (ours, *peers)]
    series = paired_rounds(bench, contenders, lambda one: many_once(bench, one, FAST), text=text)
    for count, (ours, peers) in pairs.items():
        title = f"{FAST} fast uploads at once, durable, {count} process{'es' * (count > 1)}"
        row = versus(f"{title}; nginx without fsync", series, ours, peers, None)
        result.rows += [row, _fair_row(title, series, ours, peers)]
    data, failed = noted(series)
    result.data["fast"] = data
    result.failed += failed


def _fair_row(
    title: str, series: Sequence[Series], ours: Contender, peers: Sequence[Contender]
) -> Row:
    """The slowest over the fastest of uploads that began together."""
    mine, other = (
        next((each for each in series if each.contender is one and each.sent), None)
        for one in (ours, peers[0] if peers else None)
    )
    fair = [[one.more["fair"] for one in each.sent] if each else [] for each in (mine, other)]
    goal = f"<= {FAIR_GOAL:g}x"
    texts = [spread(each, TIMES) if each else "not measured" for each in fair]
    if not fair[0]:
        return Row(f"{title}: slowest over fastest", texts[0], texts[1], "-", goal, None)
    value = statistics.median(fair[0])
    return Row(
        f"{title}: slowest over fastest", texts[0], f"nginx: {texts[1]}", "-", goal,
        value <= FAIR_GOAL, value=value, target=FAIR_GOAL,
    )  # fmt: skip
