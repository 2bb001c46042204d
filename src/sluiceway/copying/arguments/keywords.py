"""The keyword arguments of `copy` and `copy_all`, so that editors and type checkers know them.

Names and types only: `options` checks the values.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TypedDict

__all__ = ["CopyAllKeywords", "CopyKeywords", "FormFields", "SharedKeywords", "check_names"]

FormFields = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]]


class SharedKeywords(TypedDict, total=False):
    """Of `copy` and `copy_all`, which document them."""

    headers: Mapping[str, str] | None
    token: str | None
    from_headers: Mapping[str, str] | None
    from_token: str | None
    force: bool
    digest: str
    retries: int
    resume: bool
    parallel: int
    limit_rate: int | str | None
    timeout: float | None
    ca_file: str | None
    client_cert: str | None
    auth: str | None
    store_option: Mapping[str, str] | None


class CopyKeywords(SharedKeywords, total=False):
    """The keyword arguments of `copy` and `acopy`, which document them."""

    name: str | None
    type: str | None
    form: FormFields | None
    field: str | None
    size: int | str | None
    pack: str | None


class CopyAllKeywords(SharedKeywords, total=False):
    """The keyword arguments of `copy_all` and `acopy_all`, which document them."""

    jobs: int
    journal: str | os.PathLike[str] | None
    include: Iterable[str]
    exclude: Iterable[str]
    dry_run: bool
    preserve: bool
    unpack: str | None
    engine: str
    scheduler: str | None


def check_names(function: str, options: Mapping[str, object], keywords: type) -> None:
    """Raises TypeError for a name that is not an option, as Python does for written-out parameters.

    A type checker knows the names by `Unpack`; at run time Python takes every name.
    """
    for name in options:
        if name not in keywords.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
