"""Parses Great Expectations suites strictly and evaluates them on a pandas or Spark frame."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from batchdeploy.core import suites
from batchdeploy.core.records import ExpectationResult
from batchdeploy.core.suites import (
    argument_problems,
    columns_of,
    condition_text,
    entry_problems,
    level_of,
    plain_condition,
    suite_entries,
)
from batchdeploy.documents import canonical, parse_json
from batchdeploy.errors import DataError, Problem, shorten
from batchdeploy.host.file_modes import restrict

# Counts alone take a sixth of the Spark jobs; only failed expectations are evaluated again for details.
COUNTS = {"result_format": "SUMMARY", "partial_unexpected_count": 0, "return_unexpected_index_query": False}
DETAILS = {**COUNTS, "partial_unexpected_count": 5}


class GxValidator:
    """Reads and evaluates suites. Rejects unknown keys, which GX's own loader drops.

    Args:
        sound: folder for a marker file per suite without problems; a suite with a marker is not checked
            again, which saves the seconds that importing GX takes.
    """

    def __init__(self, sound: Path | None = None) -> None:
        self._sound = sound
        logger = logging.getLogger("great_expectations")
        if logger.level == logging.NOTSET:
            # At level info GX logs hundreds of functions into a task's log.
            logger.setLevel(logging.WARNING)

    def problems(self, suite_text: str, *, where: str) -> tuple[Problem, ...]:
        """The suite's problems, found without data; empty if it can be evaluated.

        Raises:
            DataError: the text is not a suite.
        """
        mark = self._mark(suite_text)
        if mark is not None and mark.exists():
            return ()
        return tuple(_suite_problems(_entries(suite_text, where=where)))

    def columns(self, suite_text: str, *, where: str) -> frozenset[str] | None:
        """The columns that the suite uses, or None if an expectation covers the whole table."""
        found = [columns_of(entry) for entry in _entries(suite_text, where=where).values()]
        return None if None in found else frozenset[str]().union(*(names for names in found if names))

    def check(self, suite_text: str, frame: Any, *, where: str) -> tuple[ExpectationResult, ...]:
        """Every expectation's result, in the suite's order; an exception is a result, too."""
        entries = _entries(suite_text, where=where)
        with _quiet():
            batch = _batch(frame)
            raw = _evaluate(batch, entries, COUNTS)
            failed = [place for place, result in raw.items() if not result["success"]]
            raw |= _evaluate(batch, {place: entries[place] for place in failed}, DETAILS)
            del batch
            gc.collect()
        mark = self._mark(suite_text)
        # Touches an existing marker, too, because garbage collection removes those untouched for a month.
        if mark is not None and (mark.exists() or not any(_suite_problems(entries))):
            with suppress(OSError):
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
                restrict(mark)
        return tuple(_result(entries[place], raw[place]) for place in sorted(entries))

    def _mark(self, suite_text: str) -> Path | None:
        """The marker's path, named by suite, GX version and a hash of the code that reads suites."""
        if self._sound is None:
            return None
        readers = (Path(__file__), Path(suites.__file__))
        ours = sha256(b"".join(file.read_bytes() for file in readers)).hexdigest()[:8]
        text = sha256(suite_text.encode()).hexdigest()
        return self._sound / f"{text}-gx{metadata.version('great-expectations')}-{ours}"


def _entries(suite_text: str, *, where: str) -> dict[int, dict[str, Any]]:
    return suite_entries(parse_json(suite_text, where=where), where=where)


def _suite_problems(entries: dict[int, dict[str, Any]]) -> Iterator[Problem]:
    seen: Counter[bytes] = Counter()
    for place, entry in entries.items():
        path = f"expectations.{place}"
        found = [*entry_problems(path, entry)]
        yield from found
        if any(problem.path in (f"{path}.kwargs", f"{path}.type") for problem in found):
            continue
        wrong = [*argument_problems(f"{path}.kwargs", entry["kwargs"])]
        yield from wrong
        if not any(problem.path.startswith(f"{path}.kwargs.row_condition") for problem in wrong):
            yield from _construction_problems(path, entry)
        identity = canonical([entry["type"], entry["kwargs"]])
        seen[identity] += 1
        if seen[identity] == 2:
            yield Problem(path, "duplicates an earlier expectation", entry["type"])


