"""In-memory implementations of the ports: no file, no process, no network. Contract tests check them."""

from fakes.engine import FakeEngine
from fakes.evidence import FakeEvidence, FakePainter
from fakes.registry import FakeModel, FakeRegistry
from fakes.scoring import FakeRows, FakeScoring
from fakes.source import FakeSource
from fakes.staging import FakeStaging
from fakes.storage import FakeStorage
from fakes.table import FakeClaims, FakeMaintenance, FakeTable
from fakes.texts import FakeTexts
from fakes.toolbox import DAYS, FakeToolbox, make_tools, rows
from fakes.validator import FakeValidator

__all__ = [
    "DAYS",
    "FakeClaims",
    "FakeEngine",
    "FakeEvidence",
    "FakeMaintenance",
    "FakeModel",
    "FakePainter",
    "FakeRegistry",
    "FakeRows",
    "FakeScoring",
    "FakeSource",
    "FakeStaging",
    "FakeStorage",
    "FakeTable",
    "FakeTexts",
    "FakeToolbox",
    "FakeValidator",
    "make_tools",
    "rows",
]
