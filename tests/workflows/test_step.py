"""Steps one at a time, as an orchestrator asks for them: in this process and by another interpreter."""

from __future__ import annotations

import json
import logging
import pickle
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from tests_support import customers, edit, move_alias, register_coded, write_day

from batchdeploy.assembly import open_toolbox
from batchdeploy.core.request import Decision, StepRequest
from batchdeploy.errors import DataError, GateRefused, PartitionError, RequestError, ValidationRefused
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
FOLLOWING = ("validate", "score", "drift", "publish")


def ask(file: Path, **request: object) -> dict[str, object]:
    tools = open_toolbox(file)
    try:
        return take_step(tools, StepRequest(**request))  # type: ignore[arg-type]
    finally:
        tools.close()


def rows(project: Path) -> int:
    return len(pd.read_parquet(project / "scores" / "churn"))


def rows_planned(folder: object) -> int:
    return sum(json.loads((Path(str(folder)) / "plan.json").read_text())["schema"]["file_rows"])


def test_five_steps_publish_and_a_sixth_finds_it_identical(project: Path, deployment: Path) -> None:
    answer = ask(deployment, step="plan", partition=DAY, holder="a")
    assert answer["outcome"] == "done"
    assert answer["state"] == "new"
    assert answer["rows"] == 200
    for step in FOLLOWING:
        answer = ask(deployment, step=step, folder=answer["folder"], holder="a") | {
            "folder": answer["folder"]
        }
    assert answer["verdict"] == "ok"
    assert rows(project) == 200
    assert ask(deployment, step="plan", partition=DAY, holder="b")["outcome"] == "identical"
    assert ask(deployment, step="plan", partition="latest")["partition"] == "2024-03-04"
    (claim,) = (project / "scores" / "churn.batchdeploy" / "claims").iterdir()
    assert claim.read_bytes() == b""


def test_each_step_says_what_it_did(
    project: Path, deployment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suite = project / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace('"max_value": 120', '"max_value": 89'))
    policy = "policy: {ranges: {visits: [0, 6]}}\nquarantine: {max_share: 0.5}\n"
    deployment.write_text(deployment.read_text() + policy)
    caplog.set_level(logging.INFO, "batchdeploy")
    said = {}
    folder = None
    for step in ("plan", *FOLLOWING):
        caplog.clear()
        with suppress(ValidationRefused):
            answer = ask(deployment, step=step, partition=DAY if step == "plan" else None, folder=folder)
        folder = folder or answer["folder"]
        assert (answer["model"], answer["model_version"]) == ("churn", 1)
        said[step] = "\n".join(r.getMessage() for r in caplog.records if r.name == "batchdeploy")
        assert f"{step} took " in said[step]
    failed = "1 of 3 expectations fail; block: age expect_column_values_to_be_between in "
    assert f"validated 200 rows: {failed}" in said["validate"]
    records = {
        name: json.loads((Path(str(folder)) / f"{name}.json").read_text()) for name in ("scored", "drift")
    }
    rows = records["scored"]["rows_quarantined"]
    assert rows > 0
    assert f"scored {200 - rows} of 200 rows (native); {rows} quarantined, input: " in said["score"]
    assert f"scoring with python {platform.python_version()}, batchdeploy " in said["score"]
    assert f"drift: {records['drift']['verdict']}" in said["drift"]
    assert f"published {200 - rows} rows of {DAY} as run " in said["publish"]
    assert "report took" in said["publish"]


def test_all_in_one_step(project: Path, deployment: Path) -> None:
    assert ask(deployment, step="run", partition=DAY, holder="a")["rows"] == 200
    assert rows(project) == 200
    assert ask(deployment, step="run", partition=DAY, holder="a")["outcome"] == "identical"
    assert ask(deployment, step="run", partition=DAY, holder="a", repeat=True)["outcome"] == "done"


def test_a_retry_of_a_whole_run_counts_what_its_earlier_try_published(deployment: Path) -> None:
    first = ask(deployment, step="run", partition=DAY, holder="a")
    assert (first["drift"], first["alarms"], first["verdict"]) == ("ok", [], "ok")
    published = json.loads((Path(str(first["folder"])) / "manifest.json").read_text())["published_at"]
    again = ask(deployment, step="run", partition=DAY, holder="a", is_retry=True, since=published)
    told = ("outcome", "run_id", "rows", "verdict", "drift", "alarms", "folder")
    assert [again[name] for name in told] == [first[name] for name in told]
    # The claim of the try that died is released.
    assert ask(deployment, step="run", partition=DAY, holder="b")["outcome"] == "identical"
    later = (datetime.fromisoformat(published) + timedelta(seconds=1)).isoformat()
    answer = ask(deployment, step="run", partition=DAY, holder="b", is_retry=True, since=later)
    assert answer["outcome"] == "identical"


