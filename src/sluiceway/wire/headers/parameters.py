"""Reads `value; name=token; name="quoted string"`, as in Content-Type and Content-Disposition, in
one pass.

Quoted strings have two dialects: in HTTP's a backslash escapes the next character, in that of
browsers' forms it does not. Knows no particular parameter.
"""

from __future__ import annotations

import re

from sluiceway.errors import BadRequest

__all__ = ["TOKEN", "read_parameters", "unique_parameters"]

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2

_SPACE = " \t"


def read_parameters(value: str, *, browser: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """Return the first word in lower case, and the parameters in order.

    Names are in lower case, values unquoted. `browser` reads quoted strings as forms write them.
    Empty parameters (`;;`) are skipped. Raises BadRequest.
    """
    head, _, _ = value.partition(";")
    read = _form_string if browser else _http_string
    found: list[tuple[str, str]] = []
    at = len(head)
    while at < len(value):
        if value[at] != ";":
            raise BadRequest(
                "After a parameter's value only a semicolon may come;"
                " quote values that hold other characters"
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
                    "A quotation mark stands inside an unquoted parameter value;"
                    " quote the whole value"
                )
        found.append((name.lower(), text))
    return head.strip(_SPACE).lower(), found


def unique_parameters(parameters: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name. Raises BadRequest for a repeated one: readers would
    disagree."""
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
    """Read from behind the opening quote (RFC 9110 5.6.4).

    Returns the text and the place behind the closing quote.
    """
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
        ):  # the quote was escaped; each quote is searched once, so the cost stays linear
            quote = value.find('"', at)
    raise BadRequest("A quoted string has no closing quotation mark")


def _form_string(value: str, at: int) -> tuple[str, int]:
    r"""Read the WHATWG form dialect: the closing quote is the one before `;` or the end.

    A backslash is a backslash. But old curl and old Firefox wrote `\"` for a quote: where a
    backslash stands before every quote inside, `\"` and `\\` stand for `"` and `\`. Others (npm's
    form-data, Alamofire) wrote a quote as it is.
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
