"""What is taken of a request to store a file, by what its sender may do.

Asked by every upload before its first byte: that of one request and that of several.
"""

from __future__ import annotations

import dataclasses

from sluiceway.errors import Exists, Forbidden, NotFound
from sluiceway.stores.contract import Replace, Store, UploadRequest
from sluiceway.uploads.access.grant import FULL, Grant, Right, owned
from sluiceway.uploads.access.link_uses import LinkUses

__all__ = ["admitted", "counting"]


def counting(uses: LinkUses | None) -> LinkUses:
    """Raises Forbidden where nothing can be counted: a link with a count brings nothing then."""
    if uses is None:
        raise Forbidden(
            "--state or --ledger is needed for a link with a count: there is nowhere to count"
        ).for_operator("This server takes no links with a count of files")
    return uses


async def admitted(
    grant: Grant,
    store: Store,
    request: UploadRequest,
    uses: LinkUses | None = None,
    *,
    is_small: bool = False,
) -> UploadRequest:
    """The request with its owner's name, and with no more replacing than the owner may do.

    Without the right to delete, a name replaces its own files only: what others stored stays. With
    `is_small` the draft may find out at its publish whose the file is: to look before costs more
    than to take the body in vain. Raises Forbidden, Exists.
    """
    if grant is FULL:
        return request
    grant.require(Right.UPLOAD)
    if grant.count is not None:
        await counting(uses).check(grant)
    grant.check_type(request.type)
    if grant.key and not request.key:
        request = dataclasses.replace(request, key=grant.key)
    if request.key:
        grant.check_new_key(request.key)
    replace = request.replace
    if replace.allowed and not grant.has(Right.DELETE) and store.traits.readable:
        if is_small and request.key and replace.etag is None and store.traits.compares_owner:
            # whoever has a link replaces nothing
            replace = Replace() if grant.link else Replace(True, owner=grant.owner)
        else:
            replace = await _replace_own(grant, store, request)
    return dataclasses.replace(request, user=owned(request.user, grant), replace=replace)


async def _replace_own(grant: Grant, store: Store, request: UploadRequest) -> Replace:
    if not request.key:
        raise Forbidden("Your token does not have the right to replace files; leave out ?conflict=")
    try:
        existing = await store.stat(request.key)
    except NotFound:
        # what another client stores meanwhile stays, too
        return Replace() if request.replace.etag is None else request.replace
    if not grant.may_replace(existing):
        raise Exists(f"There is already a file {request.key!r}; it was not touched")
    return request.replace if request.replace.etag else Replace(True, existing.etag)
