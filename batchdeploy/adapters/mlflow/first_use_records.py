"""Records the digest of each model version at its first use; later uses must match it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from batchdeploy.core.first_use import FirstUse, VersionFiles
from batchdeploy.core.layout import FIRST_USES
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import Problem, RequestError
from batchdeploy.storage.interface import Storage, write
from batchdeploy.storage.opening import open_location
from batchdeploy.storage.races import compete

SHOWN_DIGITS = 16
MAX_NAME = 180


class FirstUseRecords:
    """First-use records of one table, one file per version.

    Args:
        storage: where they are; compares by itself, or is written by one machine.
        folder: the key of the folder that holds them.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    @classmethod
    def beside(cls, models: Path) -> FirstUseRecords:
        """The records in the folder of cached models."""
        return cls(open_location(str(models)), FIRST_USES)

    def find(self, name: str, version: int) -> FirstUse | None:
        """The record of a version's first use, or None if it was not used yet.

        Raises:
            DataError: the file is not such a record.
        """
        stored, where = self._storage.read(self._key(name, version)), self._shown(name, version)
        return None if stored is None else from_json(FirstUse, stored.content, where=where)

    def record(self, seen: VersionFiles, digest: str) -> None:
        """Records a first use; for a later use, updates only the listing that shows the files are unchanged.

        Raises:
            RequestError: the version had other files at its first use.
        """
        key, at = self._key(seen.name, seen.version), datetime.now(UTC).isoformat()
        use = FirstUse(digest=digest, first_used_at=at, seen=seen)
        if compete(lambda: self._record(key, use) or None, key) == "created":
            return
        first = self.find(seen.name, seen.version) or use
        self.verify(first, seen.name, seen.version, digest)
        if seen.files and seen != first.seen:
            write(self._storage, key, to_json(replace(first, seen=seen)).encode())

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
            f"{self._shown(name, version)}"
        )
        problem = Problem("digest", text, digest[:SHOWN_DIGITS])
        raise RequestError(f"model {name} version {version}", (problem,), hint=hint)

    def _record(self, key: str, use: FirstUse) -> Literal["created", "known", ""]:
        """Creates the record; returns "known" if there is one, and "" if another process made it just now."""
        if self._storage.read(key) is not None:
            return "known"
        return "created" if self._storage.create(key, to_json(use).encode()) else ""

    def _key(self, name: str, version: int) -> str:
        plain = quote(name, safe="")
        if len(plain) > MAX_NAME:
            plain = f"{plain[:100]}-{sha256(name.encode()).hexdigest()}"
        return f"{self._folder}/{plain}@{version}.json"

    def _shown(self, name: str, version: int) -> str:
        return f"{self._storage.target}/{self._key(name, version)}"
