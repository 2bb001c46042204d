"""What `--to` and the settings beside it name: one store, or several behind a fan-out.

Nothing is connected or written here. A folder is made when its store is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.spooling import spool_bytes
from sluiceway.server.state.worker_files import WORKER
from sluiceway.stores.contract import CompositeStore, SignedUrls, Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.disk.tree import PRIVATE
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.keys.locks import LOCK_TIMEOUT, KeyLocks
from sluiceway.stores.keys.machine_locks import FEW_SLOTS, MachineLocks
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.registry import open_root, place_identity, split_place
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.urls import is_place, is_url, joined, origin, redact_url

if TYPE_CHECKING:
    from sluiceway.stores.relay.backend import Backend
    from sluiceway.stores.relay.store import RelayStore

__all__ = [
    "destination_folders",
    "destination_identity",
    "display_name",
    "open_destination",
    "open_undo_locks",
    "sends_on",
]

LOCKS = "locks"  # the folder of the locks of keys
UNDO = "undo"  # in it: of publishes that may be undone, which may hold one of the others as well
_KIND = re.compile(r"(required|best-effort):(.+)")
_SCHEME_ALONE = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_EXAMPLES = {  # by scheme: what stands behind it
    "http": "http://HOST/PATH",
    "https": "https://HOST/PATH",
    "s3": "s3://BUCKET/PREFIX",
    "gs": "gs://BUCKET/PREFIX",
    "az": "az://CONTAINER/PREFIX",
    "postgres": "postgresql://USER:PASSWORD@HOST/DATABASE?table=files",
    "sqlite": "sqlite:///FILE.db?table=files",
    "postgresql": "postgresql://USER:PASSWORD@HOST/DATABASE?table=files",
}
_FSSPEC_EXAMPLE = "fsspec+PROTOCOL://USER@HOST/FOLDER"
_HEADER = re.compile(  # RFC 9110 5.5
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)"
)
# Headers that this server writes itself for each request
_FRAMING = frozenset(
    ["connection", "content-length", "content-type", "expect", "host", "te", "transfer-encoding"]
)


def open_destination(settings: Settings, budget: Budget) -> Store:
    """The store, or a fan-out of all.

    Raises BadSetting for a place that this version cannot use, or that is named twice, and OSError
    for a folder that cannot be made.
    """
    places = [_split_kind(text) for text in settings.to]
    if not any(required for required, _ in places):
        raise BadSetting(
            "--to names best-effort places only; at least one must be required: its result decides "
            "the response"
        )
    identities = [_identity(place, settings) for _, place in places]
    for number, (_, place) in enumerate(places):
        if identities[number] in identities[:number]:
            raise BadSetting(f"--to names {redact_url(place)} twice; name each place once")
    destinations = [
        Destination(
            _store(place, settings, budget),
            required,
            redact_url(place),
            redact_url(place) if settings.relay_show_backend else _public_name(place, number),
        )
        for number, (required, place) in enumerate(places, 1)
    ]
    store = destinations[0].store
    if len(places) > 1:
        required = [each.store for each in destinations if each.required]
        store = FanoutStore(destinations, budget, _lock_folder(settings, required))
    if settings.redirect_downloads and not isinstance(store, SignedUrls):
        raise BadSetting(
            "--redirect-downloads needs one --to that is a bucket: no other place signs URLs"
        )
    if settings.lifetimes is not None:
        _check_keeps_times(settings, store)
    return store


def open_undo_locks(settings: Settings, store: Store) -> KeyLocks:
    """For the publishes of forms, and of an app that may refuse them: as `UploadService` has it."""
    stores = store.required_stores if isinstance(store, CompositeStore) else [store]
    if (folder := _lock_folder(settings, stores)) is None:
        return KeyLocks(LOCK_TIMEOUT)
    return MachineLocks(os.path.join(folder, UNDO), FEW_SLOTS)


def _lock_folder(settings: Settings, required: Sequence[Store]) -> str | None:
    """Where the processes that send to these destinations lock keys; None: each for itself.

    All processes of a machine meet in a folder that gets the files, or in --state; else the workers
    of one server do.
    """
    if not HAS_LOCKS:
        return None
    for store in required:
        if isinstance(store, DiskStore):
            return os.path.join(store.root, PRIVATE, LOCKS)
    name = hashlib.sha256(destination_identity(settings).encode()).hexdigest()[:32]
    if settings.state is not None:
        return os.path.join(os.path.realpath(settings.state), name, LOCKS)
    worker = os.environ.get(WORKER)
    return None if worker is None else os.path.join(os.path.dirname(worker), LOCKS, name)


def _check_keeps_times(settings: Settings, store: Store) -> None:
    """Raises BadSetting where a file's times could be kept beside one copy of it only."""
    stores = store.required_stores if isinstance(store, CompositeStore) else [store]
    if not all(each.traits.readable for each in stores):
        raise BadSetting(
            "--expire, --retain and --max-downloads need places that keep files here: what is sent "
            "on to another server is that server's to delete"
        )
    if settings.max_downloads is None:
        return
    if not all(each.traits.lists_metadata for each in stores):
        raise BadSetting(
            "--max-downloads needs a place whose listing tells the metadata of files: a folder or "
            "a database, and no bucket"
        )
    if settings.redirect_downloads:
        raise BadSetting("--max-downloads cannot count what --redirect-downloads sends elsewhere")


