"""`value; name=token; name="quoted string"`: the shape Content-Type and Content-Disposition share, read in one pass.

Two dialects of the quoted string: HTTP's, where a backslash escapes the next character, and the one of browsers' forms,
where it does not. Knows no particular parameter.
"""

from __future__ import annotations

import re

from sluiceway.errors import BadRequest

__all__ = ["TOKEN", "read_parameters", "unique_parameters"]

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2

_SPACE = " \t"


def read_parameters(value: str, *, browser: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """The lower-cased first word, and the parameters in order with lower-cased names and unquoted values.

    `browser` reads quoted strings as forms write them. Empty parameters (`;;`) are skipped. Raises BadRequest.
    """
    head, _, _ = value.partition(";")
    read = _form_string if browser else _http_string
    found: list[tuple[str, str]] = []
    at = len(head)
    while at < len(value):
        if value[at] != ";":
            raise BadRequest(
                "After a parameter's value only a semicolon may come; quote values that hold other characters"
            )
        at = _after_space(value, at + 1)
        if at == len(value) or value[at] == ";":
            continue
        equals = value.find("=", at)
        name = value[at : max(equals, at)].strip(_SPACE)
        if not TOKEN.fullmatch(name):
            raise BadRequest('A parameter must have the form name="value"')
        at = _after_space(value, equals + 1)
        if value.startswith('"', at):
            text, at = read(value, at + 1)
            at = _after_space(value, at)
        else:
            end = value.find(";", at)
            end = len(value) if end < 0 else end
            text, at = value[at:end].rstrip(_SPACE), end
            if '"' in text:
                raise BadRequest(
                    "A quotation mark stands inside an unquoted parameter value; quote the whole value"
                )
        found.append((name.lower(), text))
    return head.strip(_SPACE).lower(), found


def unique_parameters(parameters: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters by name. Raises BadRequest when one is given twice: two readers would pick different ones."""
    unique: dict[str, str] = {}
    for name, text in parameters:
        if name in unique:
            raise BadRequest(f"The parameter {name} is given twice; give it once")
        unique[name] = text
    return unique


def _after_space(value: str, at: int) -> int:
    while at < len(value) and value[at] in _SPACE:
        at += 1
    return at


def _http_string(value: str, at: int) -> tuple[str, int]:
    """RFC 9110 5.6.4, from behind the opening quote; the text and the place behind the closing one."""
    pieces: list[str] = []
    quote = value.find('"', at)
    while quote >= 0:
        escape = value.find("\\", at, quote)
        if escape < 0:
            pieces.append(value[at:quote])
            return "".join(pieces), quote + 1
        pieces.append(value[at:escape])
        pieces.append(value[escape + 1 : escape + 2])
        at = escape + 2
        if (
            quote < at
        ):  # the quote was the escaped character; each quote is searched once, so the cost stays linear
            quote = value.find('"', at)
    raise BadRequest("A quoted string has no closing quotation mark")


def _form_string(value: str, at: int) -> tuple[str, int]:
    r"""The WHATWG form dialect: the text goes on to the quote that closes it, which `;` or the end follows; a backslash is a
    backslash.

    Old curl and old Firefox wrote `\"` for a quote. Where a backslash stands before every quote inside, the value is read their
    way: `\"` and `\\` stand for `"` and `\`. Others (npm's form-data, Alamofire) wrote a quote as it is.
    """
    start, inside, escaped = at, 0, 0
    quote = value.find('"', at)
    while quote >= 0:
        behind = _after_space(value, quote + 1)
        if behind == len(value) or value[behind] == ";":
            text = value[start:quote]
            return (_without_escapes(text) if inside and inside == escaped else text), quote + 1
        inside += 1
        escaped += value[quote - 1] == "\\" and quote > start
        quote = value.find('"', quote + 1)
    raise BadRequest("A quoted name has no closing quotation mark")


def _without_escapes(text: str) -> str:
    return re.sub(r'\\([\\"])', r"\1", text)
