"""The rows of a Django ModelForm whose file goes to S3.

Our storage against a plain PUT to the same bucket, and against django-storages. One real server
(OpenStack Swift), in turn; temporary files and memory are the highest values during the transfer.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.contenders import GUNICORN, OURS_NONE, Contender
from bench.contenders import PEERS as PROGRAMS
from bench.database import line_of, program
from bench.objects import BUCKET, KEYS, ours_into_s3
from bench.process import Failed, Server, free_port, serving
from bench.results import Result, Wanted, mib
from bench.rounds import Bench, Sent
from bench.stored import empty
from bench.table import SECONDS, TIMES, Row, ratios, spread
from bench.transfer import send

__all__ = ["django_rows"]

GOAL = 1.15  # times the seconds of a plain PUT
FORM = Contender(
    "gunicorn + Django ModelForm, sluiceway.django.Storage",
    tuple("django_app:application" if word == "flask_app:app" else word for word in GUNICORN),
    "form", "/books", "parts as they come", fsync=False, method="POST", ours=True,
)  # fmt: skip
PUT = replace(OURS_NONE, name="sluiceway serve, a plain PUT", path="/files/{name}")
THEIRS = replace(FORM, name="the same site, django-storages", ours=False)


def django_rows(bench: Bench, wanted: Wanted) -> Result:
    """Seconds of all in each round, and what ours held meanwhile."""
    result, source = Result(), bench.source(bench.size)
    sent: dict[str, list[Sent]] = {one.name: [] for one in (FORM, PUT, *wanted((THEIRS,)))}
    place = bench.place()
    os.environ.update(KEYS)
    try:
        with ExitStack() as stack:
            swift = stack.enter_context(program(bench, "swift.py", str(place / "swift")))
            endpoint = line_of(swift)
            line_of(stack.enter_context(program(bench, "s3_puts.py", "boto3", endpoint, BUCKET)))
            put = stack.enter_context(ours_into_s3(bench, endpoint, place / "put"))
            servers = [(PUT, put)]
            for one in (FORM, *wanted((THEIRS,))):
                folder = place / ("ours" if one.ours else "theirs")
                server = stack.enter_context(_site(bench, one, endpoint, folder))
                servers.append((one, server))
            for number in range(bench.rounds + 1):  # the first warms up
                for one, server in servers:
                    found = send(server, one, source, f"{number}.bin", look=True)
                    if number:
                        sent[one.name].append(found)
                        bench.say(
                            f"  round {number}: {one.name}: {found.seconds:.2f} s, memory "
                            f"{mib(found.peak_rss)}, temporary files {mib(found.peak_temp or 0)}, "
                            f"CPU {found.server_cpu:.2f} s"
                        )
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"Django: {error}")
        bench.say(f"  FAILED: {error}")
        return result
    finally:
        empty(place)
    result.data = {name: [one.seconds for one in found] for name, found in sent.items()}
    result.rows = _rows(bench, sent)
    return result


def _rows(bench: Bench, sent: dict[str, list[Sent]]) -> list[Row]:
    title = f"ModelForm with a file of {mib(bench.size)} into S3"
    mine, rows = [one.seconds for one in sent[FORM.name]], list[Row]()
    for name, goal in ((PUT.name, GOAL), (THEIRS.name, None)):
        if name not in sent:
            continue
        theirs = [one.seconds for one in sent[name]]
        paired = ratios(mine, theirs)
        met = None if goal is None else statistics.median(paired) <= goal
        text = "reported" if goal is None else f"<= {goal:g}x"
        peer = f"{name}: {spread(theirs, SECONDS)}"
        rows.append(
            Row(f"{title}: time", spread(mine, SECONDS), peer, spread(paired, TIMES), text, met)
        )
    temp = {name: max(one.peak_temp or 0 for one in found) for name, found in sent.items()}
    memory = {name: max(one.peak_rss for one in found) for name, found in sent.items()}
    others = "; ".join(
        f"{name}: memory {mib(memory[name])}, temporary files {mib(temp[name])}"
        for name in sent
        if name != FORM.name
    )
    ours = f"memory {mib(memory[FORM.name])}, temporary files {mib(temp[FORM.name])}"
    met = temp[FORM.name] == 0
    return [*rows, Row(f"{title}: temporary files", ours, others, "-", "none", met)]


@contextmanager
def _site(bench: Bench, one: Contender, endpoint: str, place: Path) -> Iterator[Server]:
    place.mkdir(parents=True)
    port = free_port()
    words = [
        word.format(bin=bench.binaries, peers=PROGRAMS, port=port, place=place)
        for word in one.command
    ]
    env = {**KEYS, "AWS_ENDPOINT_URL": endpoint, "BENCH_BUCKET": BUCKET, "BENCH_PLACE": str(place)}
    env |= {"OURS": "1" if one.ours else "0", "PYTHONDONTWRITEBYTECODE": "1"}
    with serving(words, env, place, port) as server:
        yield server
