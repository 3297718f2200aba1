"""Suites and references in memory, by their paths."""

from __future__ import annotations

import hashlib

from batchdeploy.core.pins import TextPin
from batchdeploy.errors import DataError, Problem


class FakeTexts:
    """Texts that a test puts under the paths that a deployment names.

    Attributes:
        texts: path to text.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def read(self, path: str, *, key: str) -> tuple[str, TextPin]:
        """The text at a path, and its pin."""
        if path not in self.texts:
            raise DataError(path, (Problem(key, "no such text"),))
        text = self.texts[path]
        return text, TextPin(path=path, sha256=hashlib.sha256(text.encode()).hexdigest())

    def read_pinned(self, pin: TextPin) -> str:
        """The text that was pinned."""
        text, now = self.read(pin.path, key="the text")
        if now != pin:
            raise DataError(pin.path, "changed since it was planned", hint="plan the run again")
        return text
