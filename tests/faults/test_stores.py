"""Publishing to S3 and to Azure: spoilt answers, kills at every request, publishers known to be bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from object_stores import new_bucket

from faults.campaign import Known, repeated
from faults.killing import seed_of
from faults.store_commits import store_commits
from faults.store_faults import gate
from faults.store_kills import Trials, killed_at_every_request, request_kills, store_kills
from faults.store_oracle import open_bucket
from faults.store_places import STORES, Place
from faults.store_publishers import prepared

pytestmark = pytest.mark.slow


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, store_credentials: None) -> Place:
    return Place.of(new_bucket(request, request.param))


@pytest.fixture
def trials(place: Place, tmp_path: Path) -> Iterator[Trials]:
    with prepared(), gate(place.port, compares=place.compares) as through:
        yield Trials(tmp_path, place, through, Known())


def test_commits_through_a_store_that_spoils_answers(tmp_path: Path, place: Place) -> None:
    seed = seed_of("store commits")

    def commits(number: int) -> dict[str, Any]:
        here = replace(place, table=f"churn-{number}")
        result = store_commits(tmp_path, here, commits=12, publishers=2, seed=seed + number, share=0.25)
        assert result["published"] == 12
        return result

    result = repeated(commits, enough={"faults": 11})
    assert result["violations"] == []


def test_kills_at_requests_of_a_publish(tmp_path: Path, place: Place) -> None:
    """Publish, publish over it, roll back, collect garbage; the request takes effect, or does not."""
    result = request_kills(tmp_path, place, every=5, seed=seed_of("request kills"))
    assert result["violations"] == []
    assert result["killed"] > 5


def test_kills_at_random(tmp_path: Path, place: Place) -> None:
    result = store_kills(tmp_path, place, kills=3, seed=seed_of("store kills"))
    assert result["violations"] == []


@pytest.mark.parametrize("place", ["S3"], indirect=True)
@pytest.mark.parametrize("way", ["good", "pointer first", "fixed names"])
def test_the_oracle_convicts_publishers_that_do_not_survive_a_kill(trials: Trials, way: str) -> None:
    trials.undisturbed(trials.work(doing="simply", steps=3, way=way))
    killed, found = killed_at_every_request(
        trials, lambda seed: trials.work(doing="simply", steps=2, seed=seed, way=way), records=False
    )
    assert killed > 10
    assert bool(found) == (way != "good"), found


@pytest.mark.parametrize("place", ["S3"], indirect=True)
@pytest.mark.parametrize("way", ["good", "no comparison", "no fence", "blind retry"])
def test_the_oracle_convicts_publishers_that_lose_or_double_commits(
    tmp_path: Path, place: Place, way: str
) -> None:
    seed, share = seed_of(way), 0.2 if way == "blind retry" else 0.0

    def commits(number: int) -> dict[str, Any]:
        here = replace(place, table=f"churn-{number}")
        return store_commits(
            tmp_path, here, commits=30, publishers=3, seed=seed + number, share=share, way=way
        )

    result = commits(0) if way == "good" else repeated(commits, enough={"violations": 1})
    assert bool(result["violations"]) == (way != "good"), result


def test_a_listing_shows_at_once_what_another_client_wrote(place: Place) -> None:
    """As S3 (since December 2020), GCS and Azure promise; publishing relies on it after an upload."""
    writer, reader = (open_bucket(place.uri, str(place.storage.endpoint)) for _ in range(2))

    def listed() -> dict[str, int]:
        chunks = obstore.list(reader, "t/data")
        return {entry["path"]: entry["size"] for chunk in chunks for entry in chunk}

    known: dict[str, int] = {}
    for number in range(20):
        key = f"t/data/run={number % 7}/part-{number % 3}.parquet"
        obstore.put(writer, key, b"x" * number)
        known[key] = number
        assert listed() == known
        if number % 4 == 3:
            gone = sorted(known)[number % len(known)]
            obstore.delete(writer, gone)
            known.pop(gone)
            assert listed() == known
