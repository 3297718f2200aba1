"""The probe process: loads a model and predicts a few rows.

A crash of native code ends only this process. A file holds the outcome.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import resource
import sys
from contextlib import suppress
from pathlib import Path

from batchdeploy.host.process_session import end_with_parent

ANSWER, ROWS = "answer.json", "rows.pickle"
MAX_FILE_BYTES = 2**30


def main() -> None:
    """Loads the model in one folder and predicts the rows in another; records each step before taking it."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    _limit()
    answer: dict[str, object] = {"step": "load"}
    _write(folder, answer)
    try:
        from batchdeploy.adapters.mlflow.loading import open_model
        from batchdeploy.adapters.mlflow.tree_checks import tree_problems

        raw, predict = open_model(model)
        answer["broken"] = [problem._asdict() for problem in tree_problems(raw)]
        if not answer["broken"]:
            rows, words = pickle.loads((folder / ROWS).read_bytes())
            _write(folder, answer | {"step": "predict"})
            if len(rows):
                predict(rows, **words)
    except ImportError as error:
        answer["missing"] = str(error)
    # Scoring meets the same exception again and attributes it to its rows.
    except Exception as error:  # noqa: BLE001
        answer["raised"] = f"{type(error).__name__}"
    _write(folder, answer | {"step": "done"})
    sys.stdout.flush()
    # Skips exit handlers: a library that crashes at exit is no fault of the model.
    os._exit(0)


def _limit() -> None:
    """Forbids core files, limits memory to the machine's, and ends this process with its parent."""
    faulthandler.enable()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
    }
    for kind, most in limits.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
    end_with_parent()


def _write(folder: Path, answer: dict[str, object]) -> None:
    scratch = folder / "answer.tmp"
    scratch.write_text(json.dumps(answer), encoding="utf-8")
    scratch.replace(folder / ANSWER)
