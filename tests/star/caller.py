"""A program on the core of the console client: `python -m tests.star.caller URL TOOL [JSON] [--device] [--no-browser]`.

Writes the result as JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from mcpapp.client import console, lean_import
from mcpapp.client.connection import connect
from mcpapp.client.options import Options


async def call(url: str, options: Options, tool: str, arguments: dict[str, Any]) -> None:
    async with connect(url, options) as client:
        result = await client.call_tool(tool, arguments)
    console.out.print(result.model_dump_json(by_alias=True))


if __name__ == "__main__":
    lean_import.wanted = True
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("tool")
    parser.add_argument("arguments", nargs="?", default="{}")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--device", action="store_true")
    given = parser.parse_args()
    options = Options(verbose=True, device=given.device, no_browser=given.no_browser, timeout=30)
    console.run(call(given.url, options, given.tool, json.loads(given.arguments)))
