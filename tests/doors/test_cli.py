"""The real command line. Every bad input: one clear message, the right exit code, nothing changed on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests_support import SCHEMA, Result, customers, edit, move_alias, register, tree, write_day

from batchdeploy.host import packages

DAY = "2024-03-02"


def suite(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "expectations" / "customers.json").write_text(text) and None


def reference(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        file = root / "data" / "reference" / "churn.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return apply


def input_file(root: Path) -> Path:
    return root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"


def partition(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        change(customers(DAY)).to_parquet(input_file(root), index=False)

    return apply


def unsigned(root: Path) -> None:
    from tests_support import FEATURES, classifiers

    frame = customers(DAY)
    model = classifiers()[0].fit(frame[FEATURES], frame["age"] > 50)
    register(root, model, frame[FEATURES], alias="unsigned", signed=False)
    edit("alias: champion", "alias: unsigned")(root)


def no_registry(root: Path) -> None:
    (root / "mlflow.db").unlink()


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a missing deployment file": (lambda root: (root / "dags" / "churn.yaml").unlink(), "no such file"),
    "an unknown key": (edit("owner: tests", "ownr: tests"), "ownr: unknown key (line 2, column 1)"),
    "a wrong type": (edit("keys: [customer_id]", "keys: 7"), "data.keys: Input should be a valid"),
    "a missing key": (edit("name: churn\n", ""), "name: is required"),
    "a model without signature": (unsigned, "has no signature"),
    "no such alias": (edit("alias: champion", "alias: winner"), "churn alias winner: no such model"),
    "no such version": (edit("alias: champion", "version: 9"), "churn version 9: no such model"),
    "no such model": (edit("{name: churn, alias", "{name: burn, alias"), "burn alias champion: no such"),
    "no registry": (no_registry, "there is no such database"),
    "data outside the project": (edit("path: data/customers", "path: ../other"), "data.path: climbs out of"),
    "an output outside the project": (edit("path: scores/churn", "path: a/../../b"), "output.path: climbs"),
    "a suite outside the project": (
        edit("expectations/customers.json", "../suite.json"), "expectations: climbs out",
    ),
    "no data": (lambda root: shutil.rmtree(root / "data" / "customers"), "data.path: no such folder"),
    "a URI of HDFS": (edit("path: data/customers", "path: hdfs://lake/x"), "HDFS is not read; mount it"),
    "data without the partition column": (edit("column: date", "column: day"), "no folder named day=VALUE"),
    "a key that is no column": (edit("keys: [customer_id]", "keys: [client]"), "client: named in data.keys"),
    "a kept column that is none": (edit("keep: [city]", "keep: [town]"), "town: named in output.keep"),
    "an empty partition": (partition(lambda frame: frame.head(0)), "the partition holds no rows"),
    "no file in the partition": (
        lambda root: input_file(root).unlink(),
        "the partition holds no Parquet file",
    ),
    "no Parquet": (
        lambda root: input_file(root).write_text("id,age") and None,
        f"date={DAY}/part-0.parquet: is not Parquet; it looks like text, such as CSV",
    ),
    "a missing column": (partition(lambda frame: frame.drop(columns="age")), "age: the model needs it"),
    "a retyped column": (
        partition(lambda frame: frame.assign(age=frame["age"].astype(str))),
        "age: the model wants double, the data holds string",
    ),
    "outputs of another shape": (
        edit("{type: double, select: 1}", "double"), "1 declared, the model returns 2",
    ),
    "a suite that is not JSON": (suite("{nope"), "expectations/customers.json:"),
    "a suite with an unknown expectation": (
        suite('{"name": "s", "expectations": [{"type": "expect_magic", "kwargs": {}}]}'), "does not know",
    ),
    "a condition on a column that is none": (
        edit("  keys:", "  where: [{column: agee, op: gt, value: 3}]\n  keys:"), "where[0]: no such column",
    ),
    "a condition that does not fit": (
        edit("  keys:", "  where: [{column: city, op: gt, value: 3}]\n  keys:"), "city is string, and cannot",
    ),
    "a condition that is a string of SQL": (
        edit("  keys:", "  where: \"1=1; reflect('java.lang.System','exit',0)\"\n  keys:"), "data.where",
    ),
    "a condition with an operator of its own": (
        edit("  keys:", "  where: [{column: age, op: like, value: x}]\n  keys:"), "op: Input should be",
    ),
    "a missing suite": (
        lambda root: (root / "expectations" / "customers.json").unlink(), "expectations: no such file",
    ),
    "a missing reference": (
        lambda root: (root / "data" / "reference" / "churn.json").unlink(), "drift.reference: no such file",
    ),
    "a reference for another schema": (
        reference(lambda document: document["columns"].pop(0)), "age: this feature is not in the reference",
    ),
    "a reference that is none": (reference(lambda document: document.pop("columns")), "columns: Field"),
}  # fmt: skip


@pytest.mark.parametrize(
    "command",
    ["run", pytest.param("plan", marks=pytest.mark.slow), pytest.param("check", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("spoil", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_input(
    project: Path, cli: Callable[..., Result], command: str, spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(project)
    if command == "check":
        # `check` reads the newest partition, so the corrupt one must be the newest.
        for day in ("2024-03-03", "2024-03-04"):
            shutil.rmtree(project / "data" / "customers" / f"date={day}", ignore_errors=True)
    before = tree(project)
    words = [command, project / "dags" / "churn.yaml", *(() if command == "check" else ("--partition", DAY))]
    result = cli(*words)
    assert result.code == 2, result.err
    assert expected in result.err
    # A run first prints the stage that began.
    message = [line for line in result.err.splitlines() if not line.endswith(f"{DAY}: resolve")]
    assert message[0].endswith(":")
    assert " in " in message[0]
    assert "Traceback" not in result.err
    assert tree(project) == before


REQUESTS: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown partition": (
        ("run", "--partition", "2031-01-01"),
        "there are 4 from 2024-03-01 to 2024-03-04",
    ),
    "a partition that is written otherwise": (("run", "-p", "2024-3-2"), "Hint: write 2024-03-02"),
    "a plan of one that is": (("plan", "-p", "2024-3-2"), "is not written as '%Y-%m-%d', got 2024-3-2"),
    "a bound that is written otherwise": (
        ("backfill", "--from", "2024-03-01", "--to", "2024-3-2"),
        "Hint: write 2024-03-02",
    ),
    "a rollback of one that is": (("rollback", "-p", "2024-3-2"), "Hint: write 2024-03-02"),
    "a partition that is a path": (("run", "--partition", "../../etc"), "not a partition's value"),
    "a range without partitions": (
        ("backfill", "--from", "2031-01-01", "--to", "2031-02-01"),
        "in this range",
    ),
    "a range that runs backwards": (
        ("backfill", "--from", "2024-03-04", "--to", "2024-03-01"),
        "date: --from is after --to, 2024-03-01, got 2024-03-04",
    ),
    "half a range": (("plan", "--from", "2024-03-01"), "give --partition, or --from and --to"),
    "a partition and a range": (("plan", "-p", DAY, "--from", "a", "--to", "b"), "give --partition, or"),
    "as-of": (("backfill", "--from", DAY, "--to", DAY, "--model", "as-of"), "needs a ledger"),
}


@pytest.mark.parametrize(("words", "expected"), REQUESTS.values(), ids=REQUESTS.keys())
def test_bad_request(
    project: Path, deployment: Path, cli: Callable[..., Result], words: tuple[str, ...], expected: str
) -> None:
    before = tree(project)
    result = cli(words[0], deployment, *words[1:])
    assert (result.code, result.out) == (2, "")
    assert expected in result.err
    assert tree(project) == before


def test_an_error_is_a_json_document_where_json_was_asked_for(
    deployment: Path, cli: Callable[..., Result]
) -> None:
    result = cli("run", deployment, "--partition", "2031-01-01", "--json")
    assert result.code == 2
    assert result.json["error"]["kind"] == "PartitionError"
    assert result.json["error"]["problems"][0]["got"] == "2031-01-01"


@pytest.mark.slow
def test_check_collects_what_is_wrong_in_all_places(project: Path, cli: Callable[..., Result]) -> None:
    edit("alias: champion", "alias: winner")(project)
    suite("{")(project)
    result = cli("check", project / "dags" / "churn.yaml")
    assert result.code == 2
    for part in ("2 problems", "expectations/customers.json: JSON", "no such model"):
        assert part in result.err


def beside(name: str) -> Callable[[Path], None]:
    """One more folder of the partition column, as full as another."""

    def apply(root: Path) -> None:
        day = input_file(root).parent
        shutil.copytree(day, day.with_name(f"date={name}"))

    return apply


def scheduled(more: str) -> Callable[[Path], None]:
    return edit("{column: date}", f"{{column: date, {more}}}")


def no_control(root: Path) -> None:
    (root / "scores").mkdir()
    (root / "scores" / "churn.batchdeploy").write_text("")


CHECKED: dict[str, tuple[Callable[[Path], None], str]] = {
    "hours that no day has": (scheduled("schedule: '0 24 * * *'"), "the hour must be between 0 and 23"),
    "words in place of hours": (scheduled("schedule: 'a b c d e'"), "the minute must be between 0 and 59"),
    "a step of none": (scheduled("schedule: '*/0 6 * * *'"), "the minute has a step that is no number above"),
    "30 February": (scheduled("schedule: '0 6 30 2 *'"), "names a day that none of its months has"),
    "a start after the end": (
        scheduled("start: 2024-05-01, end: 2024-01-31"),
        "data.partition.start: is after end, 2024-01-31",
    ),
    "a suite for other columns": (
        suite(json.dumps({"name": "s", "expectations": [
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "age"}},
            {"type": "expect_column_to_exist", "kwargs": {"column": "old"}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "agee"}},
        ]})),
        "customers.json: expectations.2: no such column in the data, got agee",
    ),
    "machine code for a model without trees": (
        edit("alias: champion", "alias: champion, runtime: compiled"),
        "model.runtime: compiled takes tree ensembles, and this model has none",
    ),
    "rows without a day": (
        beside("__HIVE_DEFAULT_PARTITION__"),
        "date=__HIVE_DEFAULT_PARTITION__: holds the rows whose date is null, and no run scores them",
    ),
    "a day that is written otherwise": (
        beside("2024-3-5"), "date=2024-3-5: is not written as '%Y-%m-%d', which is 2024-03-05; rename it",
    ),
    "a day that is none": (beside("tomorrow"), "date=tomorrow: is not written as '%Y-%m-%d', so that no"),
    "a day that globs would read": (beside("2024-03-0*"), "date=2024-03-0%2A: is not written as"),
    "a day of no Unicode name": (
        beside(os.fsdecode(b"2024-03-0\xe9")), "has a name that is not UTF-8; rename it",
    ),
    "a day without files": (
        lambda root: (root / "data/customers/date=2024-03-01/part-0.parquet").unlink(),
        "date=2024-03-01: holds no Parquet file",
    ),
    "a day in a circle": (
        lambda root: (root / "data/customers/date=2024-03-05").symlink_to("date=2024-03-05"),
        "date=2024-03-05: symbolic links that lead in a circle",
    ),
    "scores in a circle": (
        lambda root: (root / "scores").symlink_to("scores"), "symbolic links that lead in a circle",
    ),
    "a file as control folder": (
        no_control, "a part of the path is a file, not a folder",
    ),
}  # fmt: skip


def test_check_tells_what_failed_outside_from_what_is_wrong(
    project: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    edit("alias: champion", "alias: champion, registry: 'http://127.0.0.1:1'")(project)
    assert cli("check", deployment).code == 3
    suite("{")(project)
    result = cli("check", deployment)
    assert (result.code, "2 problems" in result.err) == (2, True), result.err


@pytest.mark.slow
def test_a_reader_that_went_away_is_no_refusal(deployment: Path) -> None:
    command = [sys.executable, "-m", "batchdeploy", "status", str(deployment)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "expected"), CHECKED.values(), ids=CHECKED.keys())
def test_check_finds_what_a_run_would_meet_only_later(
    project: Path, deployment: Path, cli: Callable[..., Result], spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(project)
    before = tree(project)
    result = cli("check", deployment)
    assert (result.code, "Traceback" in result.err) == (2, False), result.err
    assert expected in result.err
    assert tree(project) == before


def test_check_finds_what_a_machine_lacks_in_one_message(
    project: Path, deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patch stands for a machine where only the base is installed."""
    edit("engine: {kind: local}", "engine: {kind: spark}")(project)
    edit("alias: champion", "alias: challenger, runtime: compiled")(project)
    lacks = {"pyspark", "treelite"}
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in lacks else name)
    monkeypatch.setenv("JAVA_HOME", "/nonesuch")
    monkeypatch.setenv("PATH", "/nonesuch")
    result = cli("check", deployment)
    assert result.code == 2
    for part in (
        "4 problems",
        "engine.kind: spark: needs pyspark, which is not installed",
        "engine.kind: spark needs Java 17 or 21",
        "model.runtime: compiled: needs treelite, which is not installed",
        "model.runtime: compiled needs a C compiler",
        "Hint: pip install 'batchdeploy[compiled,spark]'",
    ):
        assert part in result.err


