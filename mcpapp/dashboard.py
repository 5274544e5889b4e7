"""What the first page of the admin shows of the use of the tools; from counts alone, never from single calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Max, Q, Sum
from django.utils import timezone
from django.utils.formats import date_format, localize

from mcpapp.models import FINE, CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal

PERIODS = (1, 7, 30)
"""Days."""
DEFAULT_PERIOD = 7
_MOST = 8
_HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """The calls of an hour or a day, and where its bar is drawn, in units of a chart that is `_HEIGHT` high."""

    label: str
    fine: int
    failed: int
    x: int
    fine_top: float
    fine_height: float
    failed_top: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table with a bar beside it."""

    name: str
    count: int
    percent: int
    note: Any = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the calls of a tool took, in milliseconds, with a bar that compares the means."""

    name: str
    mean: str
    median: str
    p95: str
    longest: str
    percent: int


@dataclass(slots=True)
class Dashboard:
    """All that is shown; what somebody may not see is None, or has no bars."""

    days: int
    bars: list[Bar] = field(default_factory=list)
    calls: int = 0
    failed: int = 0
    dropped: int = 0
    tools: list[Line] = field(default_factory=list)
    slowest: list[Pace] = field(default_factory=list)
    clients: list[Line] | None = None
    refusals: list[Line] | None = None
    connections: int | None = None

    @property
    def width(self) -> int:
        """The width of the chart, in its own units."""
        return 10 * max(len(self.bars), 1)


def dashboard(user: Any, days: int) -> Dashboard | None:
    """Return what a user of the admin may see of the last days; None for who may see nothing of it.

    Each part follows the view permission of the model that it is counted in.
    """
    may = {
        model: user.has_perm(f"mcpapp.view_{model._meta.model_name}")
        for model in (CallCount, ClientUsage, ConnectionUsage, Refusal)
    }
    if not any(may.values()):
        return None
    since = _since(days)
    found = Dashboard(days)
    if may[CallCount]:
        _count_calls(found, since)
    if may[ClientUsage]:
        rows = ClientUsage.objects.filter(day__gte=since.date()).values("client_id")
        rows = rows.annotate(name=Max("client_name"), all=Sum("calls"), failures=Sum("failed_calls"))
        found.clients = _lines((row["name"] or row["client_id"], row["all"], row["failures"]) for row in rows)
    if may[ConnectionUsage]:
        found.connections = ConnectionUsage.objects.filter(last_call_at__gte=since).count()
    if may[Refusal]:
        names = dict(Refusal.Reason.choices)
        sums = Refusal.objects.filter(last_at__gte=since).order_by().values("reason").annotate(all=Sum("requests"))
        found.refusals = _lines((str(names.get(row["reason"], row["reason"])), row["all"], "") for row in sums)
    return found


def _since(days: int) -> datetime:
    """Return when the first bar begins, so that all parts count what the bars do: 24 hours, or days of UTC."""
    now = timezone.now().astimezone(UTC)
    if days == 1:
        return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)


def _count_calls(found: Dashboard, since: datetime) -> None:
    rows = CallCount.objects.filter(hour__gte=since)
    found.dropped = rows.filter(outcome=CallCount.DROPPED).aggregate(all=Sum("calls"))["all"] or 0
    rows = rows.exclude(outcome=CallCount.DROPPED)
    fine = Q(outcome__in=FINE)
    hours = list(rows.values("hour").annotate(all=Sum("calls"), good=Sum("calls", filter=fine)).order_by("hour"))
    found.calls = sum(row["all"] for row in hours)
    found.failed = found.calls - sum(row["good"] or 0 for row in hours)
    found.bars = _bars(hours, since, found.days)
    tools = list(
        rows.exclude(tool="")
        .values("tool")
        .annotate(all=Sum("calls"), good=Sum("calls", filter=fine), took=Sum("total_us"), longest=Max("longest_us"))
    )
    found.tools = _lines((row["tool"], row["all"], row["all"] - (row["good"] or 0)) for row in tools)
    found.slowest = _slowest(tools, since)


def _slowest(tools: Iterable[Mapping[str, Any]], since: datetime) -> list[Pace]:
    slow = sorted(tools, key=lambda row: row["took"] / row["all"], reverse=True)[:_MOST]
    histograms: dict[str, dict[int, int]] = {}
    rows = CallDuration.objects.filter(hour__gte=since, tool__in=[row["tool"] for row in slow])
    for tool, bits, calls in rows.values("tool", "bits").annotate(all=Sum("calls")).values_list("tool", "bits", "all"):
        histograms.setdefault(tool, {})[bits] = calls
    means = [row["took"] / row["all"] for row in slow]
    found = []
    for row, mean in zip(slow, means, strict=True):
        histogram, longest = histograms.get(row["tool"], {}), row["longest"]
        found.append(
            Pace(
                name=row["tool"],
                mean=_milliseconds(mean),
                median=_milliseconds(percentile(histogram, 0.5, longest)),
                p95=_milliseconds(percentile(histogram, 0.95, longest)),
                longest=_milliseconds(longest),
                percent=round(100 * mean / (means[0] or 1)),
            )
        )
    return found


def percentile(histogram: Mapping[int, int], part: float, longest: int) -> float | None:
    """Return the duration in µs that a part of the calls did not exceed; None if none was counted.

    It lies in the right power of two; where in it, is what calls that are spread evenly over it would have.

    Args:
        histogram: calls by the bits of their durations (`CallDuration.bits`).
        longest: the duration that none exceeded.
    """
    wanted = part * sum(histogram.values())
    for bits, calls in sorted(histogram.items()):
        if wanted <= calls:
            least = min(2.0 ** (bits - 1), longest) if bits else 0.0
            return least + (min(2.0**bits, longest) - least) * wanted / calls
        wanted -= calls
    return None


def _milliseconds(microseconds: float | None) -> str:
    """Return milliseconds; under ten with a tenth, for most tools take less."""
    if microseconds is None:
        return "–"
    found = microseconds / 1000
    return str(localize(round(found, 1) if found < 9.95 else round(found)))


def _bars(hours: Iterable[Mapping[str, Any]], since: datetime, days: int) -> list[Bar]:
    """Return a bar for each hour of a day, or for each day of more."""
    sums: dict[datetime | date, list[int]] = {}
    if days == 1:
        for number in range(24):
            sums[since + timedelta(hours=number)] = [0, 0]
    else:
        for number in range(days):
            sums[since.date() + timedelta(days=number)] = [0, 0]
    for row in hours:
        when = row["hour"] if days == 1 else row["hour"].date()
        if when in sums:
            good = row["good"] or 0
            sums[when][0] += good
            sums[when][1] += row["all"] - good
    most = max([good + bad for good, bad in sums.values()] + [1])
    return [
        Bar(
            date_format(when, "H:i" if days == 1 else "M j"),
            good,
            bad,
            10 * index,
            round(_HEIGHT - _HEIGHT * good / most, 2),
            round(_HEIGHT * good / most, 2),
            round(_HEIGHT - _HEIGHT * (good + bad) / most, 2),
            round(_HEIGHT * bad / most, 2),
        )
        for index, (when, (good, bad)) in enumerate(sums.items())
    ]


def _lines(rows: Iterable[tuple[str, int, Any]]) -> list[Line]:
    """Return the biggest, with bars that compare them."""
    biggest = sorted(rows, key=lambda row: row[1], reverse=True)[:_MOST]
    most = max([count for _, count, _ in biggest] + [1])
    return [Line(name, count, round(100 * count / most), note) for name, count, note in biggest]
