"""What the shell completes of a call while a person types: tools and their arguments, as they were listed last.

Nobody is asked for it, no server and no person: what is not kept is not completed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mcpapp.client.visible import visible


def completed(words: list[str], incomplete: str, folder: Path | None) -> list[str]:
    """Return what may stand in the place of `incomplete`, after these words of a call. `folder` is `--cache-dir`."""
    from mcpapp.client.arguments import properties_of, server_and_rest
    from mcpapp.client.failures import Failure
    from mcpapp.client.kept_lists import tools_kept
    from mcpapp.client.options import Options
    from mcpapp.client.servers import chosen
    from mcpapp.client.sign_ins import SignIns

    # bash takes a URL apart at its colons, and hands out the parts as words.
    url, rest = server_and_rest(re.sub(r" ?: ?", ":", " ".join(words)).split())
    options = Options(cache_dir=folder or _folder_of_the_environment())
    try:
        tools = tools_kept(SignIns(options).cache, chosen(url, options))
    except Failure:
        return []
    if not rest:
        found = list(tools)
    else:
        given = {word.partition("=")[0] for word in rest[1:]}
        found = [f"{name}=" for name in properties_of(tools.get(rest[0], {})) if name not in given]
    # A server's words reach the shell: only what is one plain word of it.
    return [word for word in found if word.startswith(incomplete) and re.fullmatch(r"[\w.-]+=?", visible(word))]


def _folder_of_the_environment() -> Path | None:
    found = os.environ.get("STAR_CACHE_DIR")
    return Path(found) if found else None
