"""A bare `git clone` of a project scores any commit: rows and reference come from DVC's remote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from dvc_projects import Proxy, before, cached, clone, commit, dvc, git, init, set_remote
from faults.stores import BUCKET, ENVIRONMENT
from tests_support import Result

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


@pytest.fixture
def remote(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with before(s3_port) as proxy:
        yield proxy


@pytest.fixture(params=["s3", "local", "above"])
def churn(
    request: pytest.FixtureRequest, project: Path, cli: Cli, tmp_path: Path
) -> tuple[Path, pd.DataFrame]:
    """A bare clone of the churn project, and the scores of a day as its first commit has it."""
    init(project)
    if request.param == "s3":
        port = request.getfixturevalue("remote").port
        set_remote(project, f"s3://{BUCKET}/{tmp_path.name}", endpointurl=f"http://127.0.0.1:{port}")
    else:
        set_remote(project, "../../the store")
    tracked = ("data",) if request.param == "above" else ("data/customers", "data/reference")
    (project / ".gitignore").write_text("/scores\n")
    commit(project, *tracked)
    assert cli("run", project / "dags" / "churn.yaml", "--partition", DAY).code == 0
    expected = scores(project)
    day = project / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    rows = pd.read_parquet(day)
    day.unlink()
    rows.assign(income=rows["income"] + 1000).head(20).to_parquet(day, index=False)
    commit(project, *tracked)
    assert git(project, "status", "--porcelain") == ""
    return clone(project, tmp_path / "clone"), expected


def scores(root: Path) -> pd.DataFrame:
    """The published scores of the day, in the order of their keys."""
    (file,) = (root / "scores" / "churn" / f"date={DAY}").glob("*.parquet")
    return pd.read_parquet(file)[["customer_id", "churn_probability"]].sort_values(
        "customer_id", ignore_index=True
    )


def with_data(root: Path, line: str) -> Path:
    """The deployment with one more key of its rows."""
    file = root / "dags" / "churn.yaml"
    file.write_text(
        re.sub(r"\n  (rev|fetch): .*", "", file.read_text()).replace("  keys:", f"  {line}\n  keys:")
    )
    return file


def test_a_bare_clone_scores_an_older_commit(
    churn: tuple[Path, pd.DataFrame], cli: Cli, request: pytest.FixtureRequest
) -> None:
    root, expected = churn
    on_s3 = "s3" in request.node.name
    remote = request.getfixturevalue("remote") if on_s3 else None
    if remote is not None:
        remote.requests.clear()
    deployment = with_data(root, "rev: HEAD~1")
    listed = json.loads(cli("status", deployment, "--json").out)["partitions"]
    assert [one["partition"] for one in listed] == [f"2024-03-0{day}" for day in (1, 2, 3, 4)]
    assert all(oid.endswith(".dir") for oid in cached(root))
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.code == 0, result.err
    pd.testing.assert_frame_equal(scores(root), expected)
    plan = json.loads(next((root / "scores").rglob("plan.json")).read_text())
    pinned = {file["md5"]: file["size"] for file in plan["data"]["files"]}
    assert (plan["data"]["rev"], plan["data"]["tracked"]) == (git(root, "rev-parse", "HEAD~1"), "dvc")
    rows_and_reference = {oid for oid in cached(root) if not oid.endswith(".dir")}
    assert len(pinned) == 1
    assert set(pinned) < rows_and_reference
    assert len(rows_and_reference) == 2
    assert not (root / "data" / "customers").exists()
    if remote is not None:
        assert set(remote.objects) == cached(root)
        assert {oid: remote.objects[oid] for oid in pinned} == pinned


def test_a_bare_clone_scores_what_its_workspace_records(churn: tuple[Path, pd.DataFrame], cli: Cli) -> None:
    root, expected = churn
    deployment = root / "dags" / "churn.yaml"
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 2
    assert "recorded by DVC, but not in the workspace" in result.err
    assert f"dvc --cd {root} pull data/customers/date={DAY}, or data.fetch: true" in result.err
    result = cli("run", with_data(root, "fetch: true"), "--partition", DAY)
    assert result.code == 0, result.err
    found = scores(root)
    assert len(found) == 20
    assert len(found) < len(expected)
    # Another way to the same rows is not another run.
    with dvc(root) as repo:
        repo.pull([str(root / "data" / "customers" / f"date={DAY}"), str(root / "data" / "reference")])
    result = cli("run", with_data(root, "rev: HEAD"), "--partition", DAY)
    assert "identical" in result.out + result.err
