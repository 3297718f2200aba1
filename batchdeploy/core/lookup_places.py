"""Where workers on other machines find the local files of lookups' tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from batchdeploy.core.pins import LookupPin
from batchdeploy.core.work import Split

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LookupPlaces:
    """Names the files of lookups as a worker finds them; picklable.

    Attributes:
        locate: gives the path on a worker of what was sent to it.
        sent: (location on the machine that plans, name for ``locate``) of each file that was sent; files that
            were not are read where they are.
    """

    locate: Callable[[str], str] = str
    sent: tuple[tuple[str, str], ...] = ()

    def __call__(self, pins: tuple[LookupPin, ...]) -> tuple[LookupPin, ...]:
        """The same lookups, with the locations of their files on this worker."""
        if not self.sent:
            return pins
        here = {location: self.locate(name) for location, name in self.sent}
        return tuple(
            replace(
                pin,
                files=tuple(
                    replace(file, location=here.get(file.location, file.location)) for file in pin.files
                ),
            )
            for pin in pins
        )


IN_PLACE = LookupPlaces()


@dataclass(frozen=True, slots=True)
class LocatingWork(Generic[Result]):
    """Works on splits whose lookups are read from where this worker has them; picklable."""

    places: LookupPlaces
    work: Callable[[Split], Result]

    def __call__(self, split: Split) -> Result:
        """The result for a split as the machine that plans made it."""
        return self.work(replace(split, lookups=self.places(split.lookups)))
