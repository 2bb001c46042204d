"""The operator's name, logo, colour, style sheet and other choices for the page, checked and ready.

What an operator sets is text to the page, never HTML. A colour is moved towards black or white
until texts in it can be read (WCAG 2.2, 1.4.3), in the light and in the dark scheme.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from sluiceway.server.settings.guarded import BadSetting

__all__ = ["DEFAULT_TITLE", "Branding"]

DEFAULT_TITLE: Final = "Sluiceway"
LONGEST_TITLE: Final = 100  # characters
LARGEST_LOGO: Final = 1 << 20  # bytes; each visitor loads it
LARGEST_STYLE: Final = 1 << 18  # bytes
MOST_CONNECTIONS: Final = 4  # of the six of a browser; as drop-attributes.js has it

_LOGO_TYPES: Final = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
_HEX: Final = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_CONTRAST: Final = 4.5
_STEPS: Final = 50  # from the operator's colour to black or white

Rgb = tuple[int, int, int]
_WHITE: Final[Rgb] = (255, 255, 255)
_BLACK: Final[Rgb] = (0, 0, 0)
# --raised of page.css: of all grounds under texts it is nearest to them.
_LIGHT_GROUND: Final[Rgb] = (0xEE, 0xF3, 0xF5)
_DARK_GROUND: Final[Rgb] = (0x1E, 0x2B, 0x31)


@dataclass(frozen=True, slots=True)
class Branding:
    """How the page presents itself, besides its own look."""

    title: str = DEFAULT_TITLE
    logo: bytes | None = None
    logo_type: str = ""
    style: str = ""  # CSS after the page's own
    language: str | None = None
    connections: int = 0  # for one large file; 0: as many as are faster

    @classmethod
    def of(
        cls,
        title: str,
        logo: str | None = None,
        color: str | None = None,
        style: str | None = None,
        language: str | None = None,
        connections: int = 0,
    ) -> Self:
        """The values of the settings `page_…`; reads the files. Raises BadSetting."""
        image, kind = (None, "") if logo is None else _read_logo(logo)
        rules = "" if color is None else _color_rules(_rgb(color))
        if style is not None:
            rules += _read(style, "--page-style", LARGEST_STYLE).decode("utf-8", "replace")
        if not 0 <= connections <= MOST_CONNECTIONS:
            raise BadSetting(
                f"--page-connections must be 0 to {MOST_CONNECTIONS}, not {connections}"
            )
        checked = _checked_title(title), image, kind, rules, _checked_language(language)
        return cls(*checked, connections)

    def apply(self, page: str) -> str:
        """The page's HTML with this branding. Every value is escaped."""
        title = html.escape(self.title)
        page = page.replace(f"<title>{DEFAULT_TITLE}<", f"<title>{title}<")
        page = page.replace(f"<h1>{DEFAULT_TITLE}<", f"<h1><bdi>{title}</bdi><")
        if self.language is not None:
            page = page.replace("<html ", f'<html data-language="{self.language}" ', 1)
        if self.connections:
            page = page.replace("<html ", f'<html data-connections="{self.connections}" ', 1)
        if self.logo is not None:
            icon = 'href="page/icon.svg" type="image/svg+xml"'
            page = page.replace(icon, f'href="page/logo" type="{self.logo_type}"')
            page = page.replace('src="page/icon.svg"', 'src="page/logo"')
        if self.style:
            link = '<link rel="stylesheet" href="page/branding.css">\n</head>'
            page = page.replace("</head>", link, 1)
        return page


def _checked_title(title: str) -> str:
    if not title.strip() or not title.isprintable() or len(title) > LONGEST_TITLE:
        raise BadSetting(
            f"--page-title must be 1 to {LONGEST_TITLE} printable characters, not {title!r:.120}"
        )
    return title.strip()


def _checked_language(language: str | None) -> str | None:
    folder = files("sluiceway.server").joinpath("page", "texts", "languages")
    names = [file.name for file in folder.iterdir()]
    known = sorted(name.removesuffix(".js") for name in names if name.endswith(".js"))
    if language is not None and language not in known:
        raise BadSetting(f"--page-language must be one of {', '.join(known)}, not {language!r}")
    return language


def _read_logo(path: str) -> tuple[bytes, str]:
    kind = _LOGO_TYPES.get(Path(path).suffix.lower())
    if kind is None:
        raise BadSetting(f"--page-logo must be a file named {', '.join(_LOGO_TYPES)}, not {path!r}")
    return _read(path, "--page-logo", LARGEST_LOGO), kind


def _read(path: str, setting: str, largest: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadSetting(f"{setting} {path!r} cannot be read: {reason}") from None
    if not content or len(content) > largest:
        raise BadSetting(f"{setting} {path!r} must have 1 to {largest >> 10} KiB")
    return content


def _rgb(color: str) -> Rgb:
    found = _HEX.fullmatch(color.strip())
    if found is None:
        raise BadSetting(f"--page-color must be #rgb or #rrggbb, not {color!r}")
    digits = found[1] if len(found[1]) == 6 else "".join(2 * digit for digit in found[1])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _color_rules(color: Rgb) -> str:
    light, dark = _readable(color, _LIGHT_GROUND, _BLACK), _readable(color, _DARK_GROUND, _WHITE)
    return (
        f":root {{ {_variables(light, '#ffffff')} }}\n@media (prefers-color-scheme: dark) {{ "
        f":root {{ {_variables(dark, '#06161c')} }} }}\n"
    )


def _variables(color: Rgb, on_color: str) -> str:
    accent = "#" + bytes(color).hex()
    return (
        f"--accent: {accent}; --on-accent: {on_color}; --kept: {accent}; --destination: {accent}; "
        f"--arrived: color-mix(in srgb, {accent} 40%, var(--track));"
    )


def _readable(color: Rgb, ground: Rgb, towards: Rgb) -> Rgb:
    """The nearest colour on the way to black or white that can be read on a ground."""
    for step in range(_STEPS + 1):
        red, green, blue = (
            round(own + (end - own) * step / _STEPS)
            for own, end in zip(color, towards, strict=True)
        )
        if _contrast((red, green, blue), ground) >= _CONTRAST:
            return red, green, blue
    return towards


def _contrast(one: Rgb, other: Rgb) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: Rgb) -> float:
    shares = [value / 255 for value in color]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
