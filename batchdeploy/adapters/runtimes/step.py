"""What stands where a fitted step of a scikit-learn model stood."""

from __future__ import annotations

from typing import Any


class Step:
    """Has the attributes of the step it stands for, and answers in its place."""

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_fitted"], name)

    def __sklearn_is_fitted__(self) -> bool:
        return True
