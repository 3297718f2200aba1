"""The record that says which deployment and table a control folder is of, in which format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import CONTROL_RECORD
from batchdeploy.core.locations import is_uri
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.errors import Problem, TableError
from batchdeploy.storage.interface import Storage
from batchdeploy.storage.races import compete

FORMAT = "batchdeploy.control/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """Whose control folder it is.

    Attributes:
        deployment: the name of the deployment that made it.
        table: the table's path as the deployment writes it; None for a control folder that is found beside
            its table, wherever the two are, and belongs to whom the table belongs.
    """

    deployment: str
    table: str | None
    format: str = FORMAT

    @classmethod
    def of(cls, deployment: Deployment) -> ControlRecord:
        """The record of a deployment's control folder."""
        output = deployment.output
        beside = output.control is None and not is_uri(output.path)
        return cls(deployment=deployment.name, table=None if beside else output.path.rstrip("/"))


def check_control(storage: Storage, deployment: Deployment) -> None:
    """Checks that a control folder is this deployment's, or nobody's yet.

    Raises:
        TableError: it is another deployment's, another table's, or of another version of the format.
        OutsideError: the disk or the store failed.
    """
    with translate_system_errors(storage.target):
        stored = storage.read(CONTROL_RECORD)
    if stored is not None:
        _compare(storage.target, stored.content, ControlRecord.of(deployment))


def own_control(storage: Storage, deployment: Deployment) -> None:
    """Records that a control folder is this deployment's. Of several that try at once, one succeeds.

    Args:
        storage: compares by itself, or under a lock that this caller does not hold.
        deployment: the deployment.

    Raises:
        TableError: as for `check_control`.
        OutsideError: the disk or the store failed.
    """
    mine = ControlRecord.of(deployment)
    content = (json.dumps(asdict(mine)) + "\n").encode()

    def write_or_compare() -> bool | None:
        stored = storage.read(CONTROL_RECORD)
        if stored is None:
            return storage.create(CONTROL_RECORD, content) or None
        _compare(storage.target, stored.content, mine)
        return True

    with translate_system_errors(storage.target):
        compete(write_or_compare, CONTROL_RECORD)


def _compare(where: str, content: bytes, mine: ControlRecord) -> None:
    try:
        found = dict(json.loads(content))
    except (ValueError, TypeError):
        found = {}
    if found.get("format") != FORMAT:
        got = str(found.get("format") or "not readable")
        problem = Problem(CONTROL_RECORD, f"is of another version than this one's, {FORMAT}", got)
        hint = "use the version of batchdeploy that wrote it, or give output.control another place"
        raise TableError(where, (problem,), hint=hint)
    problems = []
    # Beside its table, the table's own record says whose both are; once the table is emptied, anybody's.
    if mine.table is not None and found.get("deployment") != mine.deployment:
        what = f"this control folder belongs to deployment {found.get('deployment')}"
        problems.append(Problem("name", what, mine.deployment))
    if mine.table is not None and found.get("table") not in (None, mine.table):
        what = f"this control folder is of the table {found['table']}"
        problems.append(Problem("output.path", what, mine.table))
    if problems:
        hint = (
            f"give this deployment an output.control of its own; after a move, remove {CONTROL_RECORD} there"
        )
        raise TableError(where, tuple(problems), hint=hint)
