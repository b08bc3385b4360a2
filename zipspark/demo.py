"""The demo corpus: the documentation strings of the Python standard library.

Real prose on every machine, without a download, and redundant the way a training pool is: exact copies (methods that
share one sentence), near copies (a hundred character codecs), and much that is said only once.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# A module is left out, with all below it, when the last part of its name starts with an underscore (private, and every
# `__main__`) or stands here: its import can be noticed, it needs a platform or library of its own, or it is tests.
_SKIPPED = frozenset(
    {
        "antigravity",  # opens a browser
        "this",  # prints
        "distutils",  # gone in 3.12; setuptools replaces it at import
        "lib2to3",  # gone in 3.13; compiles its grammars at import
        "ensurepip",  # an installer, which Debian packages apart
        "msilib",  # Windows
        "idlelib",  # these four need Tcl/Tk
        "tkinter",
        "turtle",
        "turtledemo",
        "test",
        "tests",
    }
)

# Generated docstrings (dataclasses) show defaults by their repr, and so perhaps where an object lies in memory.
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+", re.IGNORECASE)


def corpus() -> Iterator[dict[str, str]]:
    """One record per documented public object of the standard library, in the order of their ids.

    An object is a module, or a class, routine or data descriptor (a property or its kin in C) defined in that module
    and found under the name it was defined with: no re-export and no alias, so each comes once. One interpreter always
    gives the same records; another version or platform has another library.

    >>> next(record for record in corpus() if record["id"] == "bisect")["response"]
    'Bisection algorithms.'
    """
    documented = {name: text for module in _modules() for name, text in _documented(module)}
    for name, text in sorted(documented.items()):
        yield {
            "id": name,
            "source": name.partition(".")[0],
            "prompt": f"What does {name} do?",
            "response": text,
        }


def write_corpus(path: str | Path) -> int:
    """Write `corpus` to ``path`` as JSON lines in UTF-8; returns the number of rows."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in corpus()]
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
    return len(lines)


def own_docstring(item: object) -> str | None:
    """The docstring of ``item`` itself, dedented; none when it has none or only one that differs between runs."""
    text = item.__doc__
    inherited = type(item).__doc__  # what an instance without a docstring shows
    if not isinstance(text, str) or text == inherited or _ADDRESS.search(text):
        return None
    return inspect.cleandoc(text) or None


def _modules() -> Iterator[ModuleType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules warn when imported
        for name in sorted(sys.stdlib_module_names):
            yield from _importable(name)


def _importable(name: str) -> Iterator[ModuleType]:
    """The module ``name`` and those below it, as far as they can be imported here."""
    last = name.rpartition(".")[2]
    if last.startswith("_") or last in _SKIPPED:
        return
    try:
        module = importlib.import_module(name)
    except Exception:  # made for another platform, or built without its C library
        return
    yield module
    for child in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield from _importable(f"{name}.{child.name}")


def _documented(module: ModuleType) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of ``module`` and of the documented public objects defined in it."""
    for path, item in [("", module), *_members(module, module.__name__, "")]:
        text = own_docstring(item)
        if text is not None:
            yield f"{module.__name__}.{path}".rstrip("."), text


def _members(owner: ModuleType | type, module: str, prefix: str) -> Iterator[tuple[str, object]]:
    """(path below ``module``, object) of what ``owner`` defines under public names, classes inside classes included."""
    for name, item in vars(owner).items():
        path = prefix + name
        kind = inspect.isclass(item) or inspect.isroutine(item) or inspect.isdatadescriptor(item)
        # A property's home is its getter's; what records none (a method written in C) was defined where it is found.
        origin = item.fget if isinstance(item, property) else item
        home = (getattr(origin, "__module__", None) or module, getattr(origin, "__qualname__", path))
        if kind and not name.startswith("_") and home == (module, path):
            yield path, item
            if isinstance(item, type):
                yield from _members(item, module, f"{path}.")
