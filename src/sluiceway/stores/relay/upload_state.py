"""What the ledger keeps of an upload at a backend that takes pieces. No client ever sees it.

Text only. The last byte that was kept stands here, not at the backend: an upload of tus is complete
with its last byte, and its file is checked before.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from sluiceway.client.resumable.dialects import DIALECTS

__all__ = ["MOST_URL", "UploadState", "is_at_backend"]

MOST_URL = 2048  # characters of an upload's URL; each change of the ledger's row writes it again


@dataclass(frozen=True, slots=True)
class UploadState:
    """One upload.

    Args:
        protocol: "tus" or "ietf".
        url: Where it goes on.
        declares: Whether the backend learns the length with the last bytes.
        most: Bytes of one append.
        checksum: The algorithm of tus for the bytes of one append; "" for none.
        filename: The file's.
        type: Its media type.
        tail: The last byte that was kept, once there is one.
        unchecked: Whether bytes behind those that were kept may have been wrong.
    """

    protocol: str
    url: str
    declares: bool
    most: int
    checksum: str = ""
    filename: str = ""
    type: str = ""
    tail: bytes = b""
    unchecked: bool = False

    def write(self) -> str:
        values = {**asdict(self), "tail": base64.b64encode(self.tail).decode()}
        return json.dumps(values)

    @classmethod
    def read(cls, text: str) -> UploadState | None:
        """None for a text that `write` did not make."""
        try:
            values: dict[str, Any] = json.loads(text)
            state = cls(**{**values, "tail": base64.b64decode(values["tail"])})
        except (ValueError, TypeError, KeyError):
            return None
        return state if state.protocol in DIALECTS else None


def is_at_backend(text: str) -> bool:
    """Whether a draft that was saved so is an upload at the backend, not a request held open."""
    return text.startswith("{")
