"""Fixture `s3`: a real S3 server, OpenStack Swift with s3api, one for a whole test run.

Each test has a bucket of its own.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.loaders import JSONFileLoader, Loader

from fix_services import WORKER, Services
from fix_taking import missing

__all__ = ["Objects", "s3"]

PROGRAM = Path(__file__).parent.parent / "bench" / "peers" / "swift.py"
PART = 5 << 20  # the server's smallest part
SETTINGS = ("AWS_", "HOME")  # environment variables that a session reads when it is made


@dataclass
class Objects:
    """A server. A process reaches it by `env`, or by store options: `options`."""

    endpoint: str
    client: Any
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count())

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "test:tester",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    @property
    def options(self) -> dict[str, str]:
        return {
            "access_key_id": "test:tester",
            "secret_access_key": "testing",
            "region": "us-east-1",
            "endpoint": self.endpoint,
        }

    def fresh(self) -> str:
        """A new bucket."""
        name = f"bucket-{WORKER}-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def url(self, bucket: str, prefix: str = "") -> str:
        return f"s3://{bucket}/{prefix}"

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found: list[str] = []
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix
        ):
            found += [one["Key"] for one in page.get("Contents", ())]
        return found

    def unfinished(self, bucket: str) -> list[str]:
        """Keys of multipart uploads that were neither completed nor aborted."""
        return [
            one["Key"]
            for one in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        ]


@pytest.fixture(scope="session", autouse=True)
def _parsed_once() -> Iterator[None]:
    """botocore looks through 900 folders, parses the same 2 MB of JSON and registers hundreds of
    handlers for each new session: here once for all stores with the same settings.
    """
    load, loader = JSONFileLoader.load_file, JSONFileLoader()
    look, finder = Loader.list_available_services, Loader()
    load_once = cache(lambda path: load(loader, path))
    look_once = cache(lambda kind: look(finder, kind))
    make = boto3.Session
    made: dict[str, boto3.Session] = {}

    def session(**arguments: str | None) -> boto3.Session:
        env = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
        key = repr((sorted(arguments.items()), sorted(env.items())))
        if key not in made:
            made[key] = make(**arguments)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "Session", session)
        patch.setattr(JSONFileLoader, "load_file", lambda self, path: load_once(path))
        patch.setattr(
            Loader, "list_available_services", lambda self, type_name: look_once(type_name)
        )
        yield


@pytest.fixture(scope="session")
def s3(services: Services) -> Iterator[Objects]:
    if importlib.util.find_spec("swift") is None:
        missing("the wheel with an S3 server is not installed")
    folder = services.folder("swift")
    command = [sys.executable, str(PROGRAM), str(folder), str(PART), "volatile"]
    endpoint = services.line_of("swift", command)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    yield Objects(endpoint, client)
    client.close()
