"""The trigger of a task that waits for a partition's rows: looks for them in Airflow's triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from batchdeploy.errors import BatchdeployError, PartitionError
from batchdeploy.redaction import redact

FOUND, LATE = "found", "late"


class RowsTrigger(BaseTrigger):
    """Fires when a partition has rows, when the waiting time is over, or when it cannot look.

    Args:
        file: the deployment's file, which the triggerer must be able to read.
        root: the project's root.
        partition: the partition's value.
        until: when the waiting time is over, ISO 8601.
    """

    def __init__(self, file: str, root: str, partition: str, until: str) -> None:
        super().__init__()
        self.file, self.root, self.partition, self.until = file, root, partition, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, for Airflow's database."""
        names = ("file", "root", "partition", "until")
        return f"{__name__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks, sleeps for ``data.poll_seconds``, and looks again."""
        until = datetime.fromisoformat(self.until)
        while True:
            try:
                # In a thread, because sources block; the triggerer runs many triggers in one event loop.
                found, seconds = await asyncio.to_thread(self._look)
            except (BatchdeployError, OSError, ImportError) as error:
                # The task itself tells what is wrong; its worker may also see what the triggerer does not.
                yield TriggerEvent(redact(f"{type(error).__name__}: {error}"))
                return
            if found or datetime.now(UTC) > until:
                yield TriggerEvent(FOUND if found else LATE)
                return
            await asyncio.sleep(seconds)

    def _look(self) -> tuple[bool, float]:
        """Whether the partition has rows, and after how many seconds to look again."""
        from batchdeploy.assembly import open_toolbox

        tools = open_toolbox(Path(self.file), root=Path(self.root))
        data = tools.deployment.data
        try:
            tools.source.pin(data, self.partition)
        except PartitionError:
            return False, data.poll_seconds
        finally:
            tools.close()
        return True, data.poll_seconds