def _construction_problems(path: str, entry: dict[str, Any]) -> Iterator[Problem]:
    with _quiet():
        try:
            _configuration(entry).to_domain_obj()
        except (TypeError, ValueError) as error:
            yield Problem(path, "GX refuses its arguments", " ".join(str(error).split()))
        except Exception as error:
            yield Problem(f"{path}.type", "GX does not know this expectation", f"{entry['type']} ({error})")


def _configuration(entry: dict[str, Any], place: int = 0) -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    kwargs = dict(entry["kwargs"])
    if "row_condition" in kwargs:
        kwargs["row_condition"] = plain_condition(kwargs["row_condition"])
    return ExpectationConfiguration(type=entry["type"], kwargs=kwargs, meta={"batchdeploy_place": place})


def _batch(frame: Any) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    if type(frame).__module__.startswith("pandas"):
        source: Any = context.data_sources.add_or_update_pandas("rows")
    else:
        # NOTE: by default GX persists the caller's frame, and filters on a cached frame lose NaN rows.
        source = context.data_sources.add_or_update_spark("rows", persist=False)
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return definition.get_batch(batch_parameters={"dataframe": frame})


def _evaluate(
    batch: Any, entries: dict[int, dict[str, Any]], form: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """GX's results by the index of their expectation, because GX sorts them by column."""
    if not entries:
        return {}
    from great_expectations.core import ExpectationSuite

    wanted = [_configuration(entry, place).to_domain_obj() for place, entry in entries.items()]
    answer = batch.validate(ExpectationSuite(name="suite", expectations=wanted), result_format=form)
    results = answer.to_json_dict()["results"]
    by_place = {r["expectation_config"]["meta"]["batchdeploy_place"]: r for r in results}
    if set(by_place) != set(entries):
        raise DataError("expectation suite", f"GX evaluated {len(by_place)} of {len(entries)} expectations")
    return by_place


def _result(entry: dict[str, Any], raw: dict[str, Any]) -> ExpectationResult:
    result, kwargs = raw["result"], dict(entry["kwargs"])
    elements, missing = result.get("element_count"), result.get("missing_count") or 0
    if kwargs.get("row_condition"):
        kwargs["row_condition"] = condition_text(kwargs["row_condition"])
    column = kwargs.pop("column", None) or ", ".join(kwargs.pop("column_list", ())) or None
    observed = result.get("observed_value")
    unexpected = [value for value in result.get("partial_unexpected_list") or () if value is not None]
    examples = tuple(dict.fromkeys(shorten(value) for value in unexpected))
    exception = _exception(raw["exception_info"])
    evaluated = None if elements is None else elements - missing
    return ExpectationResult(
        expectation=entry["type"],
        column=column,
        arguments=", ".join(f"{key}={shorten(value)}" for key, value in kwargs.items()),
        level=level_of(entry),
        # NOTE: GX passes an expectation that evaluated no value; here it fails.
        success=bool(raw["success"]) and exception is None and evaluated != 0,
        evaluated=evaluated,
        unexpected=result.get("unexpected_count"),
        observed=None if observed is None else shorten(observed),
        examples=examples,
        exception=exception or ("no value to evaluate" if evaluated == 0 else None),
    )


def _exception(info: dict[str, Any]) -> str | None:
    found = [info] if "raised_exception" in info else list(info.values())
    messages = dict.fromkeys(shorten(one["exception_message"]) for one in found if one["raised_exception"])
    return "; ".join(messages) or None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences GX's warnings, and its log, which repeats the results."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")
    before = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations  # noqa: F401

        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(before)
