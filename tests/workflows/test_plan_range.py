"""Planning a range of partitions, on fakes: what the calendar expects and what is there."""

from __future__ import annotations

import pytest
from fakes import DAYS, make_tools

from batchdeploy.core.deployment import BackfillSpec, ModelRef
from batchdeploy.errors import PartitionError, RegistryError, RequestError
from batchdeploy.workflows.plan_range import plan_range

pytestmark = pytest.mark.usefixtures("no_files")


def test_each_partition_is_planned_in_order_with_one_pin() -> None:
    tools = make_tools()
    found = plan_range(tools, (DAYS[0], DAYS[2]))
    assert [plan.partition for plan in found.plans] == list(DAYS)
    assert {plan.model.version for plan in found.plans} == {1}
    assert found.missing == ()


@pytest.mark.parametrize("given", [ModelRef(name="doubles", version=2), None])
def test_the_model_is_that_of_the_request_or_of_the_backfill(given: ModelRef | None) -> None:
    tools = make_tools(backfill=BackfillSpec(model="challenger"))
    (plan,) = plan_range(tools, (DAYS[0], DAYS[0]), given).plans
    assert plan.model.version == 2


def test_a_day_without_rows_fails_the_range_or_is_skipped() -> None:
    tools = make_tools()
    tools.source.remove("data", DAYS[1])
    with pytest.raises(PartitionError, match=r"date=2024-01-02: is expected .* and has no rows"):
        plan_range(tools, (DAYS[0], DAYS[2]))
    found = plan_range(tools, (DAYS[0], DAYS[2]), on_missing="skip")
    assert ([plan.partition for plan in found.plans], found.missing) == ([DAYS[0], DAYS[2]], (DAYS[1],))


def test_a_range_that_cannot_be_is_a_wrong_request() -> None:
    tools = make_tools()
    with pytest.raises(PartitionError, match="is after"):
        plan_range(tools, (DAYS[2], DAYS[0]))
    with pytest.raises(PartitionError, match="no partition in this range"):
        plan_range(tools, ("2031-01-01", "2031-01-02"))
    with pytest.raises(RequestError, match="no such model"):
        plan_range(tools, (DAYS[0], DAYS[0]), ModelRef(name="nonesuch"))


def test_a_registry_that_does_not_answer_ends_it() -> None:
    tools = make_tools()
    tools.registry.failure = RegistryError("the registry", "does not answer")
    with pytest.raises(RegistryError):
        plan_range(tools, (DAYS[0], DAYS[2]), on_missing="skip")
