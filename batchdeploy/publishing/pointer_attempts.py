"""Attempts whose workers write scores straight to a table that is published by pointer.

Nobody sees an attempt's files before the pointer names them. ``staging/ATTEMPT/attempt.json`` in the control
folder says which files are the attempt's, and whether a publish of them has begun.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from batchdeploy.core.layout import QUARANTINE, STAGING, data_folder, manifest_key
from batchdeploy.core.locations import is_uri
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.work import AttemptFolders
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import BatchdeployError
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.interface import write

RECORD = "attempt.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """An attempt that is neither published nor discarded.

    Attributes:
        folder: the partition's folder name.
        host, pid: the process that began it.
        begun: when, in seconds since the epoch; none of its files is older.
        committing: whether the pointer may name its files, now or after a request whose outcome is unknown.
    """

    folder: str
    run_id: str
    host: str
    pid: int
    begun: float
    committing: bool = False


class PointerAttempts:
    """The attempts at one table that is published by pointer.

    Args:
        control: the table's control folder.
        files: the table's files.
        stores: how object stores are reached.
    """

    def __init__(self, control: ControlFolder, files: PointerFiles, stores: StorageSpec) -> None:
        self._control = control
        self._files = files
        self._stores = stores
        self._committing: set[str] = set()
        # An object store holds no locks, so that an attempt there expires by age alone.
        self._local = None
        if not control.remote:
            self._local = Attempts(control.layout, check=None, forget=self._remove_scored)

    def begin(self, folder: str, run_id: str) -> AttemptFolders:
        """Begins a new attempt and returns where its workers write.

        Raises:
            OSError: the control folder or the table's folder cannot be written.
        """
        local = None if self._local is None else self._local.begin(run_id)
        name = f"{run_id}-{uuid.uuid4().hex[:12]}" if local is None else local.name
        host, pid = socket.gethostname(), os.getpid()
        record = AttemptRecord(folder=folder, run_id=run_id, host=host, pid=pid, begun=time.time())
        try:
            self._write(name, record)
            scored = f"{self._files.target}/{data_folder(folder, name)}"
            if not is_uri(scored):
                Path(scored).mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.discard(name)
            raise
        if local is None:
            hit("attempt begun")
        scratch = f"{self._control.layout.control_target}/{STAGING}/{name}"
        return AttemptFolders(
            name=name,
            scored=scored,
            quarantine=f"{scratch}/{QUARANTINE}",
            scratch=scratch,
            storage=self._stores,
        )

    def find(self, name: str) -> AttemptRecord | None:
        """The record of an attempt; None if it was published, discarded, or has expired.

        Raises:
            OSError: the control folder does not answer.
        """
        stored = self._control.storage.read(_key(name))
        where = f"{self._control.storage.target}/{_key(name)}"
        return None if stored is None else from_json(AttemptRecord, stored.content, where=where)

    def begin_commit(self, name: str, record: AttemptRecord) -> None:
        """Records that the pointer may name the attempt's files from now on.

        Raises:
            OSError: the control folder does not answer; the pointer must not be written.
        """
        if name not in self._committing:
            self._write(name, replace(record, committing=True))
            self._committing.add(name)
            hit("commit begun")

    def hand_over(self, name: str) -> None:
        """Lets another process continue an attempt."""
        if self._local is not None:
            self._local.hand_over(name)

    def discard(self, name: str) -> None:
        """Removes an attempt's files, but scores only if the pointer can never name them.

        Other scores stay for garbage collection, which knows by their age that nobody names them.
        """
        if self._local is not None:
            self._local.discard(name)
            return
        self._remove_scored(name)
        with suppress(OSError):
            keys = [entry.key for entry in self._control.storage.list(f"{STAGING}/{name}")]
            # The record is removed last, so that what a killed process leaves is found again.
            for key in sorted(keys, key=lambda key: key == _key(name)):
                self._control.storage.delete(key)

    def sweep(self, now: float) -> tuple[str, ...]:
        """Removes the attempts of dead processes; in a store, which holds no locks, none.

        Args:
            now: seconds since the epoch.

        Returns:
            The attempts that were removed.
        """
        return () if self._local is None else self._local.sweep(now)

    def sweep_expired(self, now: float) -> tuple[str, ...]:
        """Removes the attempts in a store that are so old that none may be published; returns their names.

        Raises:
            OSError: the store does not answer.
        """
        if self._local is not None:
            return ()
        newest: dict[str, float] = {}
        for entry in self._control.storage.list(STAGING):
            name = entry.key.split("/")[1]
            newest[name] = max(entry.modified, newest.get(name, 0.0))
        expired = sorted(name for name, modified in newest.items() if now - modified > ORPHAN_SECONDS)
        for name in expired:
            self.discard(name)
        return tuple(expired)

    def _write(self, name: str, record: AttemptRecord) -> None:
        write(self._control.storage, _key(name), to_json(record).encode())

    def _remove_scored(self, name: str) -> None:
        """Removes an attempt's scores, unless the pointer names them or may do so."""
        with suppress(OSError, BatchdeployError):
            record = self.find(name)
            if record is None or record.committing or self._is_named(record.folder, name):
                return
            prefix = data_folder(record.folder, name)
            for path in [path for path, _ in self._files.listed(prefix)]:
                self._files.delete(path)
            self._files.delete(manifest_key(record.folder, name))
            if not is_uri(self._files.target):
                Path(self._files.target, prefix).rmdir()

    def _is_named(self, folder: str, name: str) -> bool:
        """Whether the pointer names the files of an attempt.

        The record tells it as well, but that of a local control folder may be lost in a power cut.
        """
        entry = self._files.read().document["partitions"].get(folder)
        return entry is not None and name in {one["attempt"] for one in (entry, *entry["earlier"])}


def _key(name: str) -> str:
    return f"{STAGING}/{name}/{RECORD}"
