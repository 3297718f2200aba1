"""A model's files are fetched once from an MLflow server, whatever commands and processes ask about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow_server import Server, log_copy, mlflow_server
from tests_support import Result

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.mark.parametrize("tagged", [False, True], ids=["no tag", "a digest tag"])
def test_no_command_downloads_a_model_again(
    server: Server, project: Path, deployment: Path, cli: Callable[..., Result], *, tagged: bool
) -> None:
    name = "tagged" if tagged else "plain"
    files = log_copy(server, project, name=name, tagged=tagged)
    text = deployment.read_text(encoding="utf-8")
    model = f"{{name: {name}, alias: champion, registry: {server.uri}}}"
    deployment.write_text(text.replace("{name: churn, alias: champion}", model), encoding="utf-8")
    before = server.fetched()
    commands = (
        ("check",),
        ("plan", "-p", "2024-03-01"),
        ("plan", "-p", "2024-03-02"),
        ("run", "-p", "2024-03-02"),
        ("run", "-p", "2024-03-02"),
        ("backfill", "--from", "2024-03-01", "--to", "2024-03-03"),
        ("check",),
    )
    for verb, *words in commands:
        done = cli(verb, deployment, *words)
        assert done.code == 0, done.err
        fetched = server.fetched()
        for one in before:
            fetched.remove(one)
        assert fetched == files, (verb, words)