@pytest.mark.slow
def test_a_day_at_the_shell(project: Path, deployment: Path, cli: Callable[..., Result]) -> None:
    assert cli("check", deployment).out == "churn: nothing wrong found\n"
    plan = cli("plan", deployment, "--partition", DAY, "--json").json
    assert [p["state"] for p in plan["plans"]] == ["new"]
    assert plan["minutes_expected"] is None
    first = cli("run", deployment, "--partition", DAY)
    assert first.code == 0
    assert "200 rows scored by churn version 1" in first.out
    again = cli("run", deployment, "--partition", DAY)
    assert f"{DAY} is identical" in again.out
    assert "Nothing to do" in again.out
    move_alias(project, "champion", 2)
    changed = cli("plan", deployment, "--from", "2024-03-01", "--to", "2024-03-04")
    assert "churn version 1 → churn version 2" in " ".join(changed.out.split())
    assert "4 of 4 to score" in changed.out
    done = cli("backfill", deployment, "--from", "2024-03-01", "--to", DAY, "--json").json
    assert [p["status"] for p in done["partitions"]] == ["published", "published"]
    status = cli("status", deployment, "--json").json["partitions"]
    assert [(p["partition"], p["state"], p["model_version"]) for p in status] == [
        ("2024-03-01", "published", 2),
        (DAY, "published", 2),
        ("2024-03-03", "new", None),
        ("2024-03-04", "new", None),
    ]
    assert "2 partitions, and 2 not scored yet" in cli("status", deployment).out


