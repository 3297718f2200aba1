"""Any order of publishing, dying, recovering, rolling back, collecting garbage, against a model."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchdeploy.errors import PartitionError, StaleRunError
from batchdeploy.storage.failpoints import POINTS
from faults.campaign import Known
from faults.killing import finished, in_child, killed_at
from faults.oracle import published_run, violations
from faults.publishing import manifest, plan, publish, run_name, stage, swap_table

FOLDERS = st.sampled_from(["date=2024-01-01", "date=2024-01-02"])
INTENT = POINTS.index("intent written")
KEEP = 2
EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "20"))


class Table(RuleBasedStateMachine):
    """What the model knows: which run each partition shows, and which earlier runs are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="table-"))
        self.root = self.home / "scores"
        self.published: dict[str, str | None] = {}
        self.generations: dict[str, list[str]] = {}
        self.number = 0
        self.known = Known()

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    def _new(self) -> str:
        self.number += 1
        return run_name(self.number)

    def _shows(self, folder: str, run: str) -> None:
        before = self.published.get(folder)
        kept = self.generations.setdefault(folder, [])
        if run in kept:
            kept.remove(run)
        if before is not None and before != run:
            kept.append(before)
        self.published[folder] = run

    @rule(folder=FOLDERS)
    def publishes(self, folder: str) -> None:
        run = self._new()
        publish(swap_table(self.root, keep=KEEP), folder, run, self.published.get(folder))
        self._shows(folder, run)
        self.generations[folder] = self.generations[folder][-KEEP:]

    @rule(folder=FOLDERS, point=st.sampled_from(POINTS))
    def dies_publishing(self, folder: str, point: str) -> None:
        run, base_run = self._new(), self.published.get(folder)
        fired = killed_at(point, lambda: publish(swap_table(self.root, keep=KEEP), folder, run, base_run))
        if not fired or POINTS.index(point) >= INTENT:
            self._shows(folder, run)
        swap_table(self.root).maintenance.recover(now=time.time()) if fired else None
        if folder in self.generations:
            self.generations[folder] = self.generations[folder][-KEEP:]

    @rule(folder=FOLDERS)
    def two_at_once(self, folder: str) -> None:
        """Both were planned on the same published run: one of them publishes."""
        base_run, runs = self.published.get(folder), (self._new(), self._new())

        def racing(run: str):  # type: ignore[no-untyped-def]
            def work(tell):  # type: ignore[no-untyped-def]
                table = swap_table(self.root, keep=KEEP)
                scored = stage(table, folder, run)
                try:
                    table.publisher.publish(
                        plan(folder, run, base_run),
                        scored,
                        lambda: manifest(run, scored, f"{time.time_ns():020d}"),
                    )
                    tell(run)
                except StaleRunError:
                    table.staging.discard(scored.attempt)

            return in_child(work)

        told = [finished(*child) for child in [racing(run) for run in runs]]
        assert [code for code, _ in told] == [0, 0]
        winners = [line for _, lines in told for line in lines]
        assert len(winners) == 1
        self._shows(folder, winners[0])
        self.generations[folder] = self.generations[folder][-KEEP:]

    @rule(folder=FOLDERS, wanted=st.integers(0, 3), point=st.none() | st.sampled_from(POINTS[INTENT:]))
    def goes_back(self, folder: str, wanted: int, point: str | None) -> None:
        kept = self.generations.get(folder, [])
        to = kept[wanted] if wanted < len(kept) else None
        if not kept:
            with pytest.raises(PartitionError):
                swap_table(self.root).publisher.roll_back(
                    folder, to=to, expected_run=self.published.get(folder), at="now"
                )
            return
        stamp = str(self.number)
        target = to or swap_table(self.root).table.generations(folder)[0]

        def back() -> None:
            swap_table(self.root, keep=KEEP).publisher.roll_back(
                folder, to=target, expected_run=self.published[folder], at=stamp
            )

        if point is None or not killed_at(point, back):
            back() if point is None else None
        swap_table(self.root).maintenance.recover(now=time.time())
        self._shows(folder, target)

    @rule()
    def collects_garbage(self) -> None:
        swap_table(self.root, keep=KEEP).maintenance.collect_garbage(now=time.time())
        self.generations = {
            folder: [run for run in kept if run in swap_table(self.root).table.generations(folder)]
            for folder, kept in self.generations.items()
        }
        assert all(len(kept) <= KEEP for kept in self.generations.values())

    @rule(point=st.sampled_from(["old generations pruned", "table locked", "dead runs finished"]))
    def dies_collecting(self, point: str) -> None:
        killed_at(point, lambda: swap_table(self.root, keep=0).maintenance.collect_garbage(now=time.time()))
        swap_table(self.root).maintenance.recover(now=time.time())
        self.generations = {
            folder: [run for run in kept if run in swap_table(self.root).table.generations(folder)]
            for folder, kept in self.generations.items()
        }

    @invariant()
    def shows_what_was_published(self) -> None:
        assert violations(self.root, self.known) == []
        for folder, run in self.published.items():
            assert published_run(self.root, folder) == run
            # A kill may interrupt pruning, so there may be more generations than in the model, never fewer.
            assert set(self.generations.get(folder, [])) <= set(
                swap_table(self.root).table.generations(folder)
            )


class TestTable(Table.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(
        max_examples=EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    pytestmark = pytest.mark.slow
