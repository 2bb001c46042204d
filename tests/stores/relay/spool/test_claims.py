"""The bound of a spool: claims of all processes together, and none that outlives its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluiceway.errors import NoSpace
from sluiceway.stores.relay.spool import claims as module
from sluiceway.stores.relay.spool.claims import SpoolClaims

MOST = 1000


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[SpoolClaims]:
    claims = SpoolClaims(str(tmp_path), MOST, lambda: 0)
    yield claims
    claims.close()


def test_claims_are_bounded(
    claims: SpoolClaims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, of this process and of others, and in number where they outlive a process."""
    claims.take("a", 600, lasts=False)
    with pytest.raises(NoSpace):
        claims.take("b", 401, lasts=True)
    claims.take("b", 400, lasts=True)
    other = SpoolClaims(str(tmp_path), MOST, lambda: 0)
    with pytest.raises(NoSpace):
        other.take("c", 1, lasts=False)
    claims.release("a")
    other.take("c", 600, lasts=False)
    other.close()
    claims.take("d", 600, lasts=False)  # what a process claimed that ended does not count
    claims.release("d")

    monkeypatch.setattr(module, "MOST_SPOOLED", 1)
    claims.take("b", 500, lasts=True)  # the same one, larger
    with pytest.raises(NoSpace):
        claims.take("e", 1, lasts=True)
    claims.release("b")
    claims.take("e", MOST, lasts=True)


def test_what_was_given_up_counts(tmp_path: Path) -> None:
    """Files that wait for their operator are in the folder, too."""
    claims = SpoolClaims(str(tmp_path), MOST, lambda: 700)
    with pytest.raises(NoSpace):
        claims.take("a", 301, lasts=False)
    claims.take("a", 300, lasts=False)
    claims.close()
