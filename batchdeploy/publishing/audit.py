"""The audit log: one line per publish and rollback of a table."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass

from batchdeploy.core.layout import AUDIT
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.races import append_line

TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line of the audit log; fields that are None are left out.

    Attributes:
        at: the time of the decision, ISO 8601.
        action: ``publish``, ``rollback``, or ``lost`` for a publish whose staged files were removed.
        partition: the partition's folder name.
        run_id: the published run.
        attempt: the attempt that wrote the files.
        replaced: the run that was published before; empty if there was none.
    """

    at: str
    action: str
    partition: str
    run_id: str
    attempt: str | None = None
    replaced: str | None = None


class AuditLog:
    """The audit log of one table; where the table has a lock, the caller of `append` must hold it."""

    def __init__(self, control: ControlFolder) -> None:
        self._control = control
        self._file = control.layout.audit
        self._disk = control.disk

    def append(self, line: AuditLine) -> None:
        """Appends a line unless it exists, so that a step repeated after a kill adds it only once.

        Raises:
            OSError: the disk or the store failed.
        """
        text = json.dumps({name: value for name, value in asdict(line).items() if value is not None}) + "\n"
        if self._control.remote:
            append_line(self._control.shared, AUDIT, text.strip())
            return
        tail = self._tail()
        if text.encode() not in tail:
            # NOTE: a full disk may have truncated the last line; start a new one.
            cut = bool(tail) and not tail.endswith(b"\n")
            self._disk.append(self._file, ("\n" if cut else "") + text)

    def _tail(self) -> bytes:
        with suppress(FileNotFoundError), self._file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            return stream.read()
        return b""