def destination_identity(settings: Settings) -> str:
    """The same text for all spellings of the same destinations. It may hold passwords."""
    return "\n".join(_identity(place, settings) for _, place in map(_split_kind, settings.to))


def display_name(settings: Settings) -> str:
    """The destinations for people, without passwords."""
    return " and ".join(
        f"{'' if required else 'best-effort '}{redact_url(place)}"
        for required, place in map(_split_kind, settings.to)
    )


def sends_on(settings: Settings) -> bool:
    """Whether another HTTP server gets the files."""
    places = [place.lower() for _, place in map(_split_kind, settings.to)]
    return any(place.startswith(("http://", "https://")) for place in places)


def destination_folders(settings: Settings) -> list[Path]:
    """The destinations that are folders of this machine, resolved."""
    places = [place for _, place in map(_split_kind, settings.to)]
    return [
        Path(os.path.realpath(place))
        for place in places
        if "://" not in place and not place.startswith("memory:")
    ]


def _split_kind(text: str) -> tuple[bool, str]:
    """Whether the place is required, and the place."""
    kind = _KIND.fullmatch(text)
    return (True, text) if kind is None else (kind[1] == "required", kind[2])


def _public_name(place: str, number: int) -> str:
    """What clients learn of one of several: its kind, and its number as --to has it."""
    scheme = place.partition("://")[0].lower() if "://" in place else ""
    kinds = {"http": "server", "https": "server", "s3": "bucket", "gs": "bucket", "az": "bucket"}
    kinds |= {"postgresql": "database", "postgres": "database", "sqlite": "database", "": "folder"}
    return f"{kinds.get(scheme, 'place')} {number}"


def _identity(place: str, settings: Settings) -> str:
    """The same text for two spellings of one place."""
    if is_url(place):
        return _backend(place, settings).url.address.url.rstrip("/")
    if is_place(place):
        return place_identity(place)
    return place if place.startswith("memory:") else os.path.realpath(place)


def _store(place: str, settings: Settings, budget: Budget) -> Store:
    scheme, colon, _ = place.partition(":")
    if is_url(place):
        # late: a server that keeps its files loads no HTTP client
        from sluiceway.stores.relay.store import RelayStore

        relay = RelayStore(_backend(place, settings), budget)
        return relay if settings.relay_spool is None else _spooled(relay, settings, budget)
    if scheme == "memory" and colon:
        return MemoryStore()
    if is_place(place):
        options = dict(_name_and_value(text, "--store-option") for text in settings.store_option)
        if settings.ca_file is not None and place.lower().startswith(("s3:", "gs:", "az:")):
            options = {"ca_file": settings.ca_file, **options}
        return _open_place(place, budget, options)
    if "://" in place:  # the rest of it may hold a password
        raise BadSetting(
            f"--to {scheme}://…: this version knows folders, and URLs that begin with http(s)://, "
            "s3://, gs://, az://, postgresql://, sqlite:/// or fsspec+PROTOCOL://"
        )
    return DiskStore(place, budget)


def _spooled(relay: RelayStore, settings: Settings, budget: Budget) -> Store:
    """Each destination has a spool of its own: what waits for one never goes to another."""
    from sluiceway.stores.relay.spool.rules import SpoolRules
    from sluiceway.stores.relay.spool.store import SpoolStore

    name = hashlib.sha256(destination_identity(settings).encode()).hexdigest()[:16]
    root = os.path.join(os.path.realpath(settings.relay_spool or ""), name)
    rules = SpoolRules(
        spool_bytes(settings),
        settings.relay_spool_wait,
        settings.relay_spool_for,
        settings.relay_idempotent,
    )
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        files = DiskStore(root, budget)
        return SpoolStore(relay, files, root, os.path.join(root, PRIVATE, "spool"), rules)
    except OSError as error:
        raise BadSetting(
            f"--relay-spool {settings.relay_spool} cannot be used: {error.strerror}; give a folder "
            "that this user can create and write to"
        ) from None


