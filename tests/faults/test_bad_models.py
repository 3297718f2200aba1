"""Models that answer badly, registered for real and run through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests_support import ENTRY, FEATURES, TALK, Result, customers, register_coded, talking, tree

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
ONE = "churn_probability: {type: double, select: 1}"
Cli = Callable[..., Result]
Answer = Callable[[pd.DataFrame], Any]


def register_answer(root: Path, answer: Answer, outputs: list[tuple[str, str]]) -> None:
    """Registers a model of one's own code that answers like this; it becomes the champion."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return answer(model_input)

    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("answers")
    if experiment is None:
        client.create_experiment("answers", artifact_location=(root / "artifacts").as_uri())
    mlflow.set_experiment("answers")
    types = {"age": "double", "income": "double", "visits": "long", "member": "boolean", "city": "string"}
    signature = ModelSignature(
        Schema([ColSpec(types[c], c, required=c not in ("member", "income")) for c in FEATURES]),
        Schema([ColSpec(kind, name) for name, kind in outputs]),
    )
    with warnings.catch_warnings(), mlflow.start_run():
        warnings.simplefilter("ignore")
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=Model(),
            signature=signature,
            registered_model_name="churn",
            pip_requirements=["pandas"],
        )
    client.set_registered_model_alias("churn", "champion", str(logged.registered_model_version))
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def declare(root: Path, columns: str, extra: str = "") -> Path:
    """The deployment with these outputs, without the drift reference of another model."""
    file = root / "dags" / "churn.yaml"
    text = file.read_text(encoding="utf-8").replace(ONE, columns)
    file.write_text(text.replace("drift: {reference: data/reference/churn.json}\n", extra), encoding="utf-8")
    return file


def spoilt(kind: str, value: Any, *places: int) -> Answer:
    def answer(frame: pd.DataFrame) -> Any:
        values = np.ones(len(frame), dtype=kind)
        values[list(places)] = value
        return pd.DataFrame({"y": values})

    return answer


