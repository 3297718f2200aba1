"""Resolving, on fakes: refs become pins, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from fakes import DAYS, make_tools, rows
from fakes.stage_calls import DAY, plan_of, published_of, scored_of

from batchdeploy.core.deployment import EngineSpec, ModelRef, OutputRef
from batchdeploy.errors import (
    ContractError,
    PartitionError,
    RegistryError,
    RequestError,
    TableError,
)

pytestmark = pytest.mark.usefixtures("no_files")


def test_pins_what_registry_and_source_say() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    assert (plan.model.version, plan.model.alias) == (1, "champion")
    assert plan.model == tools.registry.resolve(tools.deployment.model)
    assert replace(plan.data, partition=None) == tools.source.pin(tools.deployment.data, DAY)
    assert (plan.schema.file_rows, plan.base_run, plan.state) == ((3, 3), None, "new")
    assert plan_of(tools) == plan


def test_a_run_id_stands_for_model_rows_and_meaning() -> None:
    tools = make_tools()
    before = plan_of(tools).run_id
    assert plan_of(tools, DAYS[1]).run_id != before
    tools.registry.move_alias("doubles", "champion", seen=1, version=2)
    moved = plan_of(tools).run_id
    tools.source.put("data", DAY, *rows(DAY, count=4))
    mended = plan_of(tools).run_id
    assert len({before, moved, mended}) == 3
    elsewhere = make_tools(engine=EngineSpec(kind="local"), owner="somebody")
    assert plan_of(elsewhere).run_id == before
    output = replace(tools.deployment.output, control="s3://lake/records.batchdeploy")
    assert plan_of(make_tools(output=output)).run_id == before


def test_refuses_what_does_not_fit_with_all_problems() -> None:
    tools = make_tools(output=OutputRef(path="scores", columns={"y": "double", "z": "double"}))
    texts = pa.table({"id": ["a"], "x": ["not a number"]})
    tools.source.put("data", DAY, texts)
    with pytest.raises(ContractError) as caught:
        plan_of(tools)
    assert len(caught.value.problems) == 2
    assert "x: the model wants double, the data holds string" in str(caught.value)
    assert "2 declared, the model returns 1" in str(caught.value)


def test_a_ref_that_leads_nowhere_and_a_partition_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="no such model"):
        plan_of(make_tools(model=ModelRef(name="nonesuch")))
    with pytest.raises(PartitionError, match="no such partition"):
        plan_of(make_tools(), "2031-01-01")
    with pytest.raises(PartitionError, match="write 2024-01-01"):
        plan_of(make_tools(), "2024-1-1")


def test_what_does_not_answer_is_an_outside_failure() -> None:
    tools = make_tools()
    tools.registry.failure = RegistryError("the registry", "does not answer")
    with pytest.raises(RegistryError, match="does not answer"):
        plan_of(tools)


def test_another_deployments_table_is_refused() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    published_of(tools, plan, scored_of(tools, plan))
    tools.deployment = replace(tools.deployment, name="other")
    with pytest.raises(TableError, match="belongs to deployment doubling"):
        plan_of(tools)


def test_another_column_needs_a_word() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    published_of(tools, plan, scored_of(tools, plan))
    output = OutputRef(path="scores", columns={"y": "double"}, keep=("x",))
    tools.deployment = replace(tools.deployment, output=output)
    with pytest.raises(TableError, match="x: is not a column of this table"):
        plan_of(tools)
    assert plan_of(tools, evolve=True).state == "changed"


def test_a_folder_that_an_earlier_version_did_not_escape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = make_tools()
    hours = replace(tools.deployment.data.partition, key_format="%Y-%m-%d %H:%M")
    tools.deployment = replace(tools.deployment, data=replace(tools.deployment.data, partition=hours))
    monkeypatch.setattr(
        tools.table, "published_run", lambda folder: "f" * 16 if folder == "date=2024-01-01 05:00" else None
    )
    with pytest.raises(TableError, match="is published under a name that is not escaped"):
        plan_of(tools, "2024-01-01 05:00")
