"""The same attempt published again by another process, as an orchestrator's retry does; and who sweeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchdeploy.core.layout import Layout
from batchdeploy.publishing import attempts
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.storage.failpoints import POINTS
from faults.campaign import FOLDERS, Known
from faults.killing import killed_at
from faults.oracle import published_run, violations
from faults.publishing import manifest, plan, run_name, stage, swap_table

FOLDER = FOLDERS[0]
OLD, NEW = run_name(0), run_name(1)
# After these points the intent exists, and staging may be gone.
DECIDED = POINTS[POINTS.index("intent written") : POINTS.index("staging removed") + 1]


def staged_run(root: Path, run: str) -> Any:
    """A scored attempt that another process may publish."""
    scored = stage(swap_table(root), FOLDER, run)
    swap_table(root).staging.hand_over(scored.attempt)
    return scored


@pytest.mark.parametrize("overwrite", [False, True], ids=["first publish", "overwrite"])
@pytest.mark.parametrize("point", DECIDED)
def test_a_retry_of_a_publish_that_was_decided_says_that_it_is_published(
    tmp_path: Path, point: str, overwrite: bool
) -> None:
    root = tmp_path / "scores"
    base_run = None
    if overwrite:
        first = staged_run(root, OLD)
        swap_table(root).publisher.publish(plan(FOLDER, OLD, None), first, lambda: manifest(OLD, first, "1"))
        base_run = OLD
    scored = staged_run(root, NEW)

    def publishing() -> object:
        return swap_table(root).publisher.publish(plan(FOLDER, NEW, base_run), scored, told)

    def told() -> tuple[str, str]:
        text, at = manifest(NEW, scored, "2")
        return json.dumps(json.loads(text) | {"attempt": scored.attempt}), at

    assert killed_at(point, publishing), "the fault did not fire"
    assert json.loads(str(publishing()))["run_id"] == NEW
    assert published_run(root, FOLDER) == NEW
    swap_table(root).maintenance.recover(now=time.time())
    assert violations(root, Known()) == []


def test_who_sweeps_just_then_leaves_an_attempt_that_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "scores")
    scorer, sweeper = Attempts(layout), Attempts(layout)
    attempt = scorer.begin("a" * 16)
    (attempt / "scored" / "rows").write_text("rows")
    real: Callable[[Path], Any] = attempts.try_lock
    fired = []

    def handed_over_just_before(file: Path) -> Any:
        if not fired:
            fired.append(file)
            scorer.hand_over(attempt.name)
        return real(file)

    monkeypatch.setattr(attempts, "try_lock", handed_over_just_before)
    assert sweeper.sweep(time.time()) == ()
    assert fired
    assert (attempt / "scored" / "rows").exists()
    assert sweeper.sweep(time.time()) == ()
    assert sorted(path.name for path in layout.staging.iterdir()) == [attempt.name, f"{attempt.name}.handed"]
    sweeper.discard(attempt.name)
    assert list(layout.staging.iterdir()) == []


def test_an_attempt_that_nobody_came_back_to_goes_after_a_week(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "scores")
    scorer = Attempts(layout)
    attempt = scorer.begin("a" * 16)
    scorer.hand_over(attempt.name)
    assert scorer.sweep(time.time() + 6 * 86_400) == ()
    assert scorer.sweep(time.time() + 8 * 86_400) == (attempt.name,)
    assert list(layout.staging.iterdir()) == []


def test_a_sign_of_life_that_a_sweeper_looks_at_is_not_this_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = attempts.try_lock, []

    def busy_once(file: Path) -> Any:
        if not refused:
            refused.append(file)
            return None
        return real(file)

    monkeypatch.setattr(attempts, "try_lock", busy_once)
    attempt = Attempts(Layout(tmp_path / "scores")).begin("a" * 16)
    assert refused[0].stem != attempt.name
    assert attempt.is_dir()
