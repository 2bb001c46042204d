"""The settings as typed keyword arguments, for editors and type checkers.

`Sluiceway(…)`, `mount(…)` and `@uploads` take them. There is one key for each field of `Settings`,
of the same name; a test compares the two. `Settings` checks the values and documents them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

__all__ = ["DestinationArguments", "Places", "SettingArguments", "as_places"]

Places = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]  # one value of --to, or several


def as_places(to: Places) -> tuple[str, ...]:
    """One place or several, as text."""
    places = [to] if isinstance(to, str | os.PathLike) else to
    return tuple(os.fspath(place) for place in places)


class DestinationArguments(TypedDict, total=False):
    """The settings that say where files go and how they are sent there, without `to`."""

    key_template: str
    max_size: str | int | None
    digest: str
    memory_budget: str | int
    relay_url: str | None
    relay_method: str | None
    relay_body: str
    relay_form: str | None
    relay_field: str | Sequence[str]
    relay_header: str | Sequence[str]
    relay_answer_header: str | Sequence[str]
    relay_show_backend: bool
    relay_health: str | None
    relay_expect: bool
    relay_chunked: bool
    relay_pause: float
    relay_resume: str
    relay_spool: str | None
    relay_spool_size: str | int
    relay_spool_wait: float
    relay_spool_for: float
    relay_idempotent: bool
    relay_connect_timeout: float
    relay_idle_timeout: float
    relay_answer_timeout: float


class SettingArguments(DestinationArguments, total=False):
    """All settings of the server but `to`. `docs/settings.md` describes each."""

    host: str
    port: int
    tls_cert: str | None
    tls_key: str | None
    token: str | None
    token_file: str | None
    link_key_file: str | None
    trust_user_header: str | None
    trusted_proxies: str | Sequence[str]
    user_rights: str
    user_prefix: str
    jwt_keys: str | None
    jwt_audience: str | Sequence[str]
    jwt_issuer: str | Sequence[str]
    jwt_header: str | None
    jwt_claim: str | Sequence[str]
    jwt_role: str | Sequence[str]
    jwt_algorithm: str | Sequence[str]
    jwt_leeway: float
    no_auth: bool
    quota: str | int | None
    keep_free: str | int | None
    allowed_host: str | Sequence[str]
    allow_origin: str | Sequence[str]
    min_rate: str | int
    max_parts: int
    max_field_size: str | int
    flatten: bool
    interim: str
    log_format: str
    metrics_port: str | int | None
    metrics_host: str
    workers: int
    shutdown_timeout: float
    replace: bool
    replace_timeout: float
    state: str | None
    ledger: str | None
    expire_after: float
    expire_fixed: bool
    forget_after: float
    expire: str | float | None
    max_downloads: str | int | None
    retain: str | float | None
    retain_most: str | float | None
    on_finish: str | None
    hook_secret: str | None
    hook_secret_file: str | None
    hook_timeout: float
    hook_failure: str
    event_source: str
    store_option: str | Sequence[str]
    redirect_downloads: float
    ca_file: str | None
    client_cert: str | None
    fetch_from: str | Sequence[str]
    fetch_internal: str | Sequence[str]
    page_title: str
    page_logo: str | None
    page_color: str | None
    page_style: str | None
    page_language: str | None
    page_connections: int