LONG, INTEGER, FLOAT = [("y", "long")], [("y", "integer")], [("y", "float")]
DOUBLE = [("y", "double")]
ROWS: dict[str, tuple[Answer, list[tuple[str, str]], str, str]] = {
    "NaN for an integer": (spoilt("f8", np.nan, 3, 9), LONG, "y: {type: long}", "y is NaN or infinite"),
    "1.7 for an integer": (
        spoilt("f8", 1.7, 3, 9), LONG, "y: {type: long}", "y is not a whole number that fits long",
    ),
    "an overflow of an integer": (
        spoilt("i8", 2**40, 3, 9), INTEGER, "y: {type: integer}", "y overflows integer",
    ),
    "an overflow of a float": (spoilt("f8", 1e300, 3, 9), FLOAT, "y: {type: float}", "y overflows float"),
    "NaN among objects": (spoilt("O", np.nan, 3, 9), DOUBLE, "y: {type: double}", "y is missing"),
    "infinity": (spoilt("f8", np.inf, 3, 9), DOUBLE, "y: {type: double}", "y is NaN or infinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_the_model_cannot_answer_is_never_a_silent_null(
    project: Path, cli: Cli, name: str
) -> None:
    answer, outputs, columns, reason = ROWS[name]
    register_answer(project, answer, outputs)
    deployment = declare(project, columns, "quarantine: {max_share: 0.1}\n")
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.code == 0, result.err
    quarantined = pd.read_parquet(project / "scores" / "churn.batchdeploy" / "quarantine")
    assert (set(quarantined["_source_row"]), set(quarantined["_stage"])) == ({3, 9}, {"output"})
    assert all(reason in text for text in quarantined["_reason"])
    published = pd.read_parquet(project / "scores" / "churn")
    assert len(published) == 198
    assert not published["y"].isna().any()


def test_such_rows_can_refuse_the_partition(project: Path, cli: Cli) -> None:
    answer, outputs, columns, reason = ROWS["NaN for an integer"]
    register_answer(project, answer, outputs)
    deployment = declare(project, columns, "policy: {output: fail}\nquarantine: {max_share: 0.1}\n")
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 1, result.err
    assert reason in result.err
    assert "2 of 200 rows" in result.err
    assert not (project / "scores" / "churn").exists()


class Restless:
    """Answers another time with other numbers."""

    def __call__(self, frame: pd.DataFrame) -> Any:
        return pd.DataFrame({"y": np.random.default_rng().random(len(frame))})


SHAPES: dict[str, tuple[Answer, list[tuple[str, str]], str, tuple[str, ...]]] = {
    "a row too few": (
        lambda frame: pd.DataFrame({"y": np.ones(len(frame) - 1)}), DOUBLE, "y: {type: double}",
        ("rows: 32 rows in, got 3", "rows out"),
    ),
    "a row too many": (
        lambda frame: pd.DataFrame({"y": np.ones(len(frame) + 1)}), DOUBLE, "y: {type: double}",
        ("rows: 32 rows in, got 3", "rows out"),
    ),
    "text for a number": (
        lambda frame: pd.DataFrame({"y": ["high"] * len(frame)}), DOUBLE, "y: {type: double}",
        ("output y: declared double, got string",),
    ),
    "another column": (
        lambda frame: pd.DataFrame({"z": np.ones(len(frame))}), DOUBLE, "y: {type: double}", ("y, got z",),
    ),
    "an extra column": (
        lambda frame: pd.DataFrame({"y": np.ones(len(frame)), "z": 1.0}), DOUBLE, "y: {type: double}",
        ("columns: declared are y, got y, z",),
    ),
    "columns in another order": (
        lambda frame: pd.DataFrame({"z": np.ones(len(frame)), "y": 1.0}), [("y", "double"), ("z", "double")],
        "y: {type: double}, z: {type: double}", ("declared are y, z, got z, y",),
    ),
    "rows in another order": (
        lambda frame: pd.DataFrame({"y": frame["age"]}).sort_values("y"), DOUBLE, "y: {type: double}",
        ("index: is not the input's", "Hint: return the rows in the order", ".sort_index()"),
    ),
    "another answer each time": (
        Restless(), DOUBLE, "y: {type: double}",
        ("differs when the same rows are predicted twice", "policy.nondeterministic"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_an_answer_of_the_wrong_shape_refuses_the_partition(project: Path, cli: Cli, name: str) -> None:
    answer, outputs, columns, expected = SHAPES[name]
    register_answer(project, answer, outputs)
    deployment = declare(project, columns)
    before = tree(project / "data")
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 1, result.err
    assert "model version 3" in result.err
    for words in expected:
        assert words in result.err
    assert not (project / "scores" / "churn").exists()
    assert tree(project / "data") == before


def test_a_restless_model_can_be_let_pass(project: Path, cli: Cli) -> None:
    register_answer(project, Restless(), DOUBLE)
    deployment = declare(project, "y: {type: double}", "policy: {nondeterministic: pass}\n")
    assert cli("run", deployment, "--partition", DAY).code == 0


def test_memory_that_runs_out_halves_a_batch_down_to_the_row(project: Path, cli: Cli) -> None:
    """Never more than 30 rows at once, and one row not even alone."""

    def hungry(frame: pd.DataFrame) -> Any:
        if len(frame) > 30 or (frame["age"] == 77.125).any():
            raise MemoryError("no room")
        return pd.DataFrame({"y": np.ones(len(frame))})

    from tests_support import write_day

    write_day(project / "data" / "customers", DAY, customers(DAY).assign(age=_with(7, 77.125)))
    register_answer(project, hungry, DOUBLE)
    deployment = declare(project, "y: {type: double}", "quarantine: {max_share: 0.1}\n")
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert result.json["manifest"]["rows_scored"] == 199
    quarantined = pd.read_parquet(project / "scores" / "churn.batchdeploy" / "quarantine")
    assert quarantined["_source_row"].to_list() == [7]
    assert "MemoryError" in quarantined["_error"].iloc[0]


def _with(place: int, value: float) -> Any:
    ages = customers(DAY)["age"].to_numpy().copy()
    ages[place] = value
    return ages


ENDS = "raise SystemExit(0)"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return (frame", "predict: fails on more than 10 rows of a batch, got SystemExit: 0"),
        ("return Model()", "loading the model: failed, got ModelError: SystemExit: 0"),
    ],
    ids=["asked", "loaded"],
)
def test_a_model_that_exits_ends_neither_the_run_nor_its_evidence(
    project: Path, cli: Cli, line: str, expected: str
) -> None:
    register_coded(project, 1, ENTRY.replace(line, f"{ENDS}; {line}"))
    deployment = declare(project, "y: {type: double}")
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.code == 1, result.err
    assert "model version 3" in result.err
    assert expected in result.err
    assert result.json["error"]["kind"] == "ScoringRefused"
    assert not (project / "scores" / "churn").exists()
    (folder,) = (project / "scores" / "churn.batchdeploy" / "runs" / f"date={DAY}").iterdir()
    assert {"plan.json", "check.json", "report.html"} <= {file.name for file in folder.iterdir()}


def test_a_model_that_prints_leaves_stdout_to_the_answer(project: Path, cli: Cli) -> None:
    """Also where the answer is an error, and where C holds back what it prints till the process ends."""
    deployment = talking(project)
    command = [sys.executable, "-m", "batchdeploy", "run", str(deployment), "--partition", DAY, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["rows_scored"] == 200
    folder = project / "scores" / "churn.batchdeploy" / "runs" / f"date={DAY}" / manifest["run_id"]
    printed = (folder / "output.txt").read_text(encoding="utf-8")
    for words in TALK:
        assert words in printed
        assert words not in done.stderr
    assert "at the end" in done.stderr
    assert "C is asking" in (folder / "report.html").read_text(encoding="utf-8")
    assert "that the model printed: output.txt" in cli("show", folder).out
    register_coded(
        project, 2, f"print('a last word')\n{ENTRY}".replace("return (", "raise SystemExit; return (")
    )
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.json["error"]["kind"] == "ScoringRefused"
    (refused,) = (file for file in folder.parent.glob("*/output.txt") if file.parent != folder)
    assert refused.read_text(encoding="utf-8") == "a last word\n"


def refusing(root: Path) -> Path:
    file = root / "dags" / "churn.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("alias: champion}", "alias: champion, code: refuse}"), encoding="utf-8")
    return file


def test_a_model_of_data_only_is_taken_where_code_is_refused(project: Path, cli: Cli) -> None:
    result = cli("run", refusing(project), "--partition", DAY)
    assert result.code == 0, result.err


def test_a_model_of_code_is_refused_before_it_is_loaded(project: Path, cli: Cli, tmp_path: Path) -> None:
    mark = str(tmp_path / "loaded")

    class Loud:
        """Leaves a mark when its pickle is loaded."""

        def __reduce__(self) -> Any:
            return open, (mark, "w")

    loud = Loud()
    register_answer(project, lambda frame: (loud, frame)[1], DOUBLE)
    deployment = declare(project, "y: {type: double}")
    before = tree(project)
    result = cli("run", refusing(project), "--partition", DAY)
    assert result.code == 2, result.err
    assert "model churn version 3" in result.err
    assert "loader_module: runs Python code that came with the model" in result.err
    assert not Path(mark).exists()
    deployment.write_text(deployment.read_text().replace(", code: refuse", ""))
    assert tree(project, without=[deployment]) == {k: v for k, v in before.items() if "churn.yaml" not in k}
    cli("run", deployment, "--partition", DAY)
    assert Path(mark).exists(), "the fault could not have fired"


def test_a_type_that_nobody_vouched_for_is_refused_whatever_the_model_says(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's own list of trusted types counts for nothing."""

    from batchdeploy.core import model_safety

    monkeypatch.setattr(model_safety, "SKOPS_TYPES", set())
    result = cli("run", refusing(project), "--partition", DAY)
    assert result.code == 1, result.err
    assert "model.trusted_types: the model holds a type" in result.err
    assert "numpy.dtype" in result.err
    assert not (project / "scores" / "churn").exists()
    named = [line.rpartition("got ")[2] for line in result.err.splitlines() if "got " in line]
    file = project / "dags" / "churn.yaml"
    file.write_text(
        file.read_text().replace("code: refuse", f"code: refuse, trusted_types: [{', '.join(named)}]")
    )
    assert cli("run", file, "--partition", DAY).code == 0
