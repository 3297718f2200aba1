"""The exceptions that this package raises.

::

    BatchdeployError
    ├── GateRefused        exit 1   data or scores did not pass; the evidence is written
    │   ├── ValidationRefused       an expectation of level ``block`` failed
    │   ├── ScoringRefused          too many rows quarantined, or not the declared output
    │   ├── PromotionRefused        a reviewer rejected the challenger
    │   ├── BackfillRefused         some partitions of a backfill; the others are published
    │   └── DriftRefused            drift alarm with ``on_alarm: block``
    ├── RequestError       exit 2   the request was wrong; nothing was written
    │   ├── DeploymentError         the deployment file
    │   ├── PartitionError          a partition that is unknown, empty or malformed
    │   ├── ContractError           the model's signature and the data do not match
    │   ├── DataError               a file, suite or reference that cannot be used
    │   ├── TableError              the output is another deployment's table, or has other columns
    │   └── MissingPackageError     an optional part that is not installed
    └── OutsideError       exit 3   something outside failed; a retry may help
        ├── RegistryError, SourceError, EngineError
        ├── RunStopped              SIGTERM, Ctrl-C, or the time of ``limits.minutes``
        └── PublishError            the table could not be locked or swapped
            └── StaleRunError       another run published this partition in the meantime

They carry strings, numbers and tuples only, so that they pickle and all print in the same format. Their texts
are redacted::

    2 problems in dags/flights.yaml:
    - output.columns: is required
    - drift.false_alarm_rate: must be between 0 and 1, got 7
    Hint: batchdeploy check dags/flights.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from batchdeploy.redaction import redact

SHOWN_PROBLEMS = 10
SHOWN_VALUE = 60
SHOWN_TEXT = 300


class Problem(NamedTuple):
    """One problem: its path, what is wrong, and the value found."""

    path: str
    problem: str
    got: str | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.problem}"
        return text if self.got is None else f"{text}, got {shorten(self.got)}"


def shorten(value: object, most: int = SHOWN_VALUE) -> str:
    """The value as one printable, redacted line of at most ``most`` characters."""
    text = " ".join(redact(str(value)).split("\n"))
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"


class BatchdeployError(Exception):
    """Base of all exceptions here: a location, its problems, and a hint.

    Args:
        where: the file, partition or system that has the problems.
        problems: at least one; a bare string stands for a problem of ``where`` as a whole.
        hint: the next command to type.
    """

    exit_code = 3
    noun = "problem"

    def __init__(self, where: str, problems: tuple[Problem, ...] | str, *, hint: str | None = None) -> None:
        self.where = shorten(where, SHOWN_TEXT)
        given = (Problem(where, problems),) if isinstance(problems, str) else problems
        self.problems = tuple(
            Problem(
                shorten(problem.path, SHOWN_TEXT),
                shorten(problem.problem, SHOWN_TEXT),
                None if problem.got is None else redact(problem.got),
            )
            for problem in given
        )
        self.hint = None if hint is None else redact(hint)
        super().__init__(self.where, self.problems, self.hint)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.where, self.problems, self.hint)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"{count} {self.noun}{'' if count == 1 else 's'} in {self.where}:"]
        lines += [f"- {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if count > SHOWN_PROBLEMS:
            lines.append(f"- … and {count - SHOWN_PROBLEMS} more")
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return "\n".join(lines)


def _rebuild(
    kind: type[BatchdeployError], where: str, problems: tuple[Problem, ...], hint: str | None
) -> BatchdeployError:
    return kind(where, tuple(Problem(*problem) for problem in problems), hint=hint)


class GateRefused(BatchdeployError):
    """A gate refused: the evidence is on disk, nothing was published.

    Attributes:
        folder: the folder of the evidence; None if no attempt had begun.
        run_id: the refused run; None if none had begun.
    """

    exit_code = 1
    folder: str | None = None
    run_id: str | None = None

    @property
    def report(self) -> str | None:
        """The path of the run's report; None if no attempt had begun."""
        return None if self.folder is None else f"{self.folder}/report.html"

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), dict(vars(self)))


class ValidationRefused(GateRefused):
    """An expectation of level ``block`` failed."""

    noun = "failed expectation"


class ScoringRefused(GateRefused):
    """Too many rows were quarantined, or the model's output is not what was declared."""


class DriftRefused(GateRefused):
    """A drift alarm was raised and the deployment sets ``on_alarm: block``."""

    noun = "drift alarm"


class PromotionRefused(GateRefused):
    """A reviewer rejected the challenger."""

    noun = "rejection"


class BackfillRefused(GateRefused):
    """Gates refused partitions of a backfill; the others are published.

    Attributes:
        refusals: partition to its refusal.
        runs: the runs of the other partitions.
    """

    noun = "refused partition"
    refusals: Mapping[str, GateRefused] = {}
    runs: tuple[Any, ...] = ()


class RequestError(BatchdeployError):
    """The request was wrong; nothing was written."""

    exit_code = 2


class DeploymentError(RequestError):
    """The deployment file is missing or wrong."""


class PartitionError(RequestError):
    """The partition is unknown, empty or malformed."""


class ContractError(RequestError):
    """The model's signature, the data and the deployment do not match."""

    noun = "mismatch"

    def __str__(self) -> str:
        return super().__str__().replace("mismatchs in", "mismatches in", 1)


class DataError(RequestError):
    """A file, a suite or a reference cannot be used."""


class TableError(RequestError):
    """The output is another deployment's table, or holds other columns or another model's scores."""


class MissingPackageError(RequestError):
    """An optional package that the request needs is not installed."""


class OutsideError(BatchdeployError):
    """Something outside failed; the same request may succeed later."""

    exit_code = 3


class RunStopped(OutsideError):
    """The run was stopped or took too long; the hint says whether anything was published."""


class RegistryError(OutsideError):
    """The model registry failed or did not answer."""


class SourceError(OutsideError):
    """The place where the rows are failed, or lacks something that it recorded."""


class EngineError(OutsideError):
    """The engine failed, or lost rows."""


class PublishError(OutsideError):
    """The table could not be locked or swapped."""


class StaleRunError(PublishError):
    """Another run has published this partition since this run was planned."""