@pytest.mark.slow
def test_a_backfill_with_another_model(deployment: Path, cli: Callable[..., Result]) -> None:
    for policy, version in (("2", 2), ("challenger", 2), ("champion", 1)):
        words = ("backfill", deployment, "--from", DAY, "--to", DAY, "--model", policy, "--json")
        assert cli(*words).json["partitions"][0]["manifest"]["model_version"] == version


@pytest.mark.slow
def test_a_refused_partition_does_not_stop_a_backfill(
    project: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    frame = customers(DAY)
    write_day(project / "data" / "customers", DAY, frame.assign(age=500.0), SCHEMA)
    result = cli("backfill", deployment, "--from", "2024-03-01", "--to", "2024-03-03")
    assert result.code == 1
    assert "200 of 200 rows, such as 500.0" in result.err
    rows = [line.split()[:2] for line in result.out.splitlines()[1:]]
    assert rows == [["2024-03-01", "published"], ["2024-03-03", "published"], [DAY, "refused"]]
    states = {p["partition"]: p["state"] for p in cli("status", deployment, "--json").json["partitions"]}
    assert states[DAY] == "refused"


def test_a_backfill_over_a_partition_that_cannot_be_scored_writes_nothing(
    project: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    input_file(project).write_text("no Parquet")
    before = tree(project)
    result = cli("backfill", deployment, "--from", "2024-03-01", "--to", "2024-03-03")
    assert (result.code, result.out) == (2, "")
    assert tree(project) == before


def test_a_signal_that_ends_the_tests_is_no_commands_exit_code(cli: Callable[..., Result]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert cli("--version").code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_accident_that_nobody_foresaw_is_not_a_refusal(
    deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patch stands for a bug of our own."""
    monkeypatch.setattr("batchdeploy.cli.commands.statuses", lambda tools: 1 / 0)
    result = cli("status", deployment, "--json")
    assert result.code == 3
    assert result.json["error"]["problems"][0]["path"] == "ZeroDivisionError"


@pytest.mark.slow
def test_a_relative_registry_starts_at_the_projects_root(project: Path, cli: Callable[..., Result]) -> None:
    edit("alias: champion", "alias: champion, registry: 'sqlite:///mlflow.db'")(project)
    assert cli("plan", project / "dags" / "churn.yaml", "-p", DAY).code == 0


@pytest.mark.slow
def test_show_and_report_find_a_run_by_the_beginning_of_its_id(
    project: Path, deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cli("run", deployment, "--partition", DAY, "--json").json["manifest"]["run_id"]
    monkeypatch.chdir(project / "dags")
    shown = cli("show", run[:6])
    assert "churn version 1" in shown.out
    assert "3 of 3 hold" in shown.out
    assert set(cli("show", run, "--json").json) >= {
        "Plan",
        "CheckReport",
        "ScoredBatch",
        "DriftReport",
        "Manifest",
    }
    file = Path(cli("report", run, "--json").json["report"])
    assert file.is_file()
    missing = cli("show", "ffff")
    assert (missing.code, "no such run" in missing.err) == (2, True)
    assert cli("show", "../..").code == 2
    monkeypatch.chdir("/")
    away = cli("show", run)
    assert (away.code, f"batchdeploy show {run} --deployment FILE" in away.err) == (2, True)
    assert "churn version 1" in cli("show", run, "--deployment", deployment).out
    assert cli("report", run[:6], "-d", deployment, "--json").json["report"] == str(file)
    assert f"batchdeploy status {deployment} lists them" in cli("show", "ffff", "-d", deployment).err


def test_doctor_says_what_is_there(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    findings = {f["name"]: f for f in cli("doctor", "--json").json}
    assert findings["MLflow"]["ok"]
    monkeypatch.setenv("JAVA_HOME", "/nonesuch")
    result = cli("doctor")
    assert result.code == 3
    assert "openjdk-17" in " ".join(result.out.split())


def test_doctor_asks_only_for_what_the_deployments_use(
    project: Path, deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nonesuch")
    monkeypatch.chdir(project)
    for words in ((), (deployment,)):
        result = cli("doctor", *words, "--json")
        java = next(f for f in result.json if f["name"] == "Java")
        assert (result.code, java["ok"], java["needed"]) == (0, False, False), result.out
    assert "not used" in cli("doctor").out
    edit("engine: {kind: local}", "engine: {kind: spark}")(project)
    assert cli("doctor").code == 3
    edit("engine: {kind: spark}", "engine: {kind: spark, remote: 'sc://host'}")(project)
    assert cli("doctor").code == 0
    edit("name: churn, alias: champion", "name: churn, registry: 'sqlite:///none.db'")(project)
    assert cli("doctor", deployment).code == 3
    edit("owner: tests", "ownr: tests")(project)
    assert "ownr: unknown key" in cli("doctor", deployment).err


OWN = {"MLFLOW_TRACKING_URI": "http://t"}
BOTH = OWN | {"MLFLOW_REGISTRY_URI": "https://bob:Qz7@r"}
LOCATIONS: dict[str, tuple[str, dict[str, str], list[tuple[str, bool, str]]]] = {
    "the project's": ("", {}, [("model registry", True, "mlflow.db in the project's root")]),
    "a tracking server in the environment": (
        "", OWN, [("model registry", True, "http://t (MLFLOW_TRACKING_URI)")],
    ),
    "a registry in the environment": (
        "", BOTH, [("model registry", True, "https://***@r (MLFLOW_REGISTRY_URI)")],
    ),
    "tracking": (
        ", tracking: 'http://ann:${T_PASSWORD}@u'", OWN | {"T_PASSWORD": "Xk8"},
        [
            ("model registry", True, "http://ann:${{T_PASSWORD}}@u (model.tracking)"),
            ("tracking server", True, "http://ann:${{T_PASSWORD}}@u (model.tracking)"),
        ],
    ),
    "tracking, and a registry in the environment": (
        ", tracking: 'http://u'", BOTH,
        [
            ("model registry", True, "https://***@r (MLFLOW_REGISTRY_URI)"),
            ("tracking server", True, "http://u (model.tracking)"),
        ],
    ),
    "a registry, and tracking in a file that is not there": (
        ", registry: 'sqlite:///mlflow.db', tracking: 'sqlite:///none.db'", BOTH,
        [
            ("model registry", True, "{root}/mlflow.db (model.registry)"),
            ("tracking server", False, "none at {root}/none.db (model.tracking)"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "environment", "expected"), LOCATIONS.values(), ids=LOCATIONS.keys())
def test_doctor_shows_the_registry_and_the_tracking_server_that_a_run_uses(
    project: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    keys: str,
    environment: dict[str, str],
    expected: list[tuple[str, bool, str]],
) -> None:
    monkeypatch.chdir(project)
    edit("name: churn, alias: champion", f"name: churn, alias: champion{keys}")(project)
    for name, uri in environment.items():
        monkeypatch.setenv(name, uri)
    done = cli("doctor", "--json")
    names = ("model registry", "tracking server")
    found = [(f["name"], f["ok"], f["found"]) for f in done.json if f["name"] in names]
    assert found == [(name, ok, text.format(root=project)) for name, ok, text in expected]
    assert done.code == (0 if all(ok for _, ok, _ in expected) else 3)


@pytest.mark.parametrize(
    "command", ["init", "check", "plan", "run", "backfill", "status", "show", "report", "doctor"]
)
def test_every_command_explains_itself(cli: Callable[..., Result], command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert "--json" in result.out


@pytest.mark.slow
def test_init_gives_a_project_whose_first_run_works(tmp_path: Path, cli: Callable[..., Result]) -> None:
    """As a stranger types it, in processes of their own."""

    def shell(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "batchdeploy", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    mine = tmp_path / "it's mine"
    made = shell("init", mine.name, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    entering, printed = made.stdout.strip().splitlines()[-2:]
    where = subprocess.check_output(f"{entering} && pwd", shell=True, cwd=tmp_path, text=True)
    assert where.strip() == str(mine)
    assert printed.split()[0] == "batchdeploy"
    ran = shell(*printed.split()[1:], folder=mine)
    assert ran.returncode == 0, ran.stderr
    assert "21 rows scored by progression version 1" in ran.stdout
    checked = shell("check", "dags/progression.yaml", folder=mine)
    assert checked.returncode == 0, checked.stderr
    before = tree(mine)
    again = shell("init", mine.name, folder=tmp_path)
    assert (again.returncode, "is not an empty folder" in again.stderr) == (2, True)
    assert tree(mine) == before
    write_day(mine / "data" / "customers", "2024-01-01", customers("2024-01-01", 3))
    put_under_dvc(mine, "data/customers")


def put_under_dvc(root: Path, data: str) -> None:
    """As DVC's own guide says; git has what describes the data, and not the data, which DVC's remote gets."""
    remote = root.parent / "remote"
    commands = (
        "git init -q",
        "dvc init -q",
        f"dvc remote add -q -d store {remote}",
        f"dvc add -q {data}",
        "git add -A",
        "dvc push -q",
    )
    for command in commands:
        done = subprocess.run(command.split(), cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
    listed = subprocess.check_output(["git", "ls-files"], cwd=root, text=True).split()
    assert f"{data}.dvc" in listed
    assert not [name for name in listed if name.endswith((".parquet", ".db")) or "mlartifacts" in name]
    # NOTE: a pattern such as /data/*/ hides data/ with its *.dvc files from DVC, which then pushes nothing.
    assert len([path for path in remote.rglob("*") if path.is_file()]) == 2
