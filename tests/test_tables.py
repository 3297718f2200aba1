"""A table belongs to one deployment, and its partitions to one shape, in both ways of publishing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from tests_support import FEATURES, Result, classifiers, customers, register, tree, write_day

import batchdeploy as bd
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.request import StepRequest
from batchdeploy.errors import TableError
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = "2024-03-01", "2024-03-02", "2024-03-03"
Cli = Callable[..., Result]


@pytest.fixture(params=["swap", "pointer"])
def published(request: pytest.FixtureRequest, deployment: Path, cli: Cli) -> Path:
    """A deployment with one day published."""
    mode = request.param
    deployment.write_text(deployment.read_text() + f"publish: {{mode: {mode}}}\n", encoding="utf-8")
    assert cli("run", deployment, "--partition", FIRST).code == 0
    return deployment


def copy(deployment: Path, *changes: tuple[str, str]) -> Path:
    """A copied YAML, as people make them."""
    text = deployment.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    other = deployment.with_name("copied.yaml")
    other.write_text(text, encoding="utf-8")
    return other


def test_a_copied_deployment_does_not_publish_into_anothers_table(published: Path, cli: Cli) -> None:
    other = copy(published, ("name: churn\n", "name: copied\n"))
    before = tree(published.parents[1] / "scores")
    for command in (
        ("run", "--partition", SECOND),
        ("run", "--partition", SECOND, "--evolve"),
        ("plan", "--partition", SECOND),
        ("backfill", "--from", SECOND, "--to", THIRD),
        ("check",),
        ("rollback", "--partition", FIRST),
        ("gc",),
    ):
        result = cli(command[0], other, *command[1:])
        assert result.code == 2, (command, result.err)
        assert "belongs to deployment churn" in result.err
        assert ", got copied" in result.err
        assert command == ("check",) or "an output.path of its own" in result.err
    assert tree(published.parents[1] / "scores") == before
    assert cli("run", published, "--partition", SECOND).code == 0


COLUMNS = {
    "a column more": ("keep: [city]", "keep: [city, visits]", "visits: is not a column of this table"),
    "a column less": ("keep: [city]", "keep: []", "city: is a column of this table, and would be missing"),
    "another type": ("type: double", "type: float", "churn_probability: is double in this table, got float"),
}


@pytest.mark.parametrize(("before", "after", "said"), COLUMNS.values(), ids=COLUMNS.keys())
def test_other_columns_need_a_word(published: Path, cli: Cli, before: str, after: str, said: str) -> None:
    copy(published, (before, after)).replace(published)
    refused = cli("run", published, "--partition", SECOND)
    assert refused.code == 2, refused.err
    assert said in refused.err
    assert "--evolve: partitions published before keep their columns" in refused.err
    assert cli("run", published, "--partition", SECOND, "--evolve").code == 0
    # The table remembers: the new shape needs no further word, and the old one does.
    assert cli("run", published, "--partition", THIRD).code == 0
    copy(published, (after, before)).replace(published)
    assert cli("run", published, "--partition", THIRD).code == 2


def test_another_model_needs_a_word_in_every_door(published: Path) -> None:
    root = published.parents[1]
    known = customers(FIRST)
    model = classifiers()[1].fit(known[FEATURES], known["age"] > 40)
    register(root, model, known[FEATURES], alias="champion", name="churn2")
    copy(published, ("{name: churn,", "{name: churn2,")).replace(published)
    with bd.load(published) as job:
        with pytest.raises(TableError, match="holds the scores of model churn, got churn2"):
            job.run(SECOND)
        assert job.backfill(SECOND, SECOND, evolve=True)[0].manifest.model == "churn2"
    copy(published, ("{name: churn2,", "{name: churn,")).replace(published)
    with pytest.raises(TableError, match="holds the scores of model churn2, got churn"):
        take_step(open_toolbox(published), StepRequest(step="plan", partition=THIRD))
    answer = take_step(open_toolbox(published), StepRequest(step="run", partition=THIRD, evolve=True))
    assert answer["outcome"] == "done"


def test_a_key_of_another_type_is_another_column(published: Path, cli: Cli) -> None:
    root = published.parents[1]
    frame = customers(SECOND).assign(customer_id=range(200))
    write_day(root / "data" / "customers", SECOND, frame, pa.Schema.from_pandas(frame))
    result = cli("run", published, "--partition", SECOND)
    assert result.code == 2
    assert "customer_id: is string in this table, got int64" in result.err


def test_how_a_text_is_encoded_is_no_other_column(published: Path, cli: Cli) -> None:
    root = published.parents[1]
    frame = customers(SECOND)
    fields = {f.name: f.type for f in pa.Schema.from_pandas(frame)}
    fields |= {"customer_id": pa.large_string(), "city": pa.dictionary(pa.int32(), pa.string())}
    write_day(root / "data" / "customers", SECOND, frame, pa.schema(list(fields.items())))
    result = cli("run", published, "--partition", SECOND)
    assert result.code == 0, result.err


def test_of_two_deployments_that_race_for_a_new_table_one_is_refused(deployment: Path) -> None:
    other = copy(deployment, ("name: churn\n", "name: copied\n"))
    first, second = (open_toolbox(file) for file in (deployment, other))
    plans = [plan_partition(tools, FIRST if tools is first else SECOND) for tools in (first, second)]
    execute(first, plans[0])
    with pytest.raises(TableError, match="belongs to deployment churn"):
        execute(second, plans[1])
    assert not (first.layout.table / f"date={SECOND}").exists()
    assert list((first.layout.control / "staging").iterdir()) == []


def test_a_table_of_an_earlier_version_is_known_by_its_manifests_and_files(published: Path, cli: Cli) -> None:
    """What lies there from before tables remembered whose they are."""
    control = published.parents[1] / "scores" / "churn.batchdeploy"
    pointer = published.parents[1] / "scores" / "churn" / "current.json"
    if pointer.is_file():
        document = json.loads(pointer.read_text())
        del document["table"]
        pointer.write_text(json.dumps(document))
    else:
        (control / "table.json").unlink()
    assert cli("plan", copy(published, ("name: churn\n", "name: copied\n")), "-p", SECOND).code == 2
    assert cli("run", published, "--partition", SECOND).code == 0
    assert cli("plan", copy(published, ("keep: [city]", "keep: []")), "-p", THIRD).code == 2


def test_an_emptied_table_is_anybodys(published: Path, cli: Cli) -> None:
    shutil.rmtree(published.parents[1] / "scores" / "churn")
    other = copy(published, ("name: churn\n", "name: copied\n"))
    assert cli("run", other, "--partition", SECOND).code == 0
    assert len(pd.read_parquet(next((published.parents[1] / "scores" / "churn").rglob("*.parquet")))) == 200
