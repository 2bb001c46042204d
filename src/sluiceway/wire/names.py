"""Names from clients: what a file may be called, and what a key may be.

`clean_name` makes a safe last path segment of any text; `check_key` refuses an unsafe key and
changes nothing but the Unicode form. Both know the traps of every operating system, whichever one
runs here. Knows nothing of paths on this machine.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from sluiceway.errors import BadName

__all__ = [
    "MOST_KEY_BYTES",
    "MOST_MARKS",
    "MOST_NAME_BYTES",
    "MOST_SEGMENT_BYTES",
    "check_key",
    "clean_folders",
    "clean_name",
    "compose",
    "is_text",
    "leads_out",
    "numbered",
    "readable_line",
    "readable_name",
    "stays_inside",
    "unseen_in",
]

MOST_NAME_BYTES = 200  # file systems take 255; the rest is room for what stores append
MOST_SEGMENT_BYTES = 255  # NAME_MAX of ext4, XFS, APFS; NTFS counts UTF-16, never longer than UTF-8
MOST_KEY_BYTES = 1024  # S3's limit
# Of a key: each is a folder that is opened, made and synchronised; a listing opens all of them.
MOST_SEGMENTS = 32
# Characters at each end of a name that are read; composing makes one of two bytes of four at most.
MOST_LOOKED_AT = 512
# Longer than any known extension (".crdownload", ".sqlite3-journal"); anything longer is none.
MOST_EXTENSION_BYTES = 20
# Combining marks in a row, counted when all letters are taken apart (UAX #15, 13: stream-safe
# text). Python sorts the marks behind a letter by moving them one by one: 10,700 in a row took 0.18
# s. No language comes near this limit.
MOST_MARKS = 30

# C0, DEL, C1; line and paragraph separators; what turns "exe.gpj" into "jpg.exe" on a screen; the
# byte order mark.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')
# Windows opens the device for these with any extension and any trailing spaces; it also folds
# superscript digits.
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³]) *(?:[.:].*)?",
    re.IGNORECASE | re.DOTALL,
)
_DRIVE = re.compile(r"[A-Za-z]:")  # C:x is a path on Windows, beside another segment or alone
_EXTENSION = re.compile(r"(?:\.tar)?\.[^. ]{1,19}$")
# One that none of the rules below changes or refuses, as almost all are. It saves eight searches.
_PLAIN = re.compile(
    r"(?!(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9]) *(?:\.|\Z))"
    r"[A-Z0-9_-](?:[A-Z0-9._ -]{0,98}[A-Z0-9_-])?",
    re.ASCII | re.IGNORECASE,
)
_OWN = ".sluiceway"  # where a store keeps drafts and notes


def clean_name(raw: str) -> str:
    """Return a safe file name of at most MOST_NAME_BYTES bytes of UTF-8, in NFC. Never raises.

    The last segment after `/` and `\\` counts. Invisible characters are removed, characters that
    Windows forbids become `_`, a leading dot becomes `_` (no upload is born hidden), and a device
    name gets a `_` in front. A name with nothing left is "unnamed". Cleaning a clean name changes
    nothing.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    name = _UNSEEN.sub("", _SURROGATE.sub("\ufffd", raw)).replace("\\", "/").rpartition("/")[2]
    if len(name) > 2 * MOST_LOOKED_AT:
        name = name[:MOST_LOOKED_AT] + name[-MOST_LOOKED_AT:]
    name = compose(_drop_extra_marks(name))
    name = _NOT_ON_WINDOWS.sub("_", name).lstrip(" ").rstrip(" .")
    if not name:
        return "unnamed"
    if name.startswith("."):
        name = "_" + name[1:]
    if _DEVICE.fullmatch(name):
        name = "_" + name
    return _shorten(name)


def clean_folders(raw: str) -> str:
    """Return the folders in front of a name, each cleaned: `album/a/` of `album/a/README`.

    Browsers send such names for a chosen folder. An absolute path, one of Windows, or one that
    climbs gives "": only its last segment means something then, as `clean_name` reads it. Never
    raises.
    """
    *folders, name = raw.split("/")
    if not folders or "\\" in raw or len(folders) >= MOST_SEGMENTS or _DRIVE.match(raw):
        return ""
    # An empty segment, `.` and `..`, and what Windows takes for them.
    if any(not part.strip(" .") for part in (*folders, name)):
        return ""
    return "".join(f"{clean_name(folder)}/" for folder in folders)


def check_key(key: str, max_bytes: int = MOST_KEY_BYTES) -> str:
    """Return the key in NFC: macOS types NFD, and both spellings name one object.

    Raises BadName, which says what is wrong. Segments stand between `/`. None may be empty, `.`,
    `..`, a device name, longer than MOST_SEGMENT_BYTES, begin with a drive or with `.sluiceway`, or
    end in a dot or space. Other leading dots are allowed: a key is written on purpose, a file name
    happens.
    """
    if len(key) <= max_bytes and _PLAIN.fullmatch(key):
        return key
    if not key:
        raise BadName("The key has an empty segment and no other; name the file, as in /files/NAME")
    if _SURROGATE.search(key):
        raise BadName("The key is not well-formed Unicode; encode it as UTF-8")
    if _UNSEEN.search(key) or "\\" in key:
        raise BadName(
            "The key holds a backslash or an invisible character;"
            " use plain text and / between segments"
        )
    if len(key) > 4 * max_bytes:  # composing makes one character of four at most
        raise _too_long(max_bytes)
    if _has_extra_marks(key):
        raise BadName(
            f"The key has more than {MOST_MARKS} accents or other marks on one letter;"
            " leave some out"
        )
    key = compose(key)
    if len(key.encode()) > max_bytes:
        raise _too_long(max_bytes)
    segments = key.split("/")
    if len(segments) > MOST_SEGMENTS:
        raise BadName(
            f"The key has more than {MOST_SEGMENTS} segments between /; use fewer folders",
            limit=MOST_SEGMENTS,
        )
    for segment in segments:
        _check_segment(segment)
    return key


