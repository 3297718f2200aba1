"""A path of a deployment that leads nowhere: what it starts from, and where that is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Result, edit

from batchdeploy.core.path_hints import describe_lookup

DAY = "2024-03-02"


def without(*names: str) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        place = root.joinpath(*names)
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return remove


LOST: dict[str, tuple[Callable[[Path], None], str]] = {
    "the data": (without("data", "customers"), "data.path: no such folder: looked for {root}/data/customers"),
    "the suite": (
        without("expectations", "customers.json"),
        "expectations: no such file: looked for {root}/expectations/customers.json",
    ),
    "the reference": (
        without("data", "reference", "churn.json"),
        "drift.reference: no such file: looked for {root}/data/reference/churn.json",
    ),
    "the registry": (
        edit("alias: champion", "registry: 'sqlite:///lost.db'"),
        "sqlite:///{root}/lost.db: there is no such database",
    ),
    "a partition column": (
        edit("column: date", "column: day"),
        "no folder named day=VALUE in {root}/data/customers",
    ),
}


@pytest.mark.parametrize("command", ["plan", "check"])
@pytest.mark.parametrize(("lose", "told"), LOST.values(), ids=LOST)
def test_what_is_not_found_says_where_it_was_looked_for(
    project: Path, cli: Callable[..., Result], command: str, lose: Callable[[Path], None], told: str
) -> None:
    lose(project)
    words = ("-p", DAY) if command == "plan" else ()
    done = cli(command, project / "dags" / "churn.yaml", *words)
    assert done.code == 2
    root = project.resolve()
    assert told.format(root=root) in done.err
    if "looked for" in told:
        assert f"relative paths start at the project's root, {root}" in done.err


def test_a_partition_that_is_not_there_says_in_which_folder(
    deployment: Path, cli: Callable[..., Result]
) -> None:
    done = cli("plan", deployment, "-p", "2031-01-01")
    assert f"no such partition in {deployment.parents[1].resolve()}/data/customers, got 2031" in done.err


def test_a_deployment_that_is_not_there_says_where_the_shell_is(cli: Callable[..., Result]) -> None:
    done = cli("plan", "dags/lost.yaml", "-p", DAY)
    assert done.code == 2
    assert f"dags/lost.yaml: no such file in the working directory, {os.getcwd()}" in done.err


def test_an_absolute_path_starts_nowhere() -> None:
    assert describe_lookup("/lake/x", "/project") == "looked for /lake/x"
    assert describe_lookup("x/y", "/project").startswith("looked for /project/x/y; relative paths start")
