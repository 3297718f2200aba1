"""What looks after a published table, at the shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests_support import Result, move_alias, tree

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


def scores(project: Path) -> pd.Series:
    frame = pd.read_parquet(project / "scores" / "churn")
    return frame.set_index("customer_id")["churn_probability"]


def test_back_to_the_run_before_and_forth_again(project: Path, deployment: Path, cli: Cli) -> None:
    first = cli("run", deployment, "--partition", DAY, "--json").json["manifest"]["run_id"]
    before = scores(project)
    move_alias(project, "champion", 2)
    second = cli("run", deployment, "--partition", DAY, "--json").json["manifest"]["run_id"]
    assert not scores(project).equals(before)
    back = cli("rollback", deployment, "--partition", DAY)
    assert back.code == 0, back.err
    assert f"{DAY}: run {first} is visible again, in place of {second}" in re.sub(r"\s+", " ", back.out)
    assert scores(project).equals(before)
    status = cli("status", deployment, "--json").json["partitions"]
    assert {row["run"] for row in status if row["partition"] == DAY} == {first}
    forth = cli("rollback", deployment, "--partition", DAY, "--to", second, "--json")
    assert forth.json == {"partition": DAY, "run_id": second, "replaced": first}
    assert cli("run", deployment, "--partition", DAY, "--json").json["status"] == "identical"
    lines = (project / "scores" / "churn.batchdeploy" / "audit.jsonl").read_text().splitlines()
    assert [re.search('"action": ?"(\\w+)"', line)[1] for line in lines] == [  # type: ignore[index]
        "publish",
        "publish",
        "rollback",
        "rollback",
    ]


def test_nothing_to_go_back_to(project: Path, deployment: Path, cli: Cli) -> None:
    assert cli("run", deployment, "--partition", DAY).code == 0
    before = tree(project)
    result = cli("rollback", deployment, "--partition", DAY)
    assert result.code == 2
    assert "no earlier run" in result.err
    other = cli("rollback", deployment, "--partition", DAY, "--to", "f" * 16)
    assert other.code == 2
    assert tree(project) == before


def test_recover_and_gc_say_what_they_did(project: Path, deployment: Path, cli: Cli) -> None:
    text = deployment.read_text() + "publish: {keep_generations: 1, reader_seconds: 0}\n"
    deployment.write_text(text)
    for _ in range(3):
        assert cli("run", deployment, "--partition", DAY, "--force").code == 0
    assert cli("recover", deployment).out.strip() == "nothing to do"
    deployment.write_text(text.replace("keep_generations: 1", "keep_generations: 0"))
    control = project / "scores" / "churn.batchdeploy"
    (control / "staging" / ("0" * 16 + "-left")).mkdir(parents=True)
    said = cli("gc", deployment, "--json").json
    assert len(said["generations"]) <= 1
    assert cli("gc", deployment).out.strip() == "nothing to do"
    assert len(scores(project)) == 200