def test_one_run_at_a_time_works_on_a_partition(deployment: Path) -> None:
    first = ask(deployment, step="plan", partition=DAY, holder="a")
    busy = ask(deployment, step="plan", partition=DAY, holder="b")
    assert busy == {"outcome": "busy", "holder": "a"}
    assert ask(deployment, step="plan", partition="2024-03-03", holder="b")["outcome"] == "done"
    assert ask(deployment, step="plan", partition=DAY, holder="b", expected_holder="a")["outcome"] == "done"
    assert ask(deployment, step="validate", folder=first["folder"], holder="a")["outcome"] == "busy"
    # Somebody who saw an older holder must not push the new one out.
    assert ask(deployment, step="plan", partition=DAY, holder="c", expected_holder="a")["holder"] == "b"


def test_a_partition_without_rows_is_missing_and_a_malformed_one_is_wrong(deployment: Path) -> None:
    answer = ask(deployment, step="plan", partition="2031-01-01")
    assert answer["outcome"] == "missing"
    assert "no such partition" in str(answer["reason"])
    with pytest.raises(PartitionError, match="not a partition's value"):
        ask(deployment, step="plan", partition="../..")
    for step in ("plan", "run", "compare_models"):
        with pytest.raises(PartitionError, match="Hint: write 2024-03-02"):
            ask(deployment, step=step, partition="2024-3-2")
    with pytest.raises(RequestError, match="needs the run's folder"):
        ask(deployment, step="score")


def test_validating_again_takes_mended_rows_and_keeps_the_model(project: Path, deployment: Path) -> None:
    bad = customers(DAY)
    bad.loc[:3, "age"] = 200.0
    write_day(project / "data" / "customers", DAY, bad)
    planned = ask(deployment, step="plan", partition=DAY, holder="a")
    with pytest.raises(ValidationRefused):
        ask(deployment, step="validate", folder=planned["folder"], holder="a")
    write_day(project / "data" / "customers", DAY, customers(DAY))
    move_alias(project, "champion", 2)
    answer = ask(deployment, step="validate", folder=planned["folder"], holder="a", is_retry=True)
    assert answer["folder"] != planned["folder"]
    for step in FOLLOWING[1:]:
        last = ask(deployment, step=step, folder=answer["folder"], holder="a")
    assert last["model_version"] == 1


def test_scoring_again_takes_mended_rows_and_validates_them_first(project: Path, deployment: Path) -> None:
    folder = ask(deployment, step="plan", partition=DAY, holder="a")["folder"]
    ask(deployment, step="validate", folder=folder, holder="a")
    bad = customers(DAY)
    bad.loc[:3, "age"] = 200.0
    write_day(project / "data" / "customers", DAY, bad)
    with pytest.raises(DataError, match="changed"):
        ask(deployment, step="score", folder=folder, holder="a")
    with pytest.raises(ValidationRefused) as refused:
        ask(deployment, step="score", folder=folder, holder="a", is_retry=True)
    assert refused.value.folder not in (None, folder)
    assert "Refused: 1 blocking" in (Path(str(refused.value.folder)) / "report.html").read_text()
    assert pickle.loads(pickle.dumps(refused.value)).folder == refused.value.folder
    assert rows_planned(folder) == 200, "the run that was planned first keeps its records"
    write_day(project / "data" / "customers", DAY, customers(DAY, 202))
    move_alias(project, "champion", 2)
    answer = ask(deployment, step="score", folder=folder, holder="a", is_retry=True)
    assert answer["scored"] == 202
    assert answer["folder"] != folder
    for step in FOLLOWING[2:]:
        last = ask(deployment, step=step, folder=answer["folder"], holder="a")
    assert last["model_version"] == 1
    assert rows(project) == 202
    assert ask(deployment, step="score", folder=folder, holder="a", is_retry=True)["outcome"] == "identical"


def test_scoring_again_with_nothing_mended_goes_on_with_the_same_run(deployment: Path) -> None:
    folder = ask(deployment, step="plan", partition=DAY)["folder"]
    ask(deployment, step="validate", folder=folder)
    checked = (Path(str(folder)) / "check.json").stat().st_mtime_ns
    answer = ask(deployment, step="score", folder=folder, is_retry=True)
    assert answer["folder"] == folder
    assert (Path(str(folder)) / "check.json").stat().st_mtime_ns == checked


@pytest.mark.parametrize("step", ["validate", "score"])
def test_a_step_of_a_repeat_that_is_tried_again_is_repeated(deployment: Path, step: str) -> None:
    ask(deployment, step="run", partition=DAY)
    folder = ask(deployment, step="plan", partition=DAY, repeat=True)["folder"]
    if step == "score":
        ask(deployment, step="validate", folder=folder)
    assert ask(deployment, step=step, folder=folder, is_retry=True)["outcome"] == "done"


