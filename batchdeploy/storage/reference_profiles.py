"""The reference profiles of a project, each parsed once a process."""

from __future__ import annotations

from collections import OrderedDict

from batchdeploy.core.pins import TextPin
from batchdeploy.core.profiles import Reference
from batchdeploy.documents import from_json
from batchdeploy.ports import TextSource

# NOTE: a notebook may work with several deployments; a reference of 1,000 columns takes some 20 MB in memory.
MOST_KNOWN = 2


class ReferenceProfiles:
    """Reference profiles by the path that a deployment names.

    Their text is read each time, because it may have changed; the same text is parsed once.

    Args:
        texts: where they are.
    """

    def __init__(self, texts: TextSource) -> None:
        self._texts = texts
        self._known: OrderedDict[TextPin, Reference] = OrderedDict()

    def read(self, path: str, *, key: str) -> tuple[Reference, TextPin]:
        """The reference at a path, and its pin.

        Raises:
            DataError: there is none (names the deployment's ``key``), or it is no reference.
        """
        text, pin = self._texts.read(path, key=key)
        return self._parsed(pin, text), pin

    def read_pinned(self, pin: TextPin) -> Reference:
        """The reference that was pinned.

        Raises:
            DataError: it is another one by now.
            OSError: it cannot be read.
        """
        return self._parsed(pin, self._texts.read_pinned(pin))

    def _parsed(self, pin: TextPin, text: str) -> Reference:
        if pin not in self._known:
            self._known[pin] = from_json(Reference, text, where=pin.path)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(pin)
        return self._known[pin]
