"""What a result was computed by: the code of some modules and of all that they import."""

import ast
import hashlib
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

# Two threads of CPython 3.11 that parse at the same time lose count of how deep they are, and one of them fails.
_PARSING = threading.Lock()


def digest(*modules: str) -> str:
    """One hash over the code of `modules` of this package, and of every module of it that they import.

    Comments, docstrings and layout are no part of it: to edit them makes no result stale. Nothing is imported.
    """
    found, pending = set(), set(modules)
    while pending:
        module = pending.pop()
        found.add(module)
        pending |= _code(module)[1] - found
    whole = hashlib.sha256()
    for module in sorted(found):
        whole.update(f"{module} {_code(module)[0]}\n".encode())
    return whole.hexdigest()


def imported(code: str) -> set[str]:
    """The modules of this package that a piece of Python imports."""
    return set(_imported(_parsed(code)))


@cache
def _code(module: str) -> tuple[str, frozenset[str]]:
    """A hash of the code of a module, and what it imports."""
    tree = _parsed(_file(module).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    code = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return code, frozenset(_imported(tree))


def _parsed(code: str | bytes) -> ast.Module:
    with _PARSING:
        return ast.parse(code)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            # A folder's `__init__` runs too; the package's own imports nothing by itself.
            parents = (".".join(parts[:length]) for length in range(2, len(parts)))
            yield from (module for module in (*parents, name) if parts[0] == _PACKAGE.name and _file(module).is_file())


def _file(module: str) -> Path:
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
