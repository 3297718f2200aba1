"""Isolates a model's own Python modules: they can be imported only while that model loads or predicts.

MLflow adds a model's code folder to ``sys.path`` and leaves it there, together with the imported modules. The
next model with a module of the same name would then run code of the first.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, all_suffixes
from typing import Any

from batchdeploy.errors import Problem, ScoringRefused

# `sys.modules` is global to the process, so threads that use models with code take turns.
TURN = threading.RLock()
DEEPEST = 8


class OwnModules:
    """The modules of one loaded model.

    Args:
        folder: the model's folder.
        code: the folders in it that hold Python code, relative to it.
    """

    def __init__(self, folder: str, code: Sequence[str] = ()) -> None:
        self._home = os.path.realpath(folder) + os.sep
        self._names = {name for place in code for name in _names_in(os.path.join(folder, place))}
        self._roots = {name.partition(".")[0] for name in self._names}
        self._modules: dict[str, Any] = {}
        self._path: list[str] | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Installs the model's modules, and restores those of the process at the end.

        Raises:
            ScoringRefused: a module with a name from the model's code was imported from elsewhere.
        """
        with TURN, _without_bytecode():
            path, entries = sys.path, list(sys.path)
            hidden = {name: sys.modules[name] for name in self._in_the_way()}
            _remove(hidden)
            before = dict(sys.modules)
            _insert(self._modules)
            if self._path is not None:
                sys.path = list(self._path)
            try:
                yield
            finally:
                self._path = list(sys.path)
                sys.path, path[:] = path, entries
                strangers = self._take(before)
                _remove(strangers)
                _insert(hidden)
            _refuse(strangers)

    def _in_the_way(self) -> list[str]:
        """Names of loaded modules that clash with the model's modules."""
        found = [name for name in list(sys.modules) if name.partition(".")[0] in self._roots]
        # NOTE: extension modules cannot be loaded twice, and the standard library must stay loaded.
        lasting = {name.partition(".")[0] for name in found if _is_extension(sys.modules[name])}
        lasting |= {*sys.stdlib_module_names, "batchdeploy", "mlflow"}
        clashes = [name for name in found if name.partition(".")[0] not in lasting and self._provides(name)]
        return list({*clashes, *(name for name in self._modules if name in sys.modules)})

    def _provides(self, name: str) -> bool:
        return any(name == own or name.startswith(f"{own}.") for own in self._names)

    def _take(self, before: dict[str, Any]) -> dict[str, Any]:
        """Removes the model's modules from the process; returns modules that came from elsewhere instead."""
        strangers = {}
        for name, module in list(sys.modules.items()):
            if name in self._modules or before.get(name) is module:
                continue
            if self._is_at_home(module):
                self._modules[name] = module
            elif self._provides(name):
                strangers[name] = module
        self._modules |= {name: sys.modules[name] for name in self._modules if name in sys.modules}
        _remove(self._modules)
        return strangers

    def _is_at_home(self, module: Any) -> bool:
        known = getattr(module, "__dict__", {})
        file = known.get("__file__")
        places = [str(file)] if file else list(known.get("__path__", ()))
        return bool(places) and all(os.path.realpath(place).startswith(self._home) for place in places)


def _names_in(folder: str, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Names that can be imported from a folder; for namespace packages, the modules in them."""
    if depth > DEEPEST or not os.path.isdir(folder):
        return
    for entry in os.scandir(folder):
        stem = entry.name.partition(".")[0]
        if not stem.isidentifier() or stem == "__pycache__":
            continue
        if not entry.is_dir():
            if entry.name.endswith(tuple(all_suffixes())):
                yield prefix + stem
        elif any(os.path.isfile(os.path.join(entry.path, f"__init__{end}")) for end in all_suffixes()):
            yield prefix + stem
        else:
            yield from _names_in(entry.path, f"{prefix}{stem}.", depth + 1)


def _is_extension(module: Any) -> bool:
    spec = getattr(module, "__dict__", {}).get("__spec__")
    return isinstance(getattr(spec, "loader", None), ExtensionFileLoader)


def _insert(modules: dict[str, Any]) -> None:
    sys.modules.update(modules)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent and parent not in modules and parent in sys.modules:
            setattr(sys.modules[parent], child, module)


def _remove(modules: dict[str, Any]) -> None:
    for name in modules:
        sys.modules.pop(name, None)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        # NOTE: a parent package that stays loaded would still provide the module as an attribute.
        if parent in sys.modules and getattr(sys.modules[parent], "__dict__", {}).get(child) is module:
            delattr(sys.modules[parent], child)


def _refuse(strangers: dict[str, Any]) -> None:
    if strangers:
        raise ScoringRefused(
            "the code of the model",
            tuple(
                Problem(
                    f"module {name}",
                    "is in the model's code, and was imported from elsewhere",
                    str(getattr(module, "__file__", None)),
                )
                for name, module in strangers.items()
            ),
            hint="give its package an __init__.py, or another name, and log the model again",
        )


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Writes no bytecode, which would change the model's folder and so its digest."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
