"""Both sides of a copy of many objects, open, and the rules for its objects.

The command's own process opens them, and so does each worker of a cluster. Lists and copies
nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from sluiceway.copying.contract import CopySource, CopyTarget
from sluiceway.copying.endpoints.preserved import copy_folders, with_attributes
from sluiceway.copying.object_copier import CopyRules
from sluiceway.copying.options import CopyOptions
from sluiceway.copying.overlap import journal_keys
from sluiceway.copying.sides import many_source, many_target, send_at_once, tar_source
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.wrapped import Throttle

__all__ = ["OpenedSides", "opened_sides"]

MEMORY = 32 << 20  # bytes that the stores of a copy of many objects may hold
MEMORY_EACH = 8 << 20  # more for each job: four blocks, or a part of a multipart upload
MEMORY_PARALLEL = 16 << 20  # more for each parallel part of each job


@dataclass(frozen=True, slots=True)
class OpenedSides:
    """Until the end of `opened_sides`."""

    source: CopySource
    target: CopyTarget
    rules: CopyRules


@asynccontextmanager
async def opened_sides(
    src: str | os.PathLike[str] | CopySource,
    dst: str | os.PathLike[str] | CopyTarget,
    options: CopyOptions,
    jobs: int,
) -> AsyncIterator[OpenedSides]:
    """`jobs`: objects that are copied at once. Raises BadRequest, SourceFailed."""
    own = await asyncio.to_thread(journal_keys, options.source, options.journal)
    kept = await asyncio.to_thread(journal_keys, options.target, options.journal)
    each = MEMORY_EACH if options.parallel == 1 else options.parallel * MEMORY_PARALLEL
    budget = Budget(MEMORY + jobs * each)
    async with AsyncExitStack() as stack:
        transport = None
        if options.reads is not None or options.writes is not None:
            transport = await stack.enter_async_context(
                options.network.transport(options.reads, options.writes)
            )
        source: CopySource
        if options.unpack is not None:
            source = await stack.enter_async_context(tar_source(options, transport))
        else:
            source = many_source(src, options, transport, budget, own)
        stack.push_async_callback(source.aclose)
        target = many_target(dst, options, transport, budget, kept)
        stack.push_async_callback(target.aclose)
        throttle = None if options.rate is None else Throttle(options.rate)
        rules = CopyRules(
            options.retry_policy,
            options.force,
            options.dry_run,
            throttle,
            options.digests,
            one_piece=send_at_once(options, target),
        )
        if options.preserve:
            rules = replace(
                rules,
                with_attributes=with_attributes,
                copy_folders=lambda: copy_folders(source, target),
            )
        yield OpenedSides(source, target, rules)