def compose(text: str) -> str:
    """Return the text in Unicode's composed form (NFC), in time that grows with its length.

    A text with more than MOST_MARKS marks in a row is returned as it is: no name here has so many.
    """
    return text if _has_extra_marks(text) else unicodedata.normalize("NFC", text)


def numbered(key: str, number: int) -> str:
    """Return the key with a number at its name: `a/b (2).tar.gz` of `a/b.tar.gz`."""
    folders, slash, name = key.rpartition("/")
    found = _EXTENSION.search(name)
    at = found.start() if found is not None and found.start() > 0 else len(name)
    return f"{folders}{slash}{name[:at]} ({number}){name[at:]}"


def readable_line(text: str) -> str:
    """Return the text on one line, of any length: invisible characters become escapes. For logs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def readable_name(name: str) -> str:
    """Return the name on one line, cut, with escapes. For people; it opens nothing."""
    return readable_line(name[:MOST_KEY_BYTES])


def is_text(name: str) -> bool:
    """Whether it has a spelling in UTF-8: file systems hold names that are only bytes."""
    return _SURROGATE.search(name) is None


def stays_inside(key: str) -> bool:
    """Whether a key may be looked up.

    Laxer than `check_key`: other programs put files there whose names are refused here.
    """
    segments = key.split("/")
    unsafe = "\0" in key or _SURROGATE.search(key) or _is_own(segments[0])
    return not unsafe and not any(segment in ("", ".", "..") for segment in segments)


def leads_out(name: str) -> str | None:
    """Return why a name must not stand in an archive or be taken from one; None when it may.

    It holds for every system that unpacks the archive. Laxer than `check_key`, because archives are
    full of names that only some systems refuse: `aux.c` is in every Linux kernel.
    """
    if _SURROGATE.search(name):
        return "its name is not well-formed UTF-8"
    if "\\" in name or _UNSEEN.search(name):
        return "its name holds a backslash or an invisible character"
    if _DRIVE.match(name) or name.startswith("/"):
        return "its name is absolute"
    if not stays_inside(name):
        return "its name has an empty segment, a segment . or .., or belongs to the server"
    return None


def unseen_in(name: str) -> str | None:
    """Return the first character that is invisible or steers a terminal; None when there is
    none."""
    found = _UNSEEN.search(name)
    return None if found is None else found[0]


def _too_long(max_bytes: int) -> BadName:
    return BadName(
        f"The key is longer than {max_bytes} bytes of UTF-8; shorten it", limit=max_bytes
    )


def _check_segment(segment: str) -> None:
    if _PLAIN.fullmatch(segment):
        return
    if not segment:
        raise BadName(
            "The key has an empty segment; write it without a leading, trailing or double /"
        )
    if segment in (".", ".."):
        raise BadName("The key has a segment . or ..; write the key without them")
    if segment[-1] in " .":
        raise BadName(
            "A segment of the key ends in a dot or space, which Windows would drop;"
            " end it in another character"
        )
    if _DRIVE.match(segment):
        raise BadName(
            "A segment of the key begins like a Windows drive (C:);"
            " no archive with it could be unpacked safely"
        )
    if _DEVICE.fullmatch(segment):
        raise BadName(
            "A segment of the key is the name of a Windows device (CON, NUL, COM1 …);"
            " choose another"
        )
    if len(segment.encode()) > MOST_SEGMENT_BYTES:
        raise BadName(
            f"A segment of the key is longer than {MOST_SEGMENT_BYTES} bytes",
            limit=MOST_SEGMENT_BYTES,
        )
    if _is_own(segment):
        raise BadName(f"Names that begin with {_OWN} belong to the server; choose another")


def _is_own(segment: str) -> bool:
    """Some file systems ignore case, some also invisible format characters."""
    visible = segment
    if not segment.isascii():  # no format character is
        visible = "".join(c for c in segment if unicodedata.category(c) != "Cf")
    return visible.casefold().startswith(_OWN)


def _escape(symbol: str) -> str:
    return symbol.encode("unicode_escape").decode()


def _shorten(name: str) -> str:
    if len(name.encode()) <= MOST_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = (dot + extension).encode()
    if not stem or len(tail) > MOST_EXTENSION_BYTES:
        stem, tail = name, b""
    cut = stem.encode()[: MOST_NAME_BYTES - len(tail)].decode(errors="ignore")
    return cut.rstrip(" .") + tail.decode()


def _has_extra_marks(text: str) -> bool:
    """Whether more than MOST_MARKS marks stand in a row."""
    return len(_drop_extra_marks(text)) != len(text)


def _drop_extra_marks(text: str) -> str:
    """Return the text without the marks beyond MOST_MARKS in a row."""
    if text.isascii():
        return text
    kept: list[str] = []
    run = 0
    for symbol in text:
        if symbol < "\x80":
            run = 0
        else:
            marks, goes_on = _marks(symbol)
            if goes_on and run + marks > MOST_MARKS:
                continue
            run = marks + (run if goes_on else 0)
        kept.append(symbol)
    return "".join(kept)


@lru_cache(4096)
def _marks(symbol: str) -> tuple[int, bool]:
    """Return how many marks it ends in when it is taken apart, and whether it has nothing else."""
    marks = [unicodedata.combining(part) != 0 for part in unicodedata.normalize("NFD", symbol)]
    return (len(marks), True) if all(marks) else (marks[::-1].index(False), False)
