"""The notebook's door on the small project, and the report that it points to."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests_support import SCHEMA, Result, customers, write_day

import batchdeploy as bd
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.errors import BackfillRefused, PartitionError, PromotionRefused, ValidationRefused

DAY = "2024-03-02"


def test_a_run_has_its_scores_and_drift_as_frames(deployment: Path) -> None:
    with bd.load(deployment) as job:
        assert job.partitions() == ("2024-03-01", DAY, "2024-03-03", "2024-03-04")
        assert job.plan(DAY).state == "new"
        with pytest.raises(bd.RequestError, match="not published yet"):
            job.published(DAY)
        for ask in (job.plan, job.run, job.published, lambda day: job.backfill(day, day)):
            with pytest.raises(bd.RequestError, match="Hint: write 2024-03-02"):
                ask("2024-3-2")
        run = job.run(DAY)
        assert list(run.scores.columns)[:3] == ["customer_id", "city", "churn_probability"]
        assert len(run.scores) == 200
        statistics = {"psi", "null_share", "unseen_share", "outside_share", "location", "scale"}
        assert set(run.drift["statistic"]) >= statistics
        assert job.published(DAY).manifest == run.manifest
        assert job.run(DAY).status == "identical"
        assert "200 rows scored" in run._repr_html_()
        assert repr(job).startswith("Job('churn'")


def test_both_doors_say_whether_a_run_is_whole(
    project: Path, deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    with bd.load(deployment) as job:
        run = job.run(DAY)
        shown = job.show(run.manifest.run_id[:6])
        assert shown.whole
        assert shown.manifest == run.manifest
        assert shown.drift is not None
        assert repr(shown).partition("folder")[0] == cli("show", run.folder).out.partition("folder")[0]
        assert "3 of 3 hold" in shown._repr_html_()
        assert cli("show", run.folder, "--json").json["whole"]
        with pytest.raises(bd.RequestError, match="no such run"):
            job.show("ffff")
        file = Path(run.files[0])
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        (run.folder / "check.json").write_text("{")
        shown = job.show(run.manifest.run_id)
        assert shown.check is None
        assert [problem.path for problem in shown.problems] == ["check.json: JSON", file.name]
    told = cli("show", run.folder, "--json").json
    assert (told["whole"], told["files"]["compared"]) == (False, "content")
    assert [problem["path"] for problem in told["problems"]] == ["check.json: JSON", file.name]
    assert f"{file.name}: was written with SHA-256" in cli("show", run.folder).out


def test_the_front_page_is_short_and_all_of_it_is_there() -> None:
    assert len(bd.__all__) <= 10
    assert dir(bd) == bd.__all__
    for name in bd.__all__:
        assert getattr(bd, name) is not None
    with pytest.raises(AttributeError, match="nonesuch"):
        bd.nonesuch  # noqa: B018


class Links(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "img", "object"):
            self.found.append(tag)
        self.found += [
            v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")
        ]


def test_the_report_has_its_pictures_inside_and_fetches_nothing(deployment: Path) -> None:
    with bd.load(deployment) as job:
        page = job.run(DAY).report.read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.found == []
    assert page.count("<svg") >= 4
    assert not re.search(r"url\((?!#)", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_report_shows_what_people_wrote_as_text(deployment: Path) -> None:
    text = deployment.read_text(encoding="utf-8").replace(
        "owner: tests", 'owner: "<script>alert(1)</script>"'
    )
    deployment.write_text(text, encoding="utf-8")
    with bd.load(deployment) as job:
        page = job.run(DAY).report.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.slow
def test_two_processes_on_one_partition_publish_it_once(deployment: Path) -> None:
    command = [sys.executable, "-m", "batchdeploy", "run", str(deployment), "-p", DAY, "--json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, out + err
    table = deployment.parents[1] / "scores" / "churn"
    assert len(list(table.rglob("*.parquet"))) == 1
    audit = (table.parent / "churn.batchdeploy" / "audit.jsonl").read_text().splitlines()
    assert len(audit) == 1


@pytest.mark.slow
def test_a_refused_partition_does_not_stop_a_backfill_in_a_notebook_either(
    project: Path, deployment: Path
) -> None:
    write_day(project / "data" / "customers", DAY, customers(DAY).assign(age=500.0), SCHEMA)
    told: list[str] = []
    with bd.load(deployment) as job, pytest.raises(BackfillRefused) as caught:
        job.backfill("2024-03-01", "2024-03-03", done=lambda run: told.append(run.manifest.partition))
    error = pickle.loads(pickle.dumps(caught.value))
    assert told == [run.manifest.partition for run in error.runs] == ["2024-03-01", "2024-03-03"]
    assert str(error).startswith(f"1 refused partition in a backfill of 3 partitions:\n- date={DAY}: ")
    (refusal,) = error.refusals.values()
    assert isinstance(refusal, ValidationRefused)
    assert (error.exit_code, list(error.refusals)) == (1, [DAY])
    assert "200 of 200 rows" in str(refusal)
    assert refusal.run_id in refusal.folder
    assert "200 of 200 rows" in Path(refusal.report).read_text(encoding="utf-8")


def test_a_refusal_says_where_its_evidence_is_by_every_door(
    project: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    write_day(project / "data" / "customers", DAY, customers(DAY).assign(age=500.0), SCHEMA)
    with bd.load(deployment) as job, pytest.raises(ValidationRefused) as caught:
        job.run(DAY)
    told = json.loads(cli("run", deployment, "--partition", DAY, "--json").out)["error"]
    assert told["run_id"] == caught.value.run_id
    assert Path(told["report"]).parent == Path(told["folder"])
    assert Path(told["report"]).is_file()
    assert Path(caught.value.report).is_file()


@pytest.mark.slow
def test_a_notebook_looks_after_a_table_as_the_shell_does(project: Path, deployment: Path) -> None:
    with bd.load(deployment) as job:
        assert job.check() == ()
        with pytest.raises(PartitionError, match="no earlier run"):
            job.rollback(DAY)
        first = job.run(DAY)
        assert job.run(DAY, repeat=True).status == "published"
        comparison, file = job.compare_models(DAY, 2)
        assert (comparison.champion, comparison.challenger) == (1, 2)
        with pytest.raises(PromotionRefused, match="was rejected by ada: champion stays at version 1"):
            job.reject(file, by="ada")
        assert job.promote(file, by="somebody").alias == "champion"
        with pytest.raises(bd.RequestError, match="no such comparison"):
            job.promote(file.with_name("nonesuch.json"))
        assert [plan.state for plan in job.plan_range(DAY, DAY).plans] == ["changed"]
        second = job.run(DAY)
        done = job.rollback(DAY)
        assert (done.run_id, done.replaced) == (first.manifest.run_id, second.manifest.run_id)
        assert {s.partition: s.run_id for s in job.status()}[DAY] == first.manifest.run_id
        assert job.backfill(DAY, DAY, model=2)[0].manifest.model_version == 2
        assert job.recover() == CleanupReport()
        assert job.collect_garbage().leftovers == ()
        assert {"duckdb", "pandas"} <= {name.lower() for name in job.read_sql()}
    lines = (project / "scores" / "churn.batchdeploy" / "promotions.jsonl").read_text().splitlines()
    assert [json.loads(line)["decided_by"] for line in lines] == ["ada", "somebody"]
