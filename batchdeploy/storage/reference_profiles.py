"""The reference profiles of a project, each parsed once per process."""

from __future__ import annotations

from collections import OrderedDict

from batchdeploy.core.pins import TextPin
from batchdeploy.core.profiles import Reference
from batchdeploy.documents import from_json
from batchdeploy.errors import DataError, Problem
from batchdeploy.ports import TextSource

# For notebooks with several deployments. A reference of 1,000 columns takes about 20 MB of memory.
MOST_KNOWN = 2
OLD = '"batchdeploy.reference/1"'


class ReferenceProfiles:
    """Reference profiles by the path that a deployment names.

    The text is read each time, because it may have changed; equal text is parsed once.

    Args:
        texts: reads the files.
    """

    def __init__(self, texts: TextSource) -> None:
        self._texts = texts
        self._known: OrderedDict[TextPin, Reference] = OrderedDict()

    def read(self, path: str, *, key: str) -> tuple[Reference, TextPin]:
        """The reference in a file, and its pin.

        Raises:
            DataError: the file is missing or unreadable (names the deployment's ``key``), or no reference.
        """
        text, pin = self._texts.read(path, key=key)
        return self._parsed(pin, text), pin

    def read_pinned(self, pin: TextPin) -> Reference:
        """The reference in a pinned file.

        Raises:
            DataError: the file changed since it was pinned.
            OSError: the file cannot be read.
        """
        return self._parsed(pin, self._texts.read_pinned(pin))

    def _parsed(self, pin: TextPin, text: str) -> Reference:
        if pin not in self._known:
            if OLD in text:
                raise DataError(
                    pin.path,
                    (Problem("format", "is of an earlier format, without what each partition held"),),
                    hint="make it anew by batchdeploy.build_reference (the example: dvc repro -f reference)",
                )
            self._known[pin] = from_json(Reference, text, where=pin.path)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(pin)
        return self._known[pin]
