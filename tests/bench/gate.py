"""The gate of CI: how many functions a call calls beside those of the plain SDK, which no other process can change."""

from __future__ import annotations

import argparse

from tests.bench import field, site
from tests.bench.in_process import COLD, KEPT, OPEN, PLAIN, CallFigures, function_calls, measure_calls, run
from tests.bench.site import ERAS

ROUNDS = 8
CALLS = 5
"""Few in a round, so that the watcher of changes, which asks the database all the time, is idle in one of them."""
NAMES = (PLAIN, OPEN, KEPT, COLD)
"""Without the log: its counts are summed up in a thread of their own, whenever that is."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the gate lets pass."""
    add = parser.add_argument_group(
        "gate", "For CI: function calls of calls in process, exit code 1 if too many."
    ).add_argument
    add("--gate", action="store_true")
    add("--most-kept", type=float, default=1.2, help="kept token : no authentication (%(default)s)")
    add("--most-new", type=float, default=0.25, help="kept token : plain SDK, new era (%(default)s)")
    add("--most-older", type=float, default=0.1, help="the same, older era (%(default)s)")
    add("--most-lookup", type=float, default=1.5, help="what a lookup adds, in calls with a kept token (%(default)s)")


def pass_or_fail(options: argparse.Namespace) -> int:
    """Count, print, and return 1 if there is too much of anything."""
    token = site.make_tokens(1)[0]
    with function_calls() as clock:
        figures = run(measure_calls(token, options.rounds or ROUNDS, min(options.count, CALLS), clock, NAMES))
    tell(figures)
    most = {OPEN: options.most_kept, field.NEW: options.most_new, field.OLDER: options.most_older}
    lines = too_much(figures, most, options.most_lookup)
    for line in lines:
        print(f"Too much. {line}")
    return 1 if lines else 0


def ratio(figures: CallFigures, era: str, name: str, other: str) -> float:
    """Return how many times as many functions are called: of the rounds with the least, where nothing else ran."""
    return min(figures[era, name]) / min(figures[era, other])


def tell(figures: CallFigures) -> None:
    """Print what was counted."""
    print("\nFunctions called by a call of public-info in process; relative to the plain SDK's")
    for era in ERAS:
        for name in NAMES:
            counted = min(figures[era, name])
            print(f"  {era}  {name:18} {counted:7.0f}  {ratio(figures, era, name, PLAIN):.3f}")


def too_much(figures: CallFigures, most: dict[str, float], most_lookup: float) -> list[str]:
    """Return a line for each ratio that is more than `most` says: of without authentication, and of each era's SDK."""
    lines = []
    for era in ERAS:
        for other, what, limit in ((OPEN, OPEN, most[OPEN]), (PLAIN, f"the {PLAIN}", most[era])):
            if (found := ratio(figures, era, KEPT, other)) > limit:
                lines.append(f"{era}: with a kept token {found:.2f} of the function calls of {what}, not {limit:g}")
        if (lookup := ratio(figures, era, COLD, KEPT) - 1) > most_lookup:
            lines.append(f"{era}: a lookup adds {lookup:.2f} calls, more than {most_lookup:g}")
    return lines
