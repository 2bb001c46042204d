"""Measures and draws docs/memory.svg.

Memory and temporary files of our server and a spooling peer during one large form.

`python3 bench/memory_graph.py` measures, keeps the samples as JSON and draws them; `--draw
FILE.json` only draws.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if not __package__:
    sys.path[0] = str(ROOT)  # started as a script: the package is `bench`, not its folder

from bench.contenders import FORMS, OURS_FORM_SHA, Contender, start  # noqa: E402
from bench.machine import describe  # noqa: E402
from bench.memory import PIECES  # noqa: E402
from bench.process import Failed, Server  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.setup import make_environment  # noqa: E402
from bench.stored import MIB, check_same, empty, sha256_of  # noqa: E402
from bench.svg import Line, Panel, chart  # noqa: E402
from bench.transfer import send  # noqa: E402

__all__ = ["draw", "main", "measure"]

EVERY = 0.1  # seconds between two samples
GIB = 1 << 30
Series = dict[
    str, Any
]  # {"name", "seconds", "points": [[seconds, RSS bytes, temporary bytes], …]}, as kept in JSON


def watch(server: Server, stop: threading.Event, points: list[list[float]]) -> None:
    began = time.monotonic()
    while not stop.is_set():
        points.append([round(time.monotonic() - began, 3), server.rss(), server.temp_bytes()])
        stop.wait(EVERY)


def measure(bench: Bench, contender: Contender, name: str) -> Series:
    """Samples from before the upload to its response, on a fresh server.

    The stored bytes are checked.
    """
    source = bench.source(bench.size)
    digest = sha256_of(source, PIECES)
    place = bench.place()
    points: list[list[float]] = []
    stop = threading.Event()
    with start(contender, bench.binaries, place) as (server, to):
        watcher = threading.Thread(target=watch, args=(server, stop, points))
        watcher.start()
        try:
            sent = send(server, contender, source, "upload.bin", repeat=PIECES)
        finally:
            stop.set()
            watcher.join()
    check_same(to, sent.bytes, digest)
    empty(place)
    bench.say(
        f"{name}: {sent.seconds:.1f} s, RSS "
        f"{min(p[1] for p in points) / MIB:.0f}-{max(p[1] for p in points) / MIB:.0f} MiB,"
        f" temporary files up to {max(p[2] for p in points) / GIB:.2f} GiB"
    )
    return {"name": name, "seconds": sent.seconds, "points": points}


def draw(graph: dict[str, Any]) -> str:
    """The SVG of a measurement."""

    def lines(column: int, unit: int) -> list[Line]:
        return [
            Line(one["name"], kind, [(point[0], point[column] / unit) for point in one["points"]])
            for kind, one in enumerate(graph["series"])
        ]

    facts = graph["machine"]
    disk = facts["disk"].partition(",")[0]
    captions = [
        (
            f"Sluiceway commit {facts['commit']}; Starlette {facts['starlette']}, uvicorn "
            f"{facts['uvicorn']}; {graph['day']}"
        ),
        (
            f"{facts['cpu']}, {facts['memory']}, {facts['kernel']}, {disk}; every stored byte was "
            "read back and compared"
        ),
    ]
    panels = [
        Panel("Resident memory of the server, MiB", lines(1, MIB)),
        Panel("Temporary files besides the destination, GiB", lines(2, GIB)),
    ]
    title = f"One form upload of {graph['size'] / GIB:g} GiB to disk"
    return chart(title, panels, "seconds since the upload began", captions)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/memory_graph.py", description=__doc__)
    parser.add_argument(
        "--mib", type=int, default=10240, help="size of the upload in MiB, sent in ten pieces"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "out" / "memory.json")
    parser.add_argument("--svg", type=Path, default=ROOT / "docs" / "memory.svg")
    parser.add_argument("--work", type=Path, default=ROOT / "bench" / "out" / "work")
    parser.add_argument(
        "--draw", type=Path, metavar="FILE.json", help="draw an earlier measurement"
    )
    asked = parser.parse_args(given)
    if asked.draw is not None:
        graph = json.loads(asked.draw.read_text())
    else:
        asked.work.mkdir(parents=True, exist_ok=True)
        work = asked.work.resolve()
        binaries = make_environment(ROOT, print)
        bench = Bench(work, binaries, max(1, asked.mib // PIECES) * MIB, 1, print)
        graph = {
            "machine": describe(ROOT, work, binaries), "day": time.strftime("%Y-%m-%d"),
            "size": bench.size * PIECES,
            "series": [],
        }  # fmt: skip
        try:
            for contender, name in (
                (OURS_FORM_SHA, "Sluiceway"),
                (FORMS[0], "Starlette request.form()"),
            ):
                graph["series"].append(measure(bench, contender, name))
        except Failed as error:
            print(f"not drawn: {error}")
            return 1
        finally:
            shutil.rmtree(work, ignore_errors=True)
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(graph) + "\n")
    asked.svg.parent.mkdir(parents=True, exist_ok=True)
    asked.svg.write_text(draw(graph))
    print(f"drawn: {asked.svg}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
