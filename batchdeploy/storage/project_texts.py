"""The text files that a deployment names: suites and references."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.core.pins import TextPin
from batchdeploy.core.system_errors import reason
from batchdeploy.documents.yaml_files import read_bounded
from batchdeploy.errors import DataError, Problem

# A reference of 1,000 columns has about 4 MB.
MOST_BYTES = 256 << 20


Elsewhere = Callable[[str], Path | None]
Hint = Callable[[str], str | None]


def _nowhere(_: str) -> None:
    """Says that a file is nowhere else."""


class TextFiles:
    """Reads text files and pins them by SHA-256.

    Args:
        root: the folder that relative paths start from.
        elsewhere: returns where a file of the project that is not in its folder can be read, or None.
        hint: returns what brings such a file into the folder, or None.
    """

    def __init__(self, root: Path, *, elsewhere: Elsewhere = _nowhere, hint: Hint = _nowhere) -> None:
        self._root = root
        self._elsewhere = elsewhere
        self._hint = hint

    def read(self, path: str, *, key: str) -> tuple[str, TextPin]:
        """The text of a file, and its pin.

        Raises:
            DataError: the file is missing, unreadable or not UTF-8; names the deployment's ``key``.
        """
        try:
            raw = read_bounded(self._locate(path), MOST_BYTES)
            return raw.decode("utf-8"), TextPin(path=path, sha256=hashlib.sha256(raw).hexdigest())
        except FileNotFoundError:
            hint = self._hint(path)
            what = "is recorded by DVC, but not in the workspace" if hint else "no such file"
            problem = Problem(key, f"{what}: {describe_lookup(path, self._root)}")
            raise DataError(path, (problem,), hint=hint) from None
        except OSError as error:
            raise DataError(path, (Problem(key, reason(error)),)) from None
        except UnicodeDecodeError as error:
            raise DataError(path, (Problem(key, f"is not UTF-8 text (byte {error.start})"),)) from None

    def read_pinned(self, pin: TextPin) -> str:
        """The text of a pinned file.

        Raises:
            DataError: the file changed since it was pinned.
            OSError: the file cannot be read.
        """
        raw = self._locate(pin.path).read_bytes()
        if hashlib.sha256(raw).hexdigest() != pin.sha256:
            raise DataError(pin.path, "changed since it was planned", hint="plan the run again")
        return raw.decode("utf-8")

    def _locate(self, path: str) -> Path:
        file = self._root / path
        return file if os.path.lexists(file) else self._elsewhere(path) or file
