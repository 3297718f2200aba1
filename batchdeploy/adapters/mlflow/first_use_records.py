"""Records the digest of each model version at its first use; later uses must match it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from batchdeploy.core.first_use import FirstUse, VersionFiles
from batchdeploy.core.layout import FIRST_USES
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import Problem, RequestError
from batchdeploy.host.file_modes import make_folder, restrict

SHOWN_DIGITS = 16
MAX_NAME = 180


class FirstUseRecords:
    """First-use records of one table, one file per version.

    Args:
        models: the table's folder of cached models.
    """

    def __init__(self, models: Path) -> None:
        self._folder = models / FIRST_USES

    def find(self, name: str, version: int) -> FirstUse | None:
        """The record of a version's first use, or None if it was not used yet.

        Raises:
            DataError: the file is not such a record.
        """
        file = self._file(name, version)
        try:
            return from_json(FirstUse, file.read_bytes(), where=str(file))
        except FileNotFoundError:
            return None

    def record(self, seen: VersionFiles, digest: str) -> None:
        """Records a first use; for a later use, updates only the listing that shows the files are unchanged.

        Raises:
            RequestError: the version had other files at its first use.
        """
        file = self._file(seen.name, seen.version)
        make_folder(file.parent)
        use = FirstUse(digest=digest, first_used_at=datetime.now(UTC).isoformat(), seen=seen)
        if self._create(file, use):
            return
        first = self.find(seen.name, seen.version) or use
        self.verify(first, seen.name, seen.version, digest)
        if seen.files and seen != first.seen:
            self._write(file, replace(first, seen=seen)).replace(file)

    def verify(self, first: FirstUse, name: str, version: int, digest: str) -> None:
        """Checks that a digest is that of the first use.

        Raises:
            RequestError: the digests differ; the message shows both.
        """
        if first.digest == digest:
            return
        day = first.first_used_at[:10]
        text = f"the files are not those of its first use on {day}, {first.digest[:SHOWN_DIGITS]}"
        hint = (
            "register changed files as a version of their own; where these were meant to change, remove "
            f"{self._file(name, version)}"
        )
        problem = Problem("digest", text, digest[:SHOWN_DIGITS])
        raise RequestError(f"model {name} version {version}", (problem,), hint=hint)

    def _file(self, name: str, version: int) -> Path:
        plain = quote(name, safe="")
        if len(plain) > MAX_NAME:
            plain = f"{plain[:100]}-{sha256(name.encode()).hexdigest()}"
        return self._folder / f"{plain}@{version}.json"

    def _create(self, file: Path, use: FirstUse) -> bool:
        """Creates the record; returns whether it is new. Of two concurrent calls, one creates it."""
        scratch = self._write(file, use)
        try:
            os.link(scratch, file)
        except FileExistsError:
            return False
        except OSError:
            # The filesystem has no hard links.
            if file.exists():
                return False
            scratch.replace(file)
        finally:
            with suppress(FileNotFoundError):
                scratch.unlink()
        return True

    def _write(self, file: Path, use: FirstUse) -> Path:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False) as scratch:
            scratch.write(to_json(use))
        restrict(Path(scratch.name))
        return Path(scratch.name)
