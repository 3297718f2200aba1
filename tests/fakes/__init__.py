"""In-memory implementations of the ports: no file, no process, no network. The contract tests hold them."""

from fakes.engine import FakeEngine
from fakes.registry import FakeModel, FakeRegistry
from fakes.source import FakeSource
from fakes.staging import FakeStaging
from fakes.table import FakeClaims, FakeMaintenance, FakeTable
from fakes.validator import FakeValidator

__all__ = [
    "FakeClaims",
    "FakeEngine",
    "FakeMaintenance",
    "FakeModel",
    "FakeRegistry",
    "FakeSource",
    "FakeStaging",
    "FakeTable",
    "FakeValidator",
]
