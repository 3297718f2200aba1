from __future__ import annotations

import pickle

import pytest

from batchdeploy import errors
from batchdeploy.errors import BatchdeployError, ContractError, Problem, RequestError


def test_says_how_many_where_what_and_what_next() -> None:
    error = RequestError(
        "flights.yaml", (Problem("a.b", "is required"), Problem("c", "too large", "7")), hint="do this"
    )
    assert str(error) == (
        "2 problems in flights.yaml:\n- a.b: is required\n- c: too large, got 7\nHint: do this"
    )


def test_shows_ten_problems_and_counts_the_rest() -> None:
    text = str(ContractError("x", tuple(Problem(f"c{n}", "bad") for n in range(13))))
    assert text.startswith("13 mismatches in x:")
    assert text.endswith("- c9: bad\n- … and 3 more")


def test_cuts_values_and_hides_what_a_terminal_would_obey() -> None:
    text = str(RequestError("x", (Problem("p", "bad", "a\x1b[31m\n" + "y" * 500),)))
    assert "\x1b" not in text
    assert len(text.splitlines()[1]) < 80


@pytest.mark.parametrize(
    "kind",
    [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, BatchdeployError)],
    ids=lambda kind: kind.__name__,
)
def test_travels_between_processes(kind: type[BatchdeployError]) -> None:
    error = kind("where", (Problem("p", "bad", "1"),), hint="h")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.problems, copy.exit_code) == (str(error), error.problems, error.exit_code)


def test_exit_codes_are_the_contract() -> None:
    codes = {k.__name__: k.exit_code for k in (errors.GateRefused, errors.RequestError, errors.OutsideError)}
    assert codes == {"GateRefused": 1, "RequestError": 2, "OutsideError": 3}


def test_no_password_of_a_url_reaches_a_message() -> None:
    url = "http://bob:s3cr@et@host:1/x"
    error = RequestError(url, (Problem(url, f"failed at {url}\nsecond line", url),))
    assert "s3cr" not in str(error)
    assert "s3cr" not in repr(error.problems)
    assert len(str(error).splitlines()) == 2
