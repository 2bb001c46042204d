"""A commit hook: the subject has at most 72 characters, and an empty line follows it."""

from __future__ import annotations

import sys
from pathlib import Path

MOST = 72  # characters: what `git log --oneline` shows in 80 columns

subject, *rest = Path(sys.argv[1]).read_text("utf-8").splitlines() or [""]
if not subject.strip():
    sys.exit("the commit has no subject")
if len(subject) > MOST and not subject.startswith(("fixup!", "squash!", "Merge ", "Revert ")):
    sys.exit(f"the subject has {len(subject)} characters, of {MOST}: {subject}")
if rest and rest[0].strip() and not rest[0].startswith("#"):
    sys.exit("an empty line separates the subject from the text")
