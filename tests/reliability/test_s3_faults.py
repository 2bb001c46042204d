"""A failing S3 server: what can be cured is, part in hand and without the client; what cannot is said, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_taking import TORTURE, noise
from s3_faults import KINDS, Fault, S3Faults

TIMES = 20 if TORTURE else 5
AT_ONCE = 10
SMALL, LARGE = noise(100_000), noise((9 << 20) + 7, 5)  # one request; two parts
REQUESTS = [("put", SMALL), ("create", LARGE), ("part", LARGE), ("complete", LARGE)]
HOPELESS = {  # kind -> what the client hears when it never ends
    "refuse": {502},
    "reset": {502},
    "stall": {504},
    "500": {502},
    "slowdown": {503},
    "error-in-200": {502},
    "lost": {201},  # it was stored, and looking for it says so
    "slow": {201},
}


@pytest.fixture(scope="module")
def faults(s3: Objects) -> Iterator[S3Faults]:
    proxy = S3Faults(s3.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def bucket(s3: Objects) -> str:
    return s3.fresh()


@pytest.fixture(scope="module")
def server(
    s3: Objects, faults: S3Faults, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(
        tmp_path_factory.mktemp("faults") / "none",
        *("--store-option", "timeout=2", "--store-option", "attempts=4", "--memory-budget", "32MiB"),
        env={**s3.env, "AWS_ENDPOINT_URL": faults.url},
        to=s3.url(bucket, "f"),
    )  # fmt: skip
    yield running
    running.stop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_cured_or_said_and_leaves_nothing(
    s3: Objects, faults: S3Faults, bucket: str, server: RunningServer, kind: str
) -> None:
    """Each fault at each request of an upload, once or twice and for ever: whole or not there, and nothing is left over."""
    cases = []
    for number in range(TIMES):
        what, data = (
            ("complete", LARGE) if kind == "error-in-200" else REQUESTS[number % len(REQUESTS)]
        )
        hopeless = number % 5 == 4
        fault = Fault(kind, what, 99 if hopeless else 1 + number % 2, at=number * 1000)
        faults.script[f"{kind}-{number}"] = fault
        cases.append((f"{kind}-{number}", data, hopeless, fault))

    def put(case: tuple[str, bytes, bool, Fault]) -> int:
        return requests.put(f"{server.url}/files/{case[0]}", data=case[1], timeout=120).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(put, cases))

    for (key, data, hopeless, fault), status in zip(cases, answers, strict=True):
        assert fault.met, f"{key}: the fault never came"
        expected = HOPELESS[kind] if hopeless else {201}
        if hopeless and kind == "lost" and fault.what in ("create", "part"):
            expected = {
                502
            }  # nothing was made visible yet; an upload whose id nobody ever heard is swept below
        assert status in expected, f"{key}: {fault.what} {status}\n{server.log()[-2000:]}"
        if status == 201:
            assert s3.client.get_object(Bucket=bucket, Key=f"f/{key}")["Body"].read() == data
        else:
            assert f"f/{key}" not in s3.keys(bucket)
    told = subprocess.run(
        [sys.executable, "-m", "sluiceway", "sweep", s3.url(bucket, "f"), "--older-than", "0"],
        env={**os.environ, **s3.env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert s3.unfinished(bucket) == []
    assert [key for key in s3.keys(bucket) if "/.sluiceway/drafts/" in key] == []
