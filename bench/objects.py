"""The rows of S3.

An upload from the network into a bucket, against boto3's and obstore's own upload of a local file.

All into one real server (OpenStack Swift), in turn; what ours stored is read back and hashed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

from bench.contenders import OURS_NONE
from bench.database import line_of, program
from bench.process import Failed, Server, free_port, serving
from bench.results import Result, Wanted, mib
from bench.rounds import Bench
from bench.stored import MIB, empty
from bench.table import RATE, compare
from bench.transfer import send

__all__ = ["BUCKET", "KEYS", "object_rows", "ours_into_s3"]

SIZE = 256 * MIB
BUCKET = "benched"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test:tester",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}
KEYS |= {"AWS_DEFAULT_REGION": "us-east-1"}  # boto3's older name for it
GOALS = {
    "boto3": ("boto3's upload_fileobj, a local file", 1.0),
    "obstore": ("obstore's put, a local file", 0.9),
}


def object_rows(bench: Bench, wanted: Wanted) -> Result:
    """Bytes a second of all three in each round."""
    size, result = min(SIZE, bench.size), Result()
    source, rates = bench.source(size), {who: list[float]() for who in ("ours", *GOALS)}
    place = bench.place()
    os.environ.update(KEYS)
    try:
        with (
            program(bench, "swift.py", str(place / "swift")) as swift,
            _peers(bench, endpoint := line_of(swift)) as peers,
            ours_into_s3(bench, endpoint, place / "ours") as server,
        ):
            for number in range(bench.rounds + 1):
                ours = send(server, replace(OURS_NONE, path="/files/{name}"), source, "upload")
                found = {"ours": ours.rate}
                for who, peer in peers.items():
                    print(source, file=peer.stdin, flush=True)
                    found[who] = size / float(line_of(peer))
                if number:  # the first warms up
                    for who, rate in found.items():
                        rates[who].append(rate)
                    per_peer = ", ".join(
                        f"{who} {rate / 1e6:.0f} MB/s" for who, rate in found.items()
                    )
                    bench.say(f"  round {number}: {per_peer}; our peak RSS {mib(ours.peak_rss)}")
                if number < bench.rounds:
                    gone = Request(f"http://127.0.0.1:{server.port}/files/upload", method="DELETE")
                    urlopen(gone, timeout=60).close()
            send(
                server,
                replace(OURS_NONE, how="get", method="GET", path="/files/{name}"),
                source,
                "upload",
                digest=True,
            )
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        result.failed.append(f"S3: {error}")
        bench.say(f"  FAILED: {error}")
        return result
    finally:
        empty(place)
    result.data = dict(rates)
    title = f"raw upload of {mib(size)} into S3, digest none"
    result.rows = [
        compare(title, rates["ours"], {words: rates[who]}, goal, RATE)
        for who, (words, goal) in GOALS.items()
    ]
    medians = (f"{who} {statistics.median(found) / 1e6:.0f} MB/s" for who, found in rates.items())
    bench.say(f"  medians: {', '.join(medians)}")
    return result


@contextmanager
def _peers(bench: Bench, endpoint: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    with (
        program(bench, "s3_puts.py", "boto3", endpoint, BUCKET) as first,
        program(bench, "s3_puts.py", "obstore", endpoint, BUCKET) as second,
    ):
        line_of(first), line_of(second)  # the bucket is there
        yield {"boto3": first, "obstore": second}


@contextmanager
def ours_into_s3(bench: Bench, endpoint: str, place: Path) -> Iterator[Server]:
    """Our server in front of the bucket."""
    place.mkdir(parents=True)
    port = free_port()
    options = [
        "--to",
        f"s3://{BUCKET}/ours",
        "--store-option",
        f"endpoint={endpoint}",
        "--digest",
        "none",
        "--port",
        str(port),
    ]
    with serving(
        [str(bench.binaries / "sluiceway"), "serve", *options], dict(KEYS), place, port
    ) as server:
        yield server