def _open_place(place: str, budget: Budget, options: Mapping[str, str]) -> Store:
    _check_not_bare(place)
    try:
        if place.lower().startswith(("postgres", "sqlite")) and split_place(place)[0]:
            raise BadSetting(
                f"--to {redact_url(place)} names a key; a server takes the whole database table, "
                "?table=NAME"
            )
        return open_root(place, budget, options)
    except BadRequest as error:
        raise _bad_place(place, error) from None


def _check_not_bare(place: str) -> None:
    """Raises BadSetting for a scheme with nothing behind it."""
    bare = _SCHEME_ALONE.fullmatch(place)
    if bare is not None:
        example = _EXAMPLES.get(bare[1].lower(), _FSSPEC_EXAMPLE)
        raise BadSetting(f"--to {place} names no place; give {example}")


def _bad_place(place: str, error: BadRequest) -> BadSetting:
    """Most errors name the place already."""
    shown = redact_url(place)
    detail = error.detail.removeprefix(f"{shown}: ")
    return BadSetting(f"--to {detail if detail.startswith(shown) else f'{shown}: {detail}'}")


def _backend(place: str, settings: Settings) -> Backend:
    from sluiceway.client.http.exchange import Deadlines
    from sluiceway.stores.relay.backend import Backend
    from sluiceway.stores.relay.url_template import RelayUrl

    _check_not_bare(place)
    try:
        url = RelayUrl(place, settings.relay_url)
    except BadRequest as error:
        raise _bad_place(place, error) from None
    headers = dict(_header(text) for text in settings.relay_header)
    if url.address.authorization is not None:
        headers.setdefault("authorization", url.address.authorization)
    method = settings.relay_method
    if method is not None and not re.fullmatch(r"[A-Z]{1,20}", method):
        raise BadSetting(
            f"--relay-method must be a method such as POST, PUT or PATCH, not {method!r}"
        )
    return Backend(
        url=url,
        method=method,
        body="form" if settings.relay_form is not None else settings.relay_body,
        form_field=settings.relay_form,
        fields=tuple(_name_and_value(text, "--relay-field") for text in settings.relay_field),
        headers=headers,
        answer_headers=frozenset(_answer_header(name) for name in settings.relay_answer_header),
        expect=settings.relay_expect,
        chunked=settings.relay_chunked,
        deadlines=Deadlines(
            settings.relay_connect_timeout,
            settings.relay_idle_timeout,
            settings.relay_answer_timeout,
        ),
        trust=_trust(settings, url.address.url),
        pause=_pause(settings),
        # Several destinations take every piece together, or none: one of them may keep whole files.
        resume=settings.relay_resume if len(settings.to) == 1 else "off",
        keyed=settings.relay_spool is not None,
        show=settings.relay_show_backend,
        health=_health_url(settings.relay_health, url.address.url),
    )


def _pause(settings: Settings) -> float:
    """An upload goes on in the process that has its connection; of several, chance would decide."""
    alone = len(settings.to) == 1 and settings.workers == 1
    return settings.relay_pause if alone else 0.0


def _health_url(path: str | None, to: str) -> str | None:
    if path is None:
        return None
    try:
        return joined(to, path)
    except BadRequest as error:
        raise BadSetting(f"--relay-health: {error.detail}") from None


def _trust(settings: Settings, url: str) -> Trust:
    trust = Trust(settings.ca_file, settings.client_cert, (origin(url),))
    try:
        trust.contexts()
    except BadRequest as error:
        raise BadSetting(f"--ca-file or --client-cert: {error.detail}") from None
    return trust


def _answer_header(name: str) -> str:
    from sluiceway.stores.relay.response import NEVER

    if not TOKEN.fullmatch(name):
        raise BadSetting(
            f"--relay-answer-header must be the name of a header, such as X-Book-Id, not {name!r}"
        )
    if name.lower() in NEVER:
        raise BadSetting(
            f"--relay-answer-header {name}: that header is for one connection only; leave it out"
        )
    return name.lower()


def _header(text: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(text)
    if found is None:  # the text may hold a secret
        raise BadSetting("--relay-header is written as 'NAME: VALUE'")
    if found[1].lower() in _FRAMING:
        raise BadSetting(
            f"--relay-header {found[1]}: this server writes that header itself; leave it out"
        )
    return found[1].lower(), found[2].rstrip(" \t")


def _name_and_value(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadSetting(f"{option} is written as NAME=VALUE")
    return name, value
