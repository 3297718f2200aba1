"""Records of model comparisons, and of the decisions about them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchdeploy.core.comparison import Comparison
from batchdeploy.core.layout import PROMOTIONS, comparison_key
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import from_json, to_json
from batchdeploy.storage.interface import Storage, write
from batchdeploy.storage.races import append_line


class ComparisonRecords:
    """Reads and writes comparisons by key (see `comparison_key`), and appends decisions.

    Args:
        storage: the control folder.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, folder: str, name: str, comparison: Comparison) -> str:
        """Writes a comparison of a partition atomically and returns its key."""
        key = comparison_key(folder, name)
        with translate_system_errors(f"{self._storage.target}/{key}"):
            write(self._storage, key, to_json(comparison).encode())
        return key

    def find(self, key: str) -> Comparison | None:
        """The comparison stored under a key, or None."""
        stored = self._storage.read(key)
        where = f"{self._storage.target}/{key}"
        return None if stored is None else from_json(Comparison, stored.content, where=where)

    def add_decision(self, decision: Mapping[str, object]) -> None:
        """Appends a line to the decisions; concurrent writers do not lose lines."""
        line = json.dumps(decision, ensure_ascii=False)
        with translate_system_errors(f"{self._storage.target}/{PROMOTIONS}"):
            append_line(self._storage, PROMOTIONS, line)