def test_publishing_twice_is_publishing_once(project: Path, deployment: Path) -> None:
    folder = ask(deployment, step="plan", partition=DAY)["folder"]
    for step in FOLLOWING:
        ask(deployment, step=step, folder=folder)
    (Path(str(folder)) / "report.html").unlink()
    assert ask(deployment, step="publish", folder=folder, is_retry=True)["rows"] == 200
    assert (Path(str(folder)) / "report.html").is_file()
    audit = (project / "scores" / "churn.batchdeploy" / "audit.jsonl").read_text()
    assert len(audit.splitlines()) == 1


def test_a_challenger_is_compared_and_promoted_once(project: Path, deployment: Path) -> None:
    compared = ask(deployment, step="compare_models", model="challenger", partition=DAY)
    assert (compared["champion"], compared["challenger"], compared["rows"]) == (1, 2, 200)
    assert "| churn_probability |" in str(compared["markdown"])
    (output,) = compared["outputs"]  # type: ignore[misc]
    assert 0 < output["mean_difference"] < output["max_difference"] <= 1
    assert not (project / "scores" / "churn").exists()
    assert not any((project / "scores" / "churn.batchdeploy" / "staging").iterdir())
    assert ask(deployment, step="promote", folder=compared["comparison"])["challenger"] == 2
    assert ask(deployment, step="plan", partition=DAY)["model_version"] == 2
    with pytest.raises(RequestError, match="which champion is already"):
        ask(deployment, step="compare_models", model="challenger", partition=DAY)


def test_models_that_bring_modules_of_one_name_are_told_apart(project: Path, deployment: Path) -> None:
    edit("churn_probability: {type: double, select: 1}", "y: double")(project)
    edit("drift: {reference: data/reference/churn.json}\n", "")(project)
    register_coded(project, 3)
    move_alias(project, "challenger", 3)
    register_coded(project, 2)
    (output,) = ask(deployment, step="compare_models", model="challenger", partition=DAY)["outputs"]  # type: ignore[misc]
    assert output["changed_share"] == 1
    assert output["challenger_mean"] == pytest.approx(1.5 * output["champion_mean"])


def test_what_people_decide_about_a_challenger_is_kept(project: Path, deployment: Path) -> None:
    compared = ask(deployment, step="compare_models", model="challenger", partition=DAY)
    rejected = Decision(approved=False, by="ada", at="2026-01-01T00:00:00+00:00")
    with pytest.raises(GateRefused, match="version 2: was rejected by ada: champion stays at version 1"):
        ask(deployment, step="promote", folder=compared["comparison"], decision=rejected)
    assert ask(deployment, step="plan", partition=DAY)["model_version"] == 1
    approved = replace(rejected, approved=True, by="grace")
    assert (
        ask(deployment, step="promote", folder=compared["comparison"], decision=approved)["challenger"] == 2
    )
    kept = (project / "scores" / "churn.batchdeploy" / "promotions.jsonl").read_text().splitlines()
    said = [
        (line["decided_by"], line["approved"], line["from"], line["to"]) for line in map(json.loads, kept)
    ]
    assert said == [("ada", False, 1, 2), ("grace", True, 1, 2)]


def test_a_comparison_may_be_a_copy_and_a_runs_folder_may_not(project: Path, deployment: Path) -> None:
    compared = ask(deployment, step="compare_models", model="challenger", partition=DAY)
    copy = project / "copy.json"
    copy.write_bytes(Path(str(compared["comparison"])).read_bytes())
    assert ask(deployment, step="promote", folder=str(copy))["challenger"] == 2
    planned = ask(deployment, step="plan", partition=DAY)
    run = project / "run"
    run.mkdir()
    (run / "plan.json").write_bytes(Path(str(planned["folder"]), "plan.json").read_bytes())
    with pytest.raises(RequestError, match=r"must be below .*\.batchdeploy"):
        ask(deployment, step="validate", folder=str(run))


def test_an_alias_that_moved_after_the_comparison_stays(project: Path, deployment: Path) -> None:
    from tests_support import FEATURES, classifiers, register

    compared = ask(deployment, step="compare_models", model="challenger", partition=DAY)
    known = customers(DAY)
    model = classifiers()[0].fit(known[FEATURES], known["age"] > 40)
    register(project, model, known[FEATURES], alias="champion")
    with pytest.raises(RequestError, match="was at version 1 when it was compared, got 3"):
        ask(deployment, step="promote", folder=compared["comparison"])


def test_a_pinned_version_has_no_alias_to_move(project: Path, deployment: Path) -> None:
    text = deployment.read_text().replace("alias: champion", "version: 1")
    deployment.write_text(text)
    with pytest.raises(RequestError, match="no alias to move"):
        ask(deployment, step="compare_models", model="challenger", partition=DAY)


def test_the_shell_answers_the_same(deployment: Path) -> None:
    def shell(request: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "batchdeploy", "step", str(deployment), "--request", request]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = shell(json.dumps({"step": "plan", "partition": DAY}))
    assert json.loads(done.stdout)["rows"] == 200
    assert "plan took " in done.stderr
    wrong = shell('{"step": "explode", "colour": 1}')
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["error"]["kind"] == "DataError"
