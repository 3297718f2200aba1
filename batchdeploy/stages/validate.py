"""Evaluates the suite on the partition's rows; a separate gate raises for failed expectations."""

from __future__ import annotations

from batchdeploy.core.records import CheckReport, Plan
from batchdeploy.errors import Problem, ValidationRefused
from batchdeploy.ports import PartitionReader, TextSource, Validator


def validate(
    plan: Plan,
    *,
    texts: TextSource,
    reader: PartitionReader,
    validator: Validator | None,
    now: str,
) -> CheckReport:
    """The results of the suite on the partition; an empty report if the deployment has no suite.

    Args:
        plan: the run's plan.
        texts: reads the suite.
        reader: reads the partition.
        validator: evaluates the suite; None if there is none.
        now: the time, ISO 8601.

    Raises:
        DataError: the suite or a data file changed since the plan was made.
    """
    if plan.suite is None or validator is None:
        return CheckReport(run_id=plan.run_id, started_at=now, rows=plan.schema.rows, results=())
    suite = texts.read_pinned(plan.suite)
    columns = validator.columns(suite, where=plan.suite.path)
    with reader.frame(plan, columns) as frame:
        results = validator.check(suite, frame, where=plan.suite.path)
    return CheckReport(run_id=plan.run_id, started_at=now, rows=plan.schema.rows, results=results)


def gate_validation(plan: Plan, report: CheckReport) -> None:
    """Raises if an expectation of level ``block`` failed.

    Raises:
        ValidationRefused: lists each of them.
    """
    if report.blocking:
        raise ValidationRefused(
            f"{plan.data.path}/{plan.folder}",
            tuple(
                Problem(
                    result.column or "table",
                    f"{result.expectation}({result.arguments})",
                    _found(result.unexpected, result.evaluated, result.examples or result.observed)
                    if result.exception is None
                    else result.exception,
                )
                for result in report.blocking
            ),
            hint=f"batchdeploy show {plan.attempt or plan.run_id} has the evidence; nothing was published",
        )


def _found(unexpected: int | None, evaluated: int | None, seen: tuple[str, ...] | str | None) -> str:
    what = ", ".join(seen[:3]) if isinstance(seen, tuple) else seen
    if unexpected is None:
        return str(what)
    return f"{unexpected} of {evaluated} rows" + (f", such as {what}" if what else "")
