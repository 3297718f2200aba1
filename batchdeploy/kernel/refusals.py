"""Refuses predictions as a whole."""

from __future__ import annotations

from typing import NoReturn

from batchdeploy.errors import Problem, ScoringRefused


def refuse_answer(path: str, problem: str, got: str, *, hint: str | None = None) -> NoReturn:
    """Raises ScoringRefused for one problem with a model's predictions."""
    raise ScoringRefused("the model's answer", (Problem(path, problem, got),), hint=hint)
