"""Copies one object, or the files of a folder in order. The first failure ends the copy.

Retries are the target's own, so a stream that can be read only once is sent as far as it goes.
Knows only CopySource and CopyTarget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading, is_large
from sluiceway.errors import BadRequest, SluiceError, SourceFailed
from sluiceway.pipe.hashes import DEFAULT_CHOICE, DigestChoice
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt
from sluiceway.pipe.stages import QUEUE, Stages
from sluiceway.pipe.wrapped import throttled

__all__ = ["copy_in_order"]


async def copy_in_order(
    source: CopySource,
    target: CopyTarget,
    *,
    folder: bool = False,
    force: bool = False,
    rate: int | None = None,
    digests: DigestChoice = DEFAULT_CHOICE,
    on_progress: OnProgress | None = None,
    one_piece: str = "",
) -> Receipt:
    """The receipt of the one object; of a `folder`, the sum over its files with one `part` each.

    `one_piece` is why objects go in one piece although parts were asked for, said of the first.

    Raises what source and target raise; for a folder with the file as `members["source"]` and the
    number of files before it as `members["sent"]`.
    """

    left = [one_piece] if one_piece and on_progress is not None else []

    def prepare(reading: Reading) -> Reading:
        if left and on_progress is not None and is_large(reading.source):
            note = f"it goes in one piece: {left.pop()}"
            on_progress(Progress(reading.label, "resuming", 0, reading.source.length, note))
        source = throttled(reading.source, rate)
        return replace(reading, source=source, digests=digests, on_progress=on_progress)

    stages, receipts = Stages(), list[Receipt]()
    items = source.items()
    try:
        async for item in items:
            path = f"{source.display_name.rstrip('/')}/{item.key}" if folder else item.key
            if item.omitted is not None:
                if on_progress is not None:
                    on_progress(Progress(path, "left-out", 0, None, item.omitted.detail))
                continue
            try:
                receipts.append(await _copy(source, target, item, force, prepare))
            except SluiceError as error:
                if folder:
                    error.members |= {"source": path, "sent": len(receipts)}
                raise
    finally:
        await close_stream(items)
    if folder:
        return _sum(source, target, receipts, stages)
    if not receipts:
        raise BadRequest(f"{source.display_name} has nothing to copy")
    return receipts[0]


async def _copy(
    source: CopySource,
    target: CopyTarget,
    item: CopyItem,
    force: bool,
    prepare: Callable[[Reading], Reading],
) -> Receipt:
    async with source.open(item) as reading:
        return await target.put(reading.item.key, prepare(reading), "", force)


def _sum(
    source: CopySource, target: CopyTarget, receipts: list[Receipt], stages: Stages
) -> Receipt:
    if not receipts:
        raise SourceFailed(f"{source.display_name} holds no file")
    seconds = sum(stages.spent().values())
    spent = {QUEUE: 0.0}
    for receipt in receipts:
        spent |= {stage: spent.get(stage, 0.0) + took for stage, took in receipt.stages.items()}
    spent[QUEUE] += max(0.0, seconds - sum(spent.values()))  # between the files
    return Receipt(
        size=sum(receipt.size for receipt in receipts),
        digests=(),
        location=target.display_name,
        source=source.display_name,
        seconds=seconds,
        stages=spent,
        parts=tuple(receipts),
    )
