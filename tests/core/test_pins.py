from __future__ import annotations

import pytest

from batchdeploy.core.partition_names import NULL
from batchdeploy.core.partitions import known_hint
from batchdeploy.core.pins import check_partition, digest_files, digest_model, run_id
from batchdeploy.errors import PartitionError


@pytest.mark.parametrize(
    "value",
    [
        "2013-02-01",
        "Zürich",
        "a b",
        "2024-W05",
        "2024-01-01T03:00:00+01:00",
        "a/b",
        "a\\b",
        "a=b",
        "%2F",
        "*",
        "[a]",
    ],
)
def test_takes_what_can_name_a_folder(value: str) -> None:
    assert check_partition("date", value) == value


@pytest.mark.parametrize(
    "value", ["", ".", "..", "../a", "a\\..\\b", "a\nb", "a\0b", "x" * 300, "?" * 90, NULL]
)
def test_refuses_what_cannot_name_a_folder(value: str) -> None:
    with pytest.raises(PartitionError, match="not a partition's value"):
        check_partition("date", value)


def test_digests_do_not_know_the_order_but_know_the_names() -> None:
    pairs = [("a", "1"), ("b", "2")]
    for digest in (digest_files, digest_model):
        assert digest(pairs) == digest(reversed(pairs))
        assert digest(pairs) != digest([("b", "1"), ("a", "2")])


def test_a_run_id_is_sixteen_hex_digits() -> None:
    assert run_id(b"x") == run_id(b"x") != run_id(b"y")
    assert len(run_id(b"x")) == 16
    int(run_id(b"x"), 16)


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ((), None),
        ((NULL,), None),
        (("2024-01-01", "2024-01-02", NULL), "there are 2 from 2024-01-01 to 2024-01-02"),
    ],
)
def test_a_hint_names_the_partitions_that_there_are(values: tuple[str, ...], hint: str | None) -> None:
    assert known_hint(values) == hint
