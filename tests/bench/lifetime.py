"""How long our server takes to start, and what memory it takes then, after many calls, and after a million."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import load
from tests.bench.field import Contender
from tests.bench.processes import ServerProcess
from tests.bench.site import progress

STARTS = 3
PIECE = 50_000
"""How many calls are made between two lines of progress."""


@dataclass(frozen=True)
class Lifetime:
    """One process of ours."""

    start_seconds: float
    """From the start of the process to its first answer to a call; the median of some starts."""
    resident: dict[int, int] = field(default_factory=dict)
    """Bytes that are resident after so many calls."""


def measure(contender: Contender, folder: Path, calls: int) -> Lifetime:
    """Return what starting takes, and memory after 0, a tenth of the calls (100 000 of a million) and all of them."""
    starts, resident = [], {}
    for number in range(STARTS):
        server = ServerProcess(contender.key, contender.command(1), folder, contender.environment)
        try:
            started = time.monotonic()
            server.start()
            starts.append(server.wait_for(lambda s=server: contender.answers(s)) - started)
            if number == STARTS - 1:
                resident[0] = server.resident_bytes()
                done = 0
                for stage in (calls // 10, calls):
                    while done < stage:
                        piece = min(stage - done, PIECE)
                        for era in contender.eras:
                            load.run(contender.plan(era, server, connections=64, count=piece // len(contender.eras)))
                        done += piece
                        progress(f"memory: {done:,} of {calls:,} calls")
                    resident[stage] = server.resident_bytes()
        finally:
            server.stop()
    return Lifetime(statistics.median(starts), resident)
