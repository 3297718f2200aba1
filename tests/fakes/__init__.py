"""In-memory implementations of the ports: no file, no process, no network. The contract tests hold them."""

from fakes.engine import FakeEngine
from fakes.registry import FakeModel, FakeRegistry
from fakes.source import FakeSource
from fakes.validator import FakeValidator

__all__ = ["FakeEngine", "FakeModel", "FakeRegistry", "FakeSource", "FakeValidator"]
