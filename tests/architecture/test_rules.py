"""Rules of which each would have prevented bugs of other projects."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from architecture.sources import Module, modules, nodes, require, room_of, text_of

# modules that may call int() on text -> why that is safe
INT_ALLOWED = {
    "wire/headers/http_dates.py": "a regular expression matched ASCII digits of fixed counts",
    "wire/numbers.py": "the one place that turns digits into numbers, after checking them",
}
READ_ALLOWED = {
    "server/state/worker_files.py": "the settings that it wrote itself, for its workers",
    "cli/serve.py": "the operator's own settings file",
    "server/page/assets.py": "the page's own files, a few KiB, part of the package",
}
WHOLE_READS = {"read", "read_bytes", "read_text", "readlines", "body", "form", "json"}
ENDINGS = {"sys.exit", "os._exit", "exit", "quit", "print"}
BY_PATH = {
    "open",
    "os.path.join",
    "os.walk",
    "shutil.rmtree",
    "os.remove",
    "os.replace",
    "os.listdir",
}


def product(*rooms: str) -> list[Module]:
    """The modules that run in production, of some rooms or of all."""
    return [
        module
        for module in modules()
        if room_of(module.name) != "testing" and (not rooms or room_of(module.name) in rooms)
    ]


def calls(*rooms: str) -> Iterator[tuple[Module, ast.Call, str, str]]:
    """Yields module, call, the called name and the place in words."""
    for module in product(*rooms):
        for node, name in module.calls():
            yield module, node, name, f"{module.short}:{node.lineno}: {text_of(node)[:80]}"


def test_nothing_relies_on_assert() -> None:
    """`python -O` removes asserts; a check that matters raises an error with a code."""
    require(
        f"{module.short}:{node.lineno}"
        for module in product()
        for node in nodes(module.tree)
        if isinstance(node, ast.Assert)
    )


def test_numbers_of_peers_are_parsed_by_wire_numbers() -> None:
    """int() takes "+1", "1_0", " 1" and digits of all scripts, as isdigit() does."""
    found = []
    for module, node, name, where in calls("wire", "server", "client"):
        if name.rpartition(".")[2] in ("isdigit", "isnumeric", "isdecimal"):
            found.append(where)
        # int(x * y), int(value / 2) and int(a < b) convert numbers, not text
        of_numbers = bool(node.args) and isinstance(node.args[0], ast.BinOp | ast.Compare)
        if name == "int" and not of_numbers and module.short not in INT_ALLOWED:
            found.append(where)
    require(found)


def test_nothing_is_read_without_a_size() -> None:
    """.read() and .read_bytes() without a number read all that a peer or a disk has."""
    found = []
    for module, node, name, where in calls():
        method = name.rpartition(".")[2]
        if "." not in name or method not in WHOLE_READS or module.short in READ_ALLOWED:
            continue
        if method in ("body", "form", "json") and not name.startswith("request"):
            continue  # only Starlette's request gathers a whole body by these
        if not node.args or method == "read_text":  # whose argument is an encoding
            found.append(where)
    require(found)


def test_the_disk_store_reaches_files_by_directory_descriptor() -> None:
    """A link can redirect a joined path between check and use."""
    found = []
    for module, node, name, where in calls("stores"):
        if not module.short.startswith("stores/disk/"):
            continue
        if node.args and ast.unparse(node.args[0]).startswith("'/proc/"):
            continue  # what the kernel tells of this process
        given = {keyword.arg for keyword in node.keywords}
        root = module.short == "stores/disk/tree.py" and (
            name == "os.open" and ast.unparse(node.args[0]) == "root"
        )
        one = name in ("os.open", "os.unlink", "os.mkdir", "os.rmdir", "os.stat")
        two = name in ("os.rename", "os.link")
        if (
            name in BY_PATH
            or (one and not root and "dir_fd" not in given)
            or (two and not {"src_dir_fd", "dst_dir_fd"} <= given)
        ):
            found.append(where)
    require(found)


def test_only_the_commands_end_the_process_or_print() -> None:
    """sys.exit in a request would take every upload with it."""
    require(
        where
        for module, _, name, where in calls()
        if room_of(module.name) not in ("cli", "__main__") and name in ENDINGS
    )


def test_only_one_file_writes_to_the_standard_streams() -> None:
    """It says in words what cannot be printed; another one would end a copy with a traceback."""
    require(
        where
        for module, _, name, where in calls()
        if name in ("click.echo", "click.secho", "print")
        and module.name != "sluiceway.cli.terminal_text"
    )


def test_headers_are_not_parsed_by_the_mail_library() -> None:
    """email.message and cgi accept headers that no HTTP server should."""
    require(
        f"{module.short}:{line}: {name}"
        for module in product()
        for name, line in module.imports()
        if name.startswith(("email.message", "email.parser", "cgi"))
    )


def test_raised_errors_are_of_the_one_tree() -> None:
    """An error that is raised on purpose has a code: no bare Exception or ValueError."""
    require(
        f"{module.short}:{node.lineno}: {node.exc.func.id}"
        for module in product()
        for node in nodes(module.tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ("Exception", "RuntimeError", "ValueError", "OSError")
    )


def test_no_test_empties_a_file_that_another_process_writes() -> None:
    """A line that comes between the read and the cut is lost: `NewLines` of fix_taking.py reads on.

    One in a hundred records of an app's hooks was lost so, and its test waited in vain.
    """
    tests = Path(__file__).parent.parent
    require(
        f"{path.relative_to(tests)}:{number}"
        for path in tests.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"\.write_text\([\"']{2}\)|\btruncate\(\w+, 0\)", line)
    )
