"""Comparing and promoting models at the shell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Result, edit, tree

DAY = "2024-03-02"
Cli = Callable[..., Result]


@pytest.mark.slow
def test_a_challenger_is_compared_rejected_and_then_promoted(
    project: Path, deployment: Path, cli: Cli
) -> None:
    words = ("compare", deployment, "--partition", DAY, "--challenger", "churn@challenger")
    shown = cli(*words)
    assert shown.code == 0, shown.err
    told = " ".join(shown.out.split())
    assert f"churn: v1 (champion) against v2, on 200 rows of {DAY} that both scored" in told
    assert "drift: ok with v1 (champion), " in told
    command = re.search(r"next: batchdeploy (promote \S+ \S+) --by NAME", told)
    assert command is not None
    compared = cli(*words, "--json").json
    assert (compared["champion"], compared["challenger"]) == (1, 2)
    assert not (project / "scores" / "churn").exists()

    rejected = cli(*command[1].split(), "--by", "ada", "--reject", "--json")
    assert rejected.code == 1
    assert rejected.json["error"]["kind"] == "PromotionRefused"
    approved = cli(*command[1].split(), "--by", "grace")
    assert approved.code == 0, approved.err
    assert approved.out.strip() == "churn: alias champion moved from version 1 to 2"
    log = project / "scores" / "churn.batchdeploy" / "promotions.jsonl"
    decisions = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["decided_by"], line["approved"]) for line in decisions] == [("ada", False), ("grace", True)]
    assert "is version 2, which champion is already" in cli(*words).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("compare", "--challenger", "burn@champion", "--partition", DAY),
            "the deployment scores with churn",
        ),
        (("compare", "--challenger", "@champion", "--partition", "2 March"), "2 March"),
        (("compare", "--challenger", "@winner", "--partition", DAY), "churn alias winner: no such model"),
        (("promote", "nonesuch.json"), "there is no such comparison"),
    ],
)
def test_a_wrong_request_changes_nothing(
    project: Path, deployment: Path, cli: Cli, words: tuple[str, ...], message: str
) -> None:
    before = tree(project)
    result = cli(words[0], deployment, *words[1:])
    assert result.code == 2
    assert message in result.err
    assert tree(project) == before


def test_a_model_named_by_version_has_no_alias_to_move(project: Path, deployment: Path, cli: Cli) -> None:
    edit("alias: champion", "version: 1")(project)
    result = cli("compare", deployment, "--challenger", "2", "--partition", DAY)
    assert result.code == 2
    assert "a version is pinned, so there is no alias to move" in result.err
