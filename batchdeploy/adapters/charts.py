"""The report's charts: matplotlib figures as inline SVG, so that a report needs no network."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import DriftReport, DriftStatistic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, BLUE, RED = "#b8bec9", "#2563eb", "#dc2626"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "batchdeploy",
    "font.family": "sans-serif",
    "font.size": 8,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SHOWN = 12
# The overview ends here: nobody needs to tell 1e-20 from 1e-40.
MOST = 16.0


class Charts:
    """Draws distributions and the overview of a drift report."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """Both distributions in the reference's bins, side by side, as one inline SVG."""
        labels, before, now = _bars(reference, current)
        with _styled():
            figure, axes = _figure(3.6, 1.9, (0.42, 0.55))
            places = range(len(labels))
            axes.bar([x - 0.2 for x in places], before, width=0.4, color=GREY, label="reference")
            axes.bar([x + 0.2 for x in places], now, width=0.4, color=BLUE, label="this partition")
            axes.set_xticks(list(places), labels, rotation=40, ha="right", fontsize=6)
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            axes.legend(frameon=False, fontsize=6)
            return _svg(figure, f"{current.role} {current.name}: shares by bin")

    def overview(self, report: DriftReport) -> str:
        """How improbable each column's most surprising statistic is, as one inline SVG; alarms are red."""
        tested = sorted((row for row in report.statistics if row.p_value is not None), key=_surprise)
        rows = list({(row.role, row.column): row for row in tested}.values())
        rows = sorted(rows, key=_surprise)[-20:]
        with _styled():
            figure, axes = _figure(10, 0.6 + 0.2 * len(rows), (1.6, 0.4))
            colours = [RED if row.alarm else GREY for row in rows]
            axes.barh(
                [row.column for row in rows], [_surprise(row)[1] for row in rows], color=colours, height=0.6
            )
            axes.set_xlim(0, MOST)
            axes.set_xlabel(
                "how surprising: -log10(p) of the column's most surprising statistic; alarms in red"
            )
            return _svg(figure, "drift of every column: how surprising")


def _surprise(row: DriftStatistic) -> tuple[bool, float]:
    return row.alarm, min(-math.log10(max(row.p_value or 0.0, 1e-300)), MOST)


def _bars(reference: ColumnProfile, current: ColumnProfile) -> tuple[list[str], list[float], list[float]]:
    labels = _labels(reference)
    before = [*reference.counts, reference.nulls, reference.unseen]
    now = [*current.counts, current.nulls, current.unseen]
    kept = [i for i in range(len(labels)) if before[i] or now[i]]
    if len(kept) > SHOWN:
        kept = sorted(sorted(kept, key=lambda i: before[i] + now[i])[-SHOWN:])
    all_before, all_now = max(sum(before), 1), max(sum(now), 1)
    return (
        [labels[i] for i in kept],
        [before[i] / all_before for i in kept],
        [now[i] / all_now for i in kept],
    )


def _labels(profile: ColumnProfile) -> list[str]:
    if profile.kind == "categorical":
        return [*(name[:14] for name in profile.categories), "(rare)", "(null)", "(unseen)"]
    if not profile.edges:
        return ["(all)", "(null)", ""]
    # The first edge is only just below the smallest value, so it gets no label.
    upper = [f"≤ {edge:.4g}" for edge in profile.edges[1:]]
    return ["(below)", *upper, "(above)", "(null)", ""]


def _figure(width: float, height: float, margins: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure of this size with one pair of axes; sizes and margins (left, bottom) in inches."""
    from matplotlib.figure import Figure

    # Fixed margins, because a layout engine measures every text and takes ten times as long.
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    figure.subplots_adjust(left=margins[0] / width, bottom=margins[1] / height, right=0.98, top=0.97)
    return figure, axes


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _svg(figure: Figure, label: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    svg = text[text.index("<svg") :]
    # NOTE: matplotlib derives ids from the salt, so two charts on one page would share clip paths.
    mark = re.sub(r"\W", "", label)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{mark}", svg)
    escaped = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaped}"', 1)
