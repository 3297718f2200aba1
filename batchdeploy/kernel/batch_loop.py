"""The loop that scores batches one after another and counts rows; each task runs it over one split."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batchdeploy.core.casts import CastCount, add_counts
from batchdeploy.core.policy import PolicyViolation, Rule
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import QuarantinedRows
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.kernel.keys import MASK, RepeatedKeys, candidate_keys, hash_keys, sum_hashes
from batchdeploy.kernel.model_call import ModelCall
from batchdeploy.kernel.profiling import count_batch, empty, merge
from batchdeploy.kernel.row_filter import FilteredBatch
from batchdeploy.kernel.row_policy import RowFault, findings
from batchdeploy.kernel.scoring import RowOrigin, ScoredRows, same_twice, score_batch

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SMALLER = 8
Result = TypeVar("Result")


class Writers(NamedTuple):
    """Callbacks that receive the rows of each batch.

    Attributes:
        scored: called for every batch, so that a split without scored rows still has a file.
        quarantined: called for batches with quarantined rows.
    """

    scored: Callable[[pa.RecordBatch], None]
    quarantined: Callable[[pa.RecordBatch], None]


class Counts(NamedTuple):
    """Counts over the rows of all batches.

    Attributes:
        rows_in: number of rows matching ``where``; ``rows_left_out`` is the number of the others.
        keys_in: the order-independent checksum of their keys.
        hashes: the hash of each row's keys, one array per batch, in row order.
        quarantined: the number of quarantined rows by stage and reason.
        profile: the values counted into the bins of the spec.
        findings: the number of rows that violate a rule, by rule and column.
        casts: what the declared casts did to the values.
    """

    rows_in: int
    rows_left_out: int
    keys_in: int
    hashes: tuple[np.ndarray[Any, Any], ...]
    quarantined: tuple[QuarantinedRows, ...]
    profile: tuple[ColumnProfile, ...]
    findings: tuple[PolicyViolation, ...]
    casts: tuple[CastCount, ...] = ()


def score_batches(
    batches: Iterable[FilteredBatch],
    spec: ScoringSpec,
    predict: Callable[..., Any],
    *,
    source: str,
    writers: Writers,
) -> Counts:
    """Scores all batches; each row goes to one of the two writers.

    Args:
        batches: the rows, from `batchdeploy.kernel.row_filter.filter_batch`.
        spec: columns, policy, outputs, stamps, and how the model is called.
        predict: the model: a function from what its signature takes (see `batchdeploy.kernel.model_call`) to
            predictions, one per row.
        source: the name of the input file of batches that do not name theirs, for the quarantined rows.
        writers: receive the rows.

    Raises:
        ScoringRefused: see `score_batch` and `same_twice`.
        MemoryError: the batches are too large; see `retry_smaller`.
    """
    totals, call = _Totals(spec), ModelCall(predict, spec)
    for found in batches:
        batch = found.batch
        if not totals.rows and batch.num_rows and spec.policy.nondeterministic == "fail":
            same_twice(batch, spec, call)
        origin = RowOrigin(found.file or source, found.places, found.originals)
        rows = score_batch(batch, spec, call, origin=origin, faults=found.faults)
        totals.left_out += found.left_out
        totals.casts = add_counts((*totals.casts, *found.casts))
        totals.add(batch, rows)
        writers.scored(rows.scored)
        if rows.quarantined.num_rows:
            writers.quarantined(rows.quarantined)
    return totals.counts()


def flag_duplicates(
    batches: Iterable[FilteredBatch], duplicates: Sequence[int], keys: Sequence[str]
) -> Iterator[FilteredBatch]:
    """Yields the batches with a ``duplicate_key`` fault for the rows in ``duplicates``.

    Args:
        batches: rows matching ``where``.
        duplicates: positions of these rows, counted over all batches, ascending.
        keys: the names of the key columns.
    """
    start = 0
    for filtered in batches:
        end = start + filtered.batch.num_rows
        rows = duplicates[bisect_left(duplicates, start) : bisect_left(duplicates, end)]
        fault = RowFault("duplicate_key", ", ".join(keys), [row - start for row in rows])
        yield filtered._replace(faults=(*filtered.faults, fault)) if rows else filtered
        start = end


def flag_keys(
    batches: Iterable[FilteredBatch], repeated: RepeatedKeys, keys: Sequence[str]
) -> Iterator[FilteredBatch]:
    """Yields the batches with a ``duplicate_key`` fault for the rows whose keys are repeated.

    Args:
        batches: rows matching ``where``.
        repeated: the keys that occur more than once.
        keys: the names of the key columns.
    """
    for filtered in batches:
        rows, found = candidate_keys(filtered.batch.select(list(keys)), repeated.hashes)
        flagged = [int(row) for row, key in zip(rows, found, strict=True) if key in repeated.keys]
        fault = RowFault("duplicate_key", ", ".join(keys), flagged)
        yield filtered._replace(faults=(*filtered.faults, fault)) if flagged else filtered


def retry_smaller(attempt: Callable[[int], Result], batch_rows: int) -> Result:
    """Calls ``attempt`` with smaller batches until it does not run out of memory; returns its result.

    Args:
        attempt: does the whole work with this many rows per batch, from the start in each call.
        batch_rows: rows per batch in the first call.

    Raises:
        MemoryError, pyarrow.lib.ArrowCapacityError: a batch of one row is too large.
    """
    import pyarrow as pa

    while True:
        try:
            return attempt(batch_rows)
        except (MemoryError, pa.lib.ArrowCapacityError):
            if batch_rows == 1:
                raise
            batch_rows = max(1, batch_rows // SMALLER)


class _Totals:
    """Running counts over batches."""

    def __init__(self, spec: ScoringSpec) -> None:
        self.rows = 0
        self.left_out = 0
        self.casts: tuple[CastCount, ...] = ()
        self._spec = spec
        self._keys = 0
        self._hashes: list[np.ndarray[Any, Any]] = []
        self._broken: Counter[tuple[Rule, str]] = Counter()
        self._profile = {(bin_.role, bin_.name): empty(bin_) for bin_ in spec.bins}
        self._reasons: Counter[tuple[Any, str]] = Counter()

    def add(self, batch: pa.RecordBatch, rows: ScoredRows) -> None:
        spec, (scored, quarantined, broken) = self._spec, rows
        hashes = hash_keys(batch.select(list(spec.keys)))
        self.rows += batch.num_rows
        self._keys = (self._keys + sum_hashes(hashes)) & MASK
        self._hashes.append(hashes)
        self._broken.update(broken)
        features = {name: batch.column(name) for name in batch.schema.names}
        outputs = {name: scored.column(name) for name, _ in spec.outputs}
        counted = count_batch(spec.bins, "feature", features) | count_batch(spec.bins, "output", outputs)
        for key, profile in counted.items():
            self._profile[key] = merge(self._profile[key], profile)  # type: ignore[index]
        stages, reasons = (quarantined.column(name).to_pylist() for name in ("_stage", "_reason"))
        self._reasons.update(zip(stages, reasons, strict=True))

    def counts(self) -> Counts:
        return Counts(
            rows_in=self.rows,
            rows_left_out=self.left_out,
            keys_in=self._keys,
            hashes=tuple(self._hashes),
            quarantined=tuple(
                QuarantinedRows(stage=stage, reason=reason, rows=rows)
                for (stage, reason), rows in sorted(self._reasons.items())
            ),
            profile=tuple(self._profile.values()),
            findings=findings(self._broken, self._spec.policy),
            casts=self.casts,
        )
