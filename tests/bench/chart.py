"""A bar chart as SVG, written by hand, readable on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from tests.bench.field import NEW, OLDER

WIDTH, LEFT, RIGHT, TOP = 860, 330, 70, 84
BAR, GAP = 16, 12
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .ours { font-weight: 600; }
  .new { fill: #0969da; } .older { fill: #8c959f; } .one { stroke: #59636e; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; } .new { fill: #4493f8; } .older { fill: #656c76; }
    .one { stroke: #9198a1; }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One server in one era."""

    title: str
    era: str
    value: float
    is_ours: bool = False


def draw(bars: list[Bar], subtitle: str) -> str:
    """Return the chart: a group for each title, a bar for each era, a line at 1."""
    scale = (WIDTH - LEFT - RIGHT) / max([bar.value for bar in bars] + [1.0])
    parts, y, last = [], float(TOP), ""
    for bar in bars:
        if bar.title != last:
            y += GAP if last else 0
            count = sum(other.title == bar.title for other in bars)
            parts.append(_text(LEFT - 10, y + count * BAR / 2 + 4, bar.title, "ours" if bar.is_ours else "", "end"))
        last = bar.title
        kind = "new" if bar.era == NEW else "older"
        width = bar.value * scale
        parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y:.0f}" width="{width:.1f}" height="{BAR - 2}" rx="2"/>')
        parts.append(_text(LEFT + width + 6, y + 12, f"{bar.value:.2f}", "ours" if bar.is_ours else ""))
        y += BAR
    height = y + 20
    one = LEFT + scale
    title = "Calls for the same CPU, MCP Python SDK without authentication in the new era = 1"
    legend = [
        f'<rect class="new" x="20" y="56" width="12" height="12" rx="2"/>{_text(38, 66, NEW, "small")}',
        f'<rect class="older" x="130" y="56" width="12" height="12" rx="2"/>{_text(148, 66, OLDER, "small")}',
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            _text(20, 24, title, "title"),
            _text(20, 44, subtitle, "small"),
            *legend,
            f'<line class="one" x1="{one:.1f}" y1="{TOP - 8}" x2="{one:.1f}" y2="{height - 12:.0f}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
