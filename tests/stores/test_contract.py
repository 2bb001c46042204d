"""A store is asked for its abilities by the names of their methods: these mean the same in each."""

from __future__ import annotations

import inspect

import pytest

from fix_server import Serve
from raw_http import head, talk
from sluiceway.stores import contract, monitored, unpublished
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import FanoutStore
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.relay.spool.store import SpoolStore
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.sqlite.store import SqliteStore

STORES = (
    DiskStore,
    FanoutStore,
    FsspecStore,
    MemoryStore,
    ObjectStore,
    PostgresStore,
    RelayStore,
    SpoolStore,
    SqliteStore,
)
ABILITIES = [
    found
    for module in (contract, monitored, unpublished)
    for found in vars(module).values()
    if getattr(found, "_is_protocol", False) and found.__module__ == module.__name__
]


@pytest.mark.parametrize("store", STORES)
def test_a_method_of_an_ability_can_be_called_as_the_ability_says(store: type) -> None:
    """`isinstance` compares names only: a method of that name for something else is a crash."""
    for ability in ABILITIES:
        names = [name for name in vars(ability) if not name.startswith("_")]
        if not all(hasattr(store, name) for name in names):
            continue
        for name in names:
            said, has = getattr(ability, name), getattr(store, name)
            if not inspect.isfunction(said) or not inspect.isfunction(has):
                continue
            given = [each.name for each in inspect.signature(said).parameters.values()]
            must = [
                each.name
                for each in inspect.signature(has).parameters.values()
                if each.default is each.empty and each.kind is not each.VAR_KEYWORD
            ]
            assert {*must} <= {*given}, f"{store.__name__}.{name} is not {ability.__name__}'s"


def test_memory_is_served(serve: Serve) -> None:
    server = serve(to="memory:")
    body = head("PUT", "/files/a", "Content-Length: 5") + b"hello"
    assert talk(server.port, body).status == 201
    assert talk(server.port, head("GET", "/readyz")).status == 200
    assert talk(server.port, head("GET", "/files/a")).body == b"hello"
