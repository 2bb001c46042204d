"""A download on its way to a file: `.NAME.part` beside the target and what is known of it in `.NAME.part.json`.

Nothing appears under the target's own name before `publish`. Links in the way are never followed. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TypeVar

from sluiceway.errors import Exists, Forbidden, NoSpace, NotFound, SluiceError, StoreFailed
from sluiceway.pipe.source import Buffer

__all__ = ["Known", "Part"]
