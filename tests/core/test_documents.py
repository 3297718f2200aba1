from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import QuarantinedRows
from batchdeploy.documents import canonical, deployment_schema, from_json, read_deployment, to_json
from batchdeploy.errors import DataError, DeploymentError

REPOSITORY = Path(__file__).parents[2]
SOUND = """\
name: churn
model: {name: churn}
data: {path: data, keys: [id], partition: {column: date}}
output: {path: scores, columns: {p: double}}
"""

WRONG = {
    "a syntax error": ("name: [1\n", "line 2, column 1"),
    "a key twice": ("name: a\nname: b\n", 'found duplicate key "name"'),
    "an alias": ("a: &x [1]\nb: *x\n", "line 2: YAML aliases are not supported"),
    "nothing": ("", "must hold a mapping"),
    "a list": ("- 1\n", "must hold a mapping"),
    "deep nesting": ("a: " + "[" * 40 + "]" * 40, "nested deeper than 12"),
    "a megabyte": ("#" * 1_000_000, "larger than 256 KiB"),
    "an infinite number": (
        SOUND + "limits: {minutes: .inf}\n",
        "limits.minutes: must be a finite number (line 5",
    ),
    "a number beyond all": (SOUND + "limits: {minutes: 1e999}\n", "limits.minutes: must be a finite number"),
    "no number at all": (
        SOUND.replace("keys: [id]", "keys: [id], where: [{column: a, op: in, value: [1.0, .nan]}]"),
        "data.where.0.value.1: must be a finite number (line 3",
    ),
    "an infinite range": (
        SOUND + "policy: {ranges: {a: [0, -.inf]}}\n",
        "policy.ranges.a.1: must be a finite",
    ),
    "an infinite setting": (SOUND + "engine: {conf: {a: .nan}}\n", "engine.conf.a: must be a finite number"),
    "a number of 400 digits": (
        SOUND + f"limits: {{minutes: 1{'0' * 400}}}\n",
        "limits.minutes: does not fit 64 bits",
    ),
    "as many rows": (SOUND + f"limits: {{rows: 1{'0' * 400}}}\n", "limits.rows: does not fit 64 bits"),
    "a number of 5,000 digits": (SOUND + f"limits: {{rows: {'9' * 5000}}}\n", "YAML"),
    "more minutes than a clock has": (
        SOUND + "limits: {minutes: 1e300}\n",
        "limits.minutes: must be at most",
    ),
    "hours of waiting beyond dates": (
        SOUND.replace("keys: [id]", "keys: [id], wait_hours: 1e300"),
        "data.wait_hours: must be at most",
    ),
    "a wait between looks beyond dates": (
        SOUND.replace("keys: [id]", "keys: [id], poll_seconds: 1e12"),
        "data.poll_seconds: must be at most",
    ),
    "readers that read for ever": (
        SOUND + "publish: {reader_seconds: 1e300}\n",
        "publish.reader_seconds: must",
    ),
    "a step beyond the calendar": (
        SOUND.replace("{column: date}", "{column: date, run_offset: 10000000000}"),
        "data.partition.run_offset: must be between",
    ),
    "a rate that is nothing": (
        SOUND + "drift: {reference: r, false_alarm_rate: 1e-320}\n",
        "drift.false_alarm_rate: must be at least 1e-12",
    ),
    "half of a character": (
        SOUND + 'owner: "\\ud800"\n',
        "owner: holds half of a character (line 5, column 1)",
    ),
    "a NUL": ("a: \0\n", "special characters are not allowed"),
    "an unknown key": (SOUND + "outputs: 1\n", "outputs: unknown key (line 5, column 1)"),
    "an unknown key inside": (
        SOUND.replace("{column: date}", "{column: date, cron: x}"),
        "data.partition.cron: unknown key (line 3, column 58)",
    ),
    "a missing key": (SOUND.replace("name: churn\n", "", 1), "name: is required"),
    "a number for text": (
        SOUND.replace("path: data", "path: 010"),
        "data.path: Input should be a valid string",
    ),
    "text for a number": (
        SOUND + "drift: {reference: r, false_alarm_rate: often}\n",
        "drift.false_alarm_rate: Input should be a valid number (line 5, column 23), got 'often'",
    ),
    "an unknown output type": (SOUND.replace("p: double", "p: decimal"), "output.columns.p: Input should be"),
    "alias and version": (SOUND.replace("{name: churn}", "{name: churn, alias: a, version: 1}"), "not both"),
    "version nought": (SOUND.replace("{name: churn}", "{name: churn, version: 0}"), "versions start at 1"),
    "no keys": (SOUND.replace("[id]", "[]"), "data.keys: name at least one key column"),
    "no outputs": (SOUND.replace("{p: double}", "{}"), "declare at least one output"),
    "a column twice": (SOUND.replace("p: double", "ID: double"), "this column is in the output already"),
    "the partition column as an output": (
        SOUND.replace("p: double", "date: double"),
        "is in the output already",
    ),
    "a reserved output": (SOUND.replace("p: double", "_run_id: string"), "reserved or not a column name"),
    "select for some": (
        SOUND.replace("{p: double}", "{p: double, q: {type: double, select: 1}}"),
        "give 'select' for all outputs or for none",
    ),
    "an output on a URI": (
        SOUND.replace("path: scores", "path: s3://bucket/x"),
        "output.path: an object store needs publish: {mode: pointer}",
    ),
    "a control folder for a swap": (
        SOUND.replace("path: scores", "path: scores, control: s3://b/x.batchdeploy"),
        "output.control: publish.mode swap needs the control folder beside the table; leave it out, or set",
    ),
    "a control folder without the ending": (
        SOUND.replace("path: scores", "path: scores, control: s3://b/x") + "publish: {mode: pointer}\n",
        "output.control: the name of a control folder ends with .batchdeploy",
    ),
    "a control folder in an unknown store": (
        SOUND.replace("path: scores", "path: scores, control: ftp://b/x.batchdeploy")
        + "publish: {mode: pointer}\n",
        "output.control: is in no store that is known",
    ),
    "a control folder with a password": (
        SOUND.replace("path: scores", "path: scores, control: s3://me:secret@b/x.batchdeploy")
        + "publish: {mode: pointer}\n",
        "output.control: holds credentials",
    ),
    "a control folder in the table": (
        SOUND.replace("path: scores", "path: scores, control: scores/x.batchdeploy")
        + "publish: {mode: pointer}\n",
        "output.control: must be outside data.path and output.path",
    ),
    "a control folder in a store for a table in a folder": (
        SOUND.replace("path: scores", "path: scores, control: s3://b/x.batchdeploy")
        + "publish: {mode: pointer}\n",
        "output.control: is in a store, and the lock of a table in a folder must be in a folder, too",
    ),
    "a control folder without a path": (
        SOUND.replace("path: scores", "path: scores, control: ''") + "publish: {mode: pointer}\n",
        "output.control: must be a path or a URI",
    ),
    "an output inside the data": (
        SOUND.replace("path: scores", "path: data/x"),
        "must be outside data.path",
    ),
    "an output without a name": (SOUND.replace("path: scores", "path: ."), "a folder with a name of its own"),
    "a password": (
        SOUND.replace("{name: churn}", "{name: churn, registry: 'http://a:b@c'}"),
        "model.registry: holds credentials",
    ),
    "a rate of 2": (SOUND + "drift: {reference: r, false_alarm_rate: 2}\n", "must be between 0 and 1"),
    "a share of -1": (SOUND + "quarantine: {max_share: -1}\n", "must be between 0 and 1"),
    "a name with a slash": (SOUND.replace("name: churn\n", "name: a/b\n", 1), "use 1 to 100 letters"),
    "NO is a name, not false": (SOUND.replace("name: churn\n", "name: ''\n", 1), "use 1 to 100 letters"),
    "a python object": ("!!python/object/apply:os.system [ls]\n", "must hold a mapping"),
    "a version of YAML that nobody has": ("%YAML 1.0\n---\n" + SOUND, "version"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_says_what_is_wrong_and_where(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DeploymentError) as caught:
        read_deployment(file)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_collects_every_problem_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("model: 3\nextra: 1\n", encoding="utf-8")
    with pytest.raises(DeploymentError, match=r"^5 problems in "):
        read_deployment(tmp_path / "x.yaml")


def test_reads_what_a_newcomer_writes(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(SOUND.replace("name: churn\n", "name: NO\n", 1), encoding="utf-8")
    deployment = read_deployment(tmp_path / "x.yaml")
    assert deployment.name == "NO"
    assert deployment.engine.kind == "spark"
    assert deployment.outputs[0][1].type == "double"


def test_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="no such file"):
        read_deployment(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(DeploymentError, match=f"name a deployment's file: {tmp_path}/x.yaml"):
        read_deployment(tmp_path)
    with pytest.raises(DeploymentError, match="not UTF-8"):
        read_deployment(tmp_path / "x.yaml")


def test_every_deployment_of_this_repository_is_sound() -> None:
    files = [*REPOSITORY.glob("dags/*.yaml"), *REPOSITORY.glob("batchdeploy/examples/*/dags/*.yaml")]
    assert len(files) >= 2
    for file in files:
        read_deployment(file)


def test_the_committed_schema_is_what_the_records_say() -> None:
    committed = json.loads((REPOSITORY / "docs" / "deployment.schema.json").read_text(encoding="utf-8"))
    assert committed == deployment_schema()


counts = st.lists(st.integers(0, 10**12), min_size=3, max_size=3).map(tuple)


@given(name=st.text(min_size=1, max_size=30), counts=counts, nulls=st.integers(0, 10**9))
def test_reading_what_was_written_gives_it_back(name: str, counts: tuple[int, ...], nulls: int) -> None:
    profile = ColumnProfile(
        name=name, role="feature", kind="numeric", edges=(0.1, 1e-300), counts=counts, nulls=nulls
    )
    assert from_json(ColumnProfile, to_json(profile), where="x") == profile


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"stage": "input"}', '{"stage": 1, "reason": "", "rows": "2"}']
)
def test_refuses_what_is_not_such_a_record(text: str) -> None:
    with pytest.raises(DataError):
        from_json(QuarantinedRows, text, where="x")


def test_equal_values_have_one_canonical_form() -> None:
    assert canonical({"b": 1, "a": [1.0, "é"]}) == canonical({"a": [1.0, "é"], "b": 1})
    with pytest.raises(ValueError, match="Out of range"):
        canonical(float("nan"))
