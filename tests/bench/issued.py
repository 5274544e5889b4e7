"""A call with a token that another issuer signed, beside one with a token of ours: seen before, and each time anew."""

from __future__ import annotations

import statistics
import time

from tests.bench.in_process import cost, our_server
from tests.bench.site import ERAS, RESOURCE, Call, progress

OURS, ISSUED, NEW = "ours, seen before", "another issuer's, seen before", "another issuer's, each time anew"


async def measure_issued(token: str, rounds: int, count: int) -> None:
    """Print what the calls cost, in turn round by round."""
    from asgiref.sync import sync_to_async
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from authapp.models import LinkedIdentity
    from mcpapp.issuers import keys, lookup
    from mcpapp.issuers.settings import token_issuers
    from tests.keys import Key

    key = Key("RS256", kid="one")
    entry = {"issuer": "https://issuer.example", "audiences": [RESOURCE], "jwks_uri": "https://issuer.example/keys"}
    settings.MCPAPP |= {
        "TOKEN_ISSUERS": [entry],
        "TOKEN_LOOKUP": ["authapp.tokens.find_access_token", "mcpapp.issuers.lookup.find_issued_token"],
    }
    (issuer,) = token_issuers()
    known = lookup._keys[issuer] = keys.Keys(issuer)
    usable = keys._usable(key.public, issuer)
    assert usable is not None
    known._keys, known._fetched_at = dict([usable]), time.monotonic()

    def link() -> None:
        user = get_user_model().objects.order_by("pk").first()
        LinkedIdentity.objects.create(issuer=issuer.issuer, subject="somebody", user=user)

    await sync_to_async(link)()
    claims = {"iss": issuer.issuer, "aud": RESOURCE, "sub": "somebody", "scope": "mcp:tools", "azp": "client"}
    issued = key.sign({**claims, "exp": int(time.time()) + 3600})
    figures: dict[tuple[str, str], list[float]] = {(era, name): [] for era in ERAS for name in (OURS, ISSUED, NEW)}
    async with our_server() as application:
        cache = application.verifier._cache
        for number in range(rounds + 1):
            for era in ERAS:
                own, theirs = Call(era, token), Call(era, issued)

                async def anew(call: Call = theirs) -> None:
                    cache.forget(None)
                    await call.send(application)

                ways = {OURS: lambda own=own: own.send(application), NEW: anew}
                ways[ISSUED] = lambda theirs=theirs: theirs.send(application)
                names = [OURS, ISSUED, NEW] if number % 2 else [ISSUED, OURS, NEW]
                for name in names:
                    await ways[name]()
                    figure = await cost(ways[name], count)
                    if number:  # the first warms
                        figures[era, name].append(figure)
            progress(f"tokens of another issuer: round {number} of {rounds}")
    print("\nCPU of a call of public-info in process, µs: median (least–most)")
    for era in ERAS:
        for name in (OURS, ISSUED, NEW):
            values = figures[era, name]
            print(f"  {era}  {name:34} {statistics.median(values):7.0f}  ({min(values):.0f}–{max(values):.0f})")
        pairs = zip(figures[era, ISSUED], figures[era, OURS], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        print(f"  {era}  another issuer's / ours, seen before: {ratio:.3f}  (goal: about 1)")
