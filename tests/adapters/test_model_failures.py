"""Whatever a model raises is a failure of the model; what stops a run stops it, wherever the model is."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests_support import save_coded

from batchdeploy.adapters.mlflow import load_predictor
from batchdeploy.workflows.stopping import Stop

FRAME = pd.DataFrame({"x": [1.0, 2.0]})
RAISED = {
    "SystemExit": ("raise SystemExit(0)", "ModelError: SystemExit: 0"),
    "exit": ("import sys; sys.exit()", "ModelError: SystemExit: SystemExit"),
    "GeneratorExit": ("raise GeneratorExit", "ModelError: GeneratorExit"),
    "a base exception of its own": ("raise Own('no')", "ModelError: Own: no"),
    "one that cannot be shown": ("raise Mute", "ModelError: Mute: without a message"),
    "an error of this package": (
        "from batchdeploy.errors import RequestError; raise RequestError('you', 'asked wrongly')",
        "ModelError: RequestError",
    ),
    "an ordinary exception": ("raise ValueError('no')", "ValueError: no"),
}
ENTRY = """\
class Own(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise ValueError

def fail():
    {raises}

class Model:
    def predict(self, frame):
        {asked}

def _load_pyfunc(path):
    {loaded}
    return Model()
"""


def model(folder: Path, raises: str, *, at: str) -> str:
    calls = {"asked": "pass", "loaded": "pass"} | {at: "fail()"}
    return str(save_coded(folder, {"entry.py": ENTRY.format(raises=raises, **calls)}))


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("at", ["asked", "loaded"])
def test_whatever_a_model_raises_is_an_exception(tmp_path: Path, name: str, at: str) -> None:
    raises, expected = RAISED[name]
    kind, _, text = expected.partition(": ")
    with pytest.raises(Exception, match=f"^{text}") as caught:
        load_predictor(model(tmp_path, raises, at=at))(FRAME)
    assert caught.type.__name__ == kind


class Timeout(BaseException):
    """What an orchestrator's clock raises; it knows nothing of ours."""


@pytest.fixture(params=["ours", "an orchestrator's", "Ctrl-C"])
def stop(request: pytest.FixtureRequest) -> Iterator[type[BaseException]]:
    """What a SIGUSR1 raises."""
    raised = {"ours": Stop, "an orchestrator's": Timeout, "Ctrl-C": KeyboardInterrupt}[request.param]

    class Clock:
        def ring(self, *_: Any) -> None:
            raise raised

    before = signal.signal(signal.SIGUSR1, Clock().ring)
    if request.param == "Ctrl-C":
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
    yield raised
    signal.signal(signal.SIGUSR1, before)


RINGS = "import signal; signal.raise_signal(signal.SIGUSR1)"
CATCHES = """
    try:
        import signal; signal.raise_signal(signal.SIGUSR1)
    except BaseException:
        raise RuntimeError('something of its own')
"""


@pytest.mark.parametrize("raises", [RINGS, CATCHES], ids=["as it is", "caught by the model"])
@pytest.mark.parametrize("at", ["asked", "loaded"])
def test_a_stop_is_no_failure_of_the_model(
    tmp_path: Path, stop: type[BaseException], raises: str, at: str
) -> None:
    folder = model(tmp_path, raises, at=at)
    with pytest.raises(stop):
        load_predictor(folder)(FRAME)
    assert "entry" not in sys.modules
