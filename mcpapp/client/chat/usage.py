"""What a conversation used: tokens as the endpoint counted them, and their price where the person named one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai.types import CompletionUsage

PER_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in the currency that the person thinks in; None where they did not say."""

    into: float | None = None
    out: float | None = None


NO_PRICES = Prices()


@dataclass
class Usage:
    """Sums over the requests of a conversation. `uncounted` are answers for which the endpoint told no numbers."""

    requests: int = 0
    uncounted: int = 0
    into: int = 0
    cached: int = 0
    out: int = 0

    def add(self, counted: CompletionUsage | None) -> None:
        """Count one request; `counted` is None where the endpoint did not tell, as in an answer that was cut off."""
        self.requests += 1
        if counted is None:
            self.uncounted += 1
            return
        self.into += counted.prompt_tokens or 0
        self.out += counted.completion_tokens or 0
        if counted.prompt_tokens_details:
            self.cached += counted.prompt_tokens_details.cached_tokens or 0

    def cost(self, prices: Prices) -> float | None:
        """Return what the counted tokens cost, or None where a price is missing. Cached tokens count in full."""
        if prices.into is None or prices.out is None:
            return None
        return (self.into * prices.into + self.out * prices.out) / PER_MILLION

    def told(self, prices: Prices) -> str:
        """Return the sums as a sentence for the person."""
        if self.requests == self.uncounted:
            return f"{_plural(self.requests, 'request')}; the endpoint told no token counts."
        cached = f" ({self.cached} of them cached)" if self.cached else ""
        told = f"{_plural(self.requests, 'request')}, {self.into} tokens in{cached}, {self.out} out"
        cost = self.cost(prices)
        if cost is not None:
            told += f", {cost:.4f} at the prices given"
        if self.uncounted:
            told += f"; without {_plural(self.uncounted, 'answer')} for which no numbers came"
        return f"{told}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
