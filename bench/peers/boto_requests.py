"""A usual script for a restore from S3 to an API.

Boto3 lists and reads, requests sends, in a pool of threads.

boto_requests.py ENDPOINT BUCKET PREFIX URL JOBS
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from urllib.parse import quote

import boto3
import requests
from botocore.config import Config

endpoint, bucket, prefix, url, jobs = sys.argv[1:]
config = Config(s3={"addressing_style": "path"}, max_pool_connections=int(jobs))
client = boto3.client("s3", endpoint_url=endpoint, config=config)
mine = threading.local()


def restore(key: str) -> None:
    if not hasattr(mine, "session"):
        mine.session = requests.Session()
    body = client.get_object(Bucket=bucket, Key=key)["Body"]
    mine.session.put(
        url + quote(key.removeprefix(prefix)), data=body.iter_chunks(1 << 20), timeout=60
    ).raise_for_status()


pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
with ThreadPoolExecutor(int(jobs)) as pool:
    under_way = [
        pool.submit(restore, one["Key"]) for page in pages for one in page.get("Contents", ())
    ]
    for done in as_completed(under_way):
        done.result()
