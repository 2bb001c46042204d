"""Rules that would each have prevented bugs of others: no assert, no bare int() on headers, no read without a size …"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from architecture.sources import Module, modules, room_of

PRODUCT = [module for module in modules() if room_of(module.name) != "testing"]
# (file, call in source) -> why it is not about bytes of a peer
INT_ALLOWED = {
    (
        "wire/headers/http_dates.py",
        "int",
    ): "a regular expression of ASCII digits of fixed counts matched before",
    ("wire/numbers.py", "int"): "the one place that turns digits into numbers, after checking them",
}
READ_ALLOWED = {
    "server/run.py": "the settings that it wrote itself, for its workers",
    "cli/serve.py": "the operator's own settings file",
    "server/page/assets.py": "the page's own files, a few KiB, part of the package",
}


def calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call and the name it is called by: "int", "os.path.join", ".read"."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node, node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node, ast.unparse(node.func)


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.short)
def test_nothing_relies_on_assert(module: Module) -> None:
    """python -O removes asserts; a check that matters raises an error with a code."""
    found = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]

    assert found == []


@pytest.mark.parametrize(
    "module",
    [m for m in PRODUCT if room_of(m.name) in ("wire", "server", "client")],
    ids=lambda m: m.short,
)
def test_numbers_of_peers_go_through_one_door(module: Module) -> None:
    """int() takes "+1", "1_0", " 1" and digits of all scripts; isdigit() and isnumeric() are as wide. ascii_uint is not."""
    for node, name in calls(module):
        where = f"{module.short}:{node.lineno}: {name}"
        assert name.rpartition(".")[2] not in ("isdigit", "isnumeric", "isdecimal"), where
        if name == "int" and not (node.args and isinstance(node.args[0], ast.Compare)):
            told = (module.short, "int") in INT_ALLOWED or _is_number_already(node)
            assert told, where


def _is_number_already(node: ast.Call) -> bool:
    """int.from_bytes' cousins: int(x * y), int(value / 2), int(time()) convert numbers, not text."""
    return bool(node.args) and isinstance(node.args[0], ast.BinOp)


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.short)
def test_nothing_is_read_without_a_size(module: Module) -> None:
    """.read() and .read_bytes() without a number read whatever somebody put there, whole."""
    for node, name in calls(module):
        method = name.rpartition(".")[2]
        if "." not in name or method not in (
            "read",
            "read_bytes",
            "read_text",
            "readlines",
            "body",
            "form",
            "json",
        ):
            continue
        if method in ("body", "form", "json") and not name.startswith("request"):
            continue  # Starlette's, which gather a request; an answer's own are other things
        sized = bool(node.args) and method != "read_text"  # whose argument is an encoding
        assert sized or module.short in READ_ALLOWED, f"{module.short}:{node.lineno}: {name}()"


@pytest.mark.parametrize(
    "module", [m for m in PRODUCT if m.short.startswith("stores/disk")], ids=lambda m: m.short
)
def test_below_the_root_nothing_is_reached_by_path(module: Module) -> None:
    """Only by directory descriptor: a path that is joined can be redirected by a link between check and use."""
    one = {"open", "unlink", "mkdir", "rmdir", "stat"}
    two = {"rename", "link"}
    for node, name in calls(module):
        where = f"{module.short}:{node.lineno}: {ast.unparse(node)[:80]}"
        if node.args and ast.unparse(node.args[0]).startswith("'/proc/"):
            continue  # what the kernel tells of this process
        assert name not in (
            "open",
            "os.path.join",
            "os.walk",
            "shutil.rmtree",
            "os.remove",
            "os.replace",
            "os.listdir",
        ), where
        given = {keyword.arg for keyword in node.keywords}
        method = name.removeprefix("os.")
        if name.startswith("os.") and method in one:
            root = (
                method == "open"
                and ast.unparse(node.args[0]) == "root"
                and module.short == "stores/disk/tree.py"
            )
            assert "dir_fd" in given or root, where
        if name.startswith("os.") and method in two:
            assert {"src_dir_fd", "dst_dir_fd"} <= given, where


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.short)
def test_only_the_command_line_ends_the_process_or_prints(module: Module) -> None:
    """sys.exit in a request would take every upload with it."""
    if room_of(module.name) in ("cli", "__main__"):
        return
    for node, name in calls(module):
        assert name not in ("sys.exit", "os._exit", "exit", "quit", "print"), (
            f"{module.short}:{node.lineno}: {name}"
        )


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.short)
def test_headers_are_not_parsed_by_the_mail_library(module: Module) -> None:
    """email.message and cgi accept what no HTTP server should."""
    for name, line in module.imports():
        assert not name.startswith(("email.message", "email.parser", "cgi")), (
            f"{module.short}:{line}: {name}"
        )


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.short)
def test_errors_are_ours(module: Module) -> None:
    """What is raised on purpose has a code: no bare Exception, RuntimeError or ValueError leaves a room."""
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        ):
            assert node.exc.func.id not in ("Exception", "RuntimeError", "ValueError", "OSError"), (
                f"{module.short}:{node.lineno}"
            )
