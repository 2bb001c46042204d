"""The page's name, logo, colour, style and language by settings: checked, escaped, readable."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
import requests

from fix_server import Serve
from sluiceway.server.page.branding import LARGEST_LOGO, LONGEST_TITLE, Branding
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><script>evil()</script></svg>'
INDEX = files("sluiceway.server").joinpath("page", "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("page_title", ""),
        ("page_title", "a\nb"),
        ("page_title", "a\u202eb"),
        ("page_title", "x" * (LONGEST_TITLE + 1)),
        ("page_logo", "/nowhere/logo.svg"),
        ("page_logo", "logo.html"),
        ("page_logo", "a\0.svg"),
        ("page_color", "blue"),
        ("page_color", "#12"),
        ("page_color", "#123456; } * { display: none"),
        ("page_style", "/nowhere/page.css"),
        ("page_language", "xx"),
        ("page_language", '../de" x="'),
        ("page_connections", 5),
        ("page_connections", -1),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    setting: str, value: str | int
) -> None:
    """When the settings are made, not when the first visitor comes."""
    with pytest.raises(BadSetting, match="--" + setting.replace("_", "-")):
        Settings(**{setting: value})  # type: ignore[arg-type]


def test_a_logo_has_a_largest_size(tmp_path: Path) -> None:
    """A byte more is refused, and so is an empty file."""
    logo = tmp_path / "logo.PNG"
    logo.write_bytes(b"1" * LARGEST_LOGO)
    assert Settings(page_logo=str(logo)).branding.logo_type == "image/png"
    for content in (b"1" * (LARGEST_LOGO + 1), b""):
        logo.write_bytes(content)
        with pytest.raises(BadSetting, match="1 to 1024 KiB"):
            Settings(page_logo=str(logo))


def test_what_is_set_is_text_and_never_html() -> None:
    """Markup in the title is shown as it is written."""
    page = Branding.of('</title><script>alert("1")</script>&amp;').apply(INDEX)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;") == 2
    assert re.sub("</?bdi>", "", Branding.of("Sluiceway").apply(INDEX)) == re.sub(
        "</?bdi>", "", INDEX
    )


def test_the_server_shows_title_logo_style_and_language(serve: Serve, tmp_path: Path) -> None:
    """A script in the logo does not run: no policy of the server allows it."""
    (tmp_path / "logo.svg").write_bytes(SVG)
    (tmp_path / "own.css").write_text(":root { --ground: #fff }")
    url = serve(
        *("--page-title", "Müller & Co", "--page-logo", str(tmp_path / "logo.svg")),
        *("--page-color", "#c00", "--page-style", str(tmp_path / "own.css")),
        *("--page-language", "de", "--page-connections", "3"),
    ).url
    page = requests.get(url + "/", timeout=10).text
    assert "<title>Müller &amp; Co</title>" in page
    assert '<html data-connections="3" data-language="de" lang="en">' in page
    assert page.count('"page/logo"') == 2
    logo = requests.get(url + "/page/logo", timeout=10)
    style = requests.get(url + "/page/branding.css", timeout=10)
    tag = {"If-None-Match": logo.headers["ETag"]}

    assert (logo.content, logo.headers["Content-Type"]) == (SVG, "image/svg+xml")
    assert "script-src" not in logo.headers["Content-Security-Policy"]
    assert logo.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert requests.get(url + "/page/logo", headers=tag, timeout=10).status_code == 304
    assert "--accent: #cc0000" in style.text
    assert style.text.endswith(":root { --ground: #fff }")

    plain = serve().url
    assert "branding.css" not in requests.get(plain + "/", timeout=10).text
    for name in ("branding.css", "logo"):
        assert requests.get(f"{plain}/page/{name}", timeout=10).status_code == 404


def _luminance(color: str) -> float:
    shares = [value / 255 for value in bytes.fromhex(color.removeprefix("#"))]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_texts_in_every_colour_can_be_read() -> None:
    """4.5 : 1 on each ground of page.css, and of the text on a button, in both schemes."""
    css = files("sluiceway.server").joinpath("page", "page.css").read_text("utf-8")
    grounds = re.findall(r"--(?:ground|surface|raised): (#[0-9a-f]{6})", css)
    assert len(grounds) == 6
    for red, green, blue in product(("00", "55", "80", "c0", "ff"), repeat=3):
        rules = Branding.of("x", color=f"#{red}{green}{blue}").style
        schemes = re.findall(r"--accent: (#\w{6}); --on-accent: (#\w{6})", rules)
        for (accent, on_accent), own in zip(schemes, (grounds[:3], grounds[3:]), strict=True):
            assert _contrast(accent, on_accent) >= 4.5, (red, green, blue)
            assert all(_contrast(accent, ground) >= 4.5 for ground in own), (red, green, blue)
