"""What a person clicks in Airflow's pages, by headless Chromium; each step leaves a picture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 60_000


def browser() -> str:
    """Where Chromium is, or a skip that says how to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium on this machine. Hint: bash .ci/extras, or apt-get install chromium")


def log_in(page: Page, url: str, user: str | None, password: str = "") -> None:
    """Opens a page of Airflow's; by its login form where a user is given."""
    page.goto(url)
    if user is not None:
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        # NOTE: wait for the response, or the next page is not logged in.
        page.get_by_label("Password").wait_for(state="hidden", timeout=PATIENCE)


def click_backfill(page: Page, first: str, last: str, pictures: Path) -> None:
    """On a DAG's page: Trigger, Backfill, both dates, Run Backfill."""
    page.get_by_role("button", name="Trigger").first.wait_for(timeout=PATIENCE)
    page.screenshot(path=pictures / "airflow-1-dag.png")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.locator("[role=dialog][data-state=open]").first
    dialog.get_by_text("Backfill", exact=True).first.click()
    for day, hour in ((first, "00:00"), (last, "23:59")):
        dialog.get_by_text("Select date and time").first.click()
        date = page.get_by_placeholder("YYYY/MM/DD").last
        date.fill(day.replace("-", "/"))
        date.press("Enter")
        time = page.get_by_placeholder("HH:mm").last
        time.fill(hour)
        time.press("Enter")
        page.keyboard.press("Escape")
        date.wait_for(state="hidden")
    dialog.get_by_text("runs will be triggered").wait_for(timeout=PATIENCE)
    page.screenshot(path=pictures / "airflow-2-backfill.png")
    dialog.get_by_role("button", name="Run Backfill").click()
    dialog.wait_for(state="hidden", timeout=PATIENCE)


def click_report(page: Page, url: str, dag: str, run: str, pictures: Path) -> str:
    """The DAG's runs, then one run's tab with its report; gives the verdict that is read there."""
    page.goto(f"{url}/dags/{dag}/runs")
    page.get_by_text("Success").first.wait_for(timeout=PATIENCE)
    page.screenshot(path=pictures / "airflow-3-runs.png")
    page.goto(f"{url}/dags/{dag}/runs/{quote(run, safe='')}")
    page.get_by_role("link", name="Report").first.click()
    verdict = page.frame_locator("iframe").locator(".verdict")
    verdict.wait_for(timeout=PATIENCE)
    page.screenshot(path=pictures / "airflow-4-report.png")
    return verdict.inner_text()


def click_decision(page: Page, url: str, dag: str, run: str, task: str, option: str) -> None:
    """On the task that asks: Required Actions, then one of the answers."""
    page.goto(f"{url}/dags/{dag}/runs/{quote(run, safe='')}/tasks/{task}/required_actions")
    page.get_by_role("button", name=option, exact=True).click(timeout=PATIENCE)
    page.get_by_text("Response received at").first.wait_for(timeout=PATIENCE)
