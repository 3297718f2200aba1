"""Compares the predictions of an accelerated model with those of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

# (relative, absolute). Predictions in 32 bits have a rounding error of about 1e-7.
TOLERANCE, SINGLE_TOLERANCE = (1e-9, 1e-12), (2e-6, 1e-7)


def allclose(first: Any, second: Any, *, single: bool = False) -> Any:
    """A mask of the equal predictions, NaN included; ``single`` if the model predicts in 32 bits."""
    import numpy as np

    rtol, atol = SINGLE_TOLERANCE if single else TOLERANCE
    return np.isclose(first, second, rtol=rtol, atol=atol, equal_nan=True)


class Equality(NamedTuple):
    """The result of comparing two predictors on the same rows.

    Attributes:
        rows: the number of rows compared.
        differing: the number of rows whose predictions differ: by more than 1e-9 relative and 1e-12 absolute,
            for 32-bit floats 2e-6 and 1e-7, or at all if they are no floats.
        largest: the largest absolute difference; infinite if shapes or missing values differ.
    """

    rows: int
    differing: int
    largest: float

    @property
    def equal(self) -> bool:
        """Whether at least one row was compared, and all are equal."""
        return self.rows > 0 and not self.differing

    @property
    def summary(self) -> str:
        """The result as a sentence for messages."""
        by = (
            "in shape, or in what is missing"
            if self.largest == float("inf")
            else f"by up to {self.largest:.3g}"
        )
        return f"{self.differing} of {self.rows} rows differ, {by}"


def compare_predictions(
    native: Callable[[Any], Any],
    other: Callable[[Any], Any],
    frames: Iterable[Any],
    *,
    single: bool = False,
) -> Equality:
    """Predicts every frame with both and compares the results.

    Args:
        native: the original model. Rows that it fails on are left out, because a run quarantines them.
        other: its replacement.
        frames: the model's inputs.
        single: whether the model computes in 32 bits, although its predictions are 64-bit floats.
    """
    import numpy as np

    rows = differing = 0
    largest = 0.0
    for frame, answer in _answered(native, frames):
        wanted, got = np.asarray(answer), np.asarray(other(frame))
        rows += len(frame)
        if wanted.shape != got.shape:
            return Equality(rows, rows, float("inf"))
        if wanted.dtype.kind in "fc":
            close = allclose(got, wanted, single=single or wanted.dtype == np.float32)
            apart = np.abs(got - wanted)[~close]
            largest = max(largest, float(np.nan_to_num(np.abs(got - wanted)).max(initial=0.0)))
            if len(apart) and np.isnan(apart).any():
                largest = float("inf")
        else:
            close = got == wanted
        differing += int((~close.reshape(len(frame), -1).all(axis=1)).sum())
    return Equality(rows, differing, largest)


def _answered(native: Callable[[Any], Any], frames: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yields frames with predictions; a frame that the model fails on is halved down to the failing rows."""
    for frame in frames:
        try:
            answer = native(frame)
        except Exception:
            half = len(frame) // 2
            parts = (frame.iloc[:half], frame.iloc[half:]) if half else ()
            yield from _answered(native, (part.reset_index(drop=True) for part in parts))
        else:
            yield frame, answer
