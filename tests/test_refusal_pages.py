"""The page of a run that a gate refused says which gate, and why."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from tests_support import SCHEMA, Result, customers, edit, write_day

from batchdeploy.assembly import open_toolbox, records_in
from batchdeploy.core.records import Refusal
from batchdeploy.errors import GateRefused
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import run as run_partition
from batchdeploy.workflows.run_folders import run_folder

pytestmark = pytest.mark.slow
DAY = "2024-03-02"
Change = Callable[[Path], None]


def missing_visits(rows: int) -> Change:
    """So many rows lack an integer that the model requires."""

    def change(root: Path) -> None:
        frame = customers(DAY)
        frame["visits"] = frame["visits"].astype("Int64").mask(frame.index < rows)
        schema = SCHEMA.set(3, pa.field("visits", pa.int64(), nullable=True))
        write_day(root / "data" / "customers", DAY, frame, schema)

    return change


def added(text: str) -> Change:
    def change(root: Path) -> None:
        file = root / "dags" / "churn.yaml"
        file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")

    return change


def elsewhere(root: Path) -> None:
    write_day(root / "data" / "customers", DAY, customers(DAY).assign(city="Paris"))
    edit("churn.json}", "churn.json, on_alarm: block}")(root)


@pytest.mark.parametrize(
    ("change", "verdict", "detail"),
    [
        (
            missing_visits(3),
            "Not published: 3 of 200 rows were quarantined (1.5%, allowed 1.0%).",
            "input: null in the integer feature visits: 3 rows",
        ),
        (missing_visits(200), "Not published: ", "visits"),
        (
            added("policy: {out_of_range: fail, ranges: {visits: [0, 6]}}\nquarantine: {max_share: 1}\n"),
            "Not published: rows break a rule of the policy that says fail.",
            "visits: out_of_range: ",
        ),
        (
            edit(
                "  keys: [customer_id]\nexpectations: expectations/customers.json\n",
                "  keys: [customer_id]\n  where: [{column: city, op: eq, value: Atlantis}]\n",
            ),
            "Not published: none of the 200 rows matches data.where.",
            "data.where: none of the 200 rows of the partition matches",
        ),
        (
            elsewhere,
            "Not published: drift, and drift.on_alarm is block: 100.0% of <code>city</code> is in unseen",
            "city: 100.0% of `city` is in unseen categories, ordinarily 0.0%",
        ),
    ],
    ids=["too many", "far too many", "policy", "where", "drift"],
)
def test_a_refused_runs_page_says_why(
    project: Path, deployment: Path, cli: Callable[..., Result], change: Change, verdict: str, detail: str
) -> None:
    change(project)
    tools = open_toolbox(deployment)
    with pytest.raises(GateRefused) as refused:
        run_partition(tools, DAY)
    folder = run_folder(tools, plan_partition(tools, DAY))
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert verdict in page
    assert detail in page
    for problem in refused.value.problems:
        assert f"<li>{problem}</li>" in page
    found = records_in(folder).find("", Refusal)
    assert found is not None
    assert found.gate == type(refused.value).__name__
    assert cli("show", folder, "--json").json["Refusal"]["hint"] == refused.value.hint
