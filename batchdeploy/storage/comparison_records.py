"""The comparisons of a table's models, and what was decided about them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchdeploy.core.comparison import Comparison
from batchdeploy.core.layout import PROMOTIONS, comparison_key
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import from_json, to_json
from batchdeploy.storage.interface import Storage, write


class ComparisonRecords:
    """Comparisons by key, as `comparison_key` gives it, and the decisions about them.

    Args:
        storage: the control folder.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, folder: str, name: str, comparison: Comparison) -> str:
        """Writes the comparison of a partition's folder, whole or not at all, and gives its key."""
        key = comparison_key(folder, name)
        with translate_system_errors(f"{self._storage.target}/{key}"):
            write(self._storage, key, to_json(comparison).encode())
        return key

    def find(self, key: str) -> Comparison | None:
        """The comparison under a key, or None."""
        stored = self._storage.read(key)
        where = f"{self._storage.target}/{key}"
        return None if stored is None else from_json(Comparison, stored.content, where=where)

    def add_decision(self, decision: Mapping[str, object]) -> None:
        """Adds a line to the decisions; of several writers at once, none loses its line."""
        line = (json.dumps(decision, ensure_ascii=False) + "\n").encode()
        while not self._add(line):
            pass

    def _add(self, line: bytes) -> bool:
        stored = self._storage.read(PROMOTIONS)
        if stored is None:
            return self._storage.create(PROMOTIONS, line)
        return self._storage.swap(PROMOTIONS, stored.content + line, stored.token)
