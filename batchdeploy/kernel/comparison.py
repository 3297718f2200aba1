"""Whether another way of answering gives the model's own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

# NOTE: relative and absolute; a model that answers in 32 bits has an error of about 1e-7 of its own.
TOLERANCE, SINGLE_TOLERANCE = (1e-9, 1e-12), (2e-6, 1e-7)


def allclose(first: Any, second: Any, *, single: bool = False) -> Any:
    """Which numbers of two answers are the same, NaN too; ``single`` where the model answers in 32 bits."""
    import numpy as np

    rtol, atol = SINGLE_TOLERANCE if single else TOLERANCE
    return np.isclose(first, second, rtol=rtol, atol=atol, equal_nan=True)


class Equality(NamedTuple):
    """What two ways of answering gave for the same rows.

    Attributes:
        rows: how many were asked.
        differing: how many answers lie further apart than 1e-9 of their size (and 1e-12), or are others; of
            32-bit floats, 2e-6 (and 1e-7).
        largest: the largest difference of two numbers.
    """

    rows: int
    differing: int
    largest: float

    @property
    def equal(self) -> bool:
        """Whether there are rows, and all of them are equal."""
        return self.rows > 0 and not self.differing

    @property
    def told(self) -> str:
        """For people."""
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
    """Asks both about every frame.

    Args:
        native: the model as it is; rows that it fails on are left out, as a run would quarantines them.
        other: what is to stand in for it.
        frames: the model's inputs.
        single: whether the model answers in 32 bits, where its answer does not show it.
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
    """Frames with the model's answers; one that it fails on is halved down to the rows at fault."""
    for frame in frames:
        try:
            answer = native(frame)
        except Exception:
            half = len(frame) // 2
            parts = (frame.iloc[:half], frame.iloc[half:]) if half else ()
            yield from _answered(native, (part.reset_index(drop=True) for part in parts))
        else:
            yield frame, answer
