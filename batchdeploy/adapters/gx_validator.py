"""Great Expectations: a suite's text, read strictly, evaluated over a pandas or a Spark frame."""

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

from batchdeploy.core.records import ExpectationResult
from batchdeploy.documents import canonical, parse_json
from batchdeploy.errors import DataError, Problem, shorten

# NOTE: asking for counts only costs Spark a sixth of the jobs; details are asked of what failed.
COUNTS = {"result_format": "SUMMARY", "partial_unexpected_count": 0, "return_unexpected_index_query": False}
DETAILS = {**COUNTS, "partial_unexpected_count": 5}
SUITE_KEYS = {"name", "expectations", "meta", "notes", "id", "suite_parameters"}
ENTRY_KEYS = {"type", "kwargs", "meta", "id", "notes", "description"}
ONE_COLUMN = ("column", "column_A", "column_B")
COUNT_ROWS = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
OVERRIDES = {"severity", "meta", "result_format", "catch_exceptions", "row_condition"}
LEVELS = ("block", "warn")
EXACT = 2**53


class GxValidator:
    """Reads and evaluates suites. GX's own loader drops what it does not know; this one refuses.

    Args:
        sound: where to leave a mark for each suite that was evaluated; one that has a mark is known to be
            sound, and GX need not be imported, which takes seconds, to look at it again.
    """

    def __init__(self, sound: Path | None = None) -> None:
        self._sound = sound
        logger = logging.getLogger("great_expectations")
        if logger.level == logging.NOTSET:
            # NOTE: it tells at level info of each function it meets, hundreds of them, into a task's log.
            logger.setLevel(logging.WARNING)

    def problems(self, suite_text: str, *, where: str) -> tuple[Problem, ...]:
        """What is wrong with the suite, without any data; empty where it can be evaluated as it stands.

        Raises:
            DataError: the text is not a suite at all.
        """
        mark = self._mark(suite_text)
        if mark is not None and mark.exists():
            return ()
        return tuple(_suite_problems(_entries(suite_text, where=where)))

    def columns(self, suite_text: str, *, where: str) -> frozenset[str] | None:
        """The columns that the suite looks at, or None where it looks at the table as a whole."""
        found: set[str] = set()
        for entry in _entries(suite_text, where=where).values():
            kwargs = entry["kwargs"]
            named = {kwargs[key] for key in ONE_COLUMN if key in kwargs} | set(kwargs.get("column_list", ()))
            if not named and entry["type"] not in COUNT_ROWS:
                return None
            found |= named
        return frozenset(found)

    def check(self, suite_text: str, frame: Any, *, where: str) -> tuple[ExpectationResult, ...]:
        """Every expectation's result, in the suite's order; one that raises is a result too."""
        entries = _entries(suite_text, where=where)
        with _quiet():
            batch = _batch(frame)
            raw = _evaluate(batch, entries, COUNTS)
            failed = [place for place, result in raw.items() if not result["success"]]
            raw |= _evaluate(batch, {place: entries[place] for place in failed}, DETAILS)
            del batch
            gc.collect()
        mark = self._mark(suite_text)
        # NOTE: also where it is there: what nobody has used for a month is removed.
        if mark is not None and (mark.exists() or not any(_suite_problems(entries))):
            with suppress(OSError):
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
        return tuple(_result(entries[place], raw[place]) for place in sorted(entries))

    def _mark(self, suite_text: str) -> Path | None:
        """Named for all that the verdict depends on: the suite, GX, and this module."""
        if self._sound is None:
            return None
        ours = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        text = sha256(suite_text.encode()).hexdigest()
        return self._sound / f"{text}-gx{metadata.version('great-expectations')}-{ours}"


def _entries(suite_text: str, *, where: str) -> dict[int, dict[str, Any]]:
    suite = parse_json(suite_text, where=where)
    expectations = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(expectations, list) or not all(isinstance(e, dict) for e in expectations):
        raise DataError(where, "not an expectation suite: it needs a list under 'expectations'")
    if not expectations:
        raise DataError(where, "the suite is empty, and an empty suite passes everything")
    if unknown := set(suite) - SUITE_KEYS:
        raise DataError(where, tuple(Problem(key, "unknown key") for key in sorted(unknown)))
    return dict(enumerate(expectations))


def _suite_problems(entries: dict[int, dict[str, Any]]) -> Iterator[Problem]:
    seen: Counter[bytes] = Counter()
    for place, entry in entries.items():
        path = f"expectations.{place}"
        for key in sorted(set(entry) - ENTRY_KEYS):
            yield Problem(f"{path}.{key}", "unknown key")
        level = (entry.get("meta") or {}).get("level", "block")
        if level not in LEVELS:
            yield Problem(f"{path}.meta.level", "must be block or warn", str(level))
        kwargs = entry.get("kwargs")
        if not isinstance(kwargs, dict):
            yield Problem(f"{path}.kwargs", "is required")
            continue
        yield from _argument_problems(f"{path}.kwargs", kwargs)
        yield from _construction_problems(path, entry)
        identity = canonical([entry.get("type"), kwargs])
        seen[identity] += 1
        if seen[identity] == 2:
            yield Problem(path, "the same expectation stands here twice", str(entry.get("type")))


def _argument_problems(path: str, kwargs: dict[str, Any]) -> Iterator[Problem]:
    for key in sorted(OVERRIDES & set(kwargs)):
        yield Problem(f"{path}.{key}", "not taken here")
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        yield Problem(path, "min_value lies above max_value", f"{low} > {high}")
    for key, value in kwargs.items():
        if isinstance(value, dict) and "$PARAMETER" in value:
            yield Problem(f"{path}.{key}", "suite parameters are not taken here")
        if isinstance(value, int) and abs(value) > EXACT:
            yield Problem(f"{path}.{key}", "GX compares as double; this is beyond 2**53", str(value))
        if key == "value_set" and not value:
            yield Problem(f"{path}.{key}", "is empty")


def _construction_problems(path: str, entry: dict[str, Any]) -> Iterator[Problem]:
    with _quiet():
        try:
            _configuration(entry).to_domain_obj()
        except (TypeError, ValueError) as error:
            yield Problem(path, "GX refuses its arguments", " ".join(str(error).split()))
        except Exception as error:
            yield Problem(
                f"{path}.type", "GX does not know this expectation", f"{entry.get('type')} ({error})"
            )


def _configuration(entry: dict[str, Any], place: int = 0) -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(
        type=str(entry.get("type")), kwargs=dict(entry["kwargs"]), meta={"batchdeploy_place": place}
    )


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
    """GX's results by the place of their expectation: GX orders them by column."""
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
        level=(entry.get("meta") or {}).get("level", "block"),
        # NOTE: GX passes an expectation that met no value at all; nothing checked is not a pass.
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
    """GX without its warnings, and without its log of what its results say anyway."""
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
