"""Star's settings, but each call looks its token up with the ORM and nothing is kept, as such servers often do."""

from config.settings import *  # noqa: F403
from config.settings import MCPAPP as _MCPAPP

MCPAPP = _MCPAPP | {"TOKEN_LOOKUP": "tests.bench.orm_lookup.find_access_token", "TOKEN_CHANGES": ""}
