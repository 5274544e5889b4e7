"""The examples in docs/adding-a-tool.md that talk to the client do what the guide says."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import mcp_types
import pytest
from asgiref.sync import sync_to_async
from mcp.server.subscriptions import ResourcesListChanged

from mcpapp.bus import PersonsResourceUpdated
from mcpapp.identity import current_user
from mcpapp.registry import Catalog
from tests.conftest import ROOT
from tests.mcpapp.helpers import MODERN, make_token
from tests.mcpapp.over_http import connected, serving_over_http

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


class Rows:
    """As much of a Django manager as the examples use."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def filter(self, **rules: Any) -> Rows:
        if "reader" in rules:
            return Rows([row for row in self.rows if row.reader == str(rules["reader"])])
        if "genre" in rules:
            return Rows([row for row in self.rows if row.genre == rules["genre"]])
        return Rows([row for row in self.rows if row.genre.lower().startswith(rules["genre__istartswith"].lower())])

    def get(self, reader: Any, pk: int) -> Any:
        [row] = [row for row in self.filter(reader=reader).rows if row.pk == pk]
        return row

    def values_list(self, name: str, flat: bool) -> Rows:
        return Rows([getattr(row, name) for row in self.rows])

    def distinct(self) -> Rows:
        return Rows(list(dict.fromkeys(self.rows)))

    def __iter__(self) -> Any:
        return iter(self.rows)


@pytest.fixture
def library(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the guide's examples over a made-up library; give what is done to its loans."""
    done: list[str] = []
    books = [types.SimpleNamespace(title=title, genre=genre) for title, genre in (("Dune", "Novel"), ("If", "Poem"))]

    def loan(pk: int, reader: str) -> Any:
        book = books[pk % 2]
        return types.SimpleNamespace(
            pk=pk,
            reader=reader,
            book=book,
            renew=lambda: done.append(f"{current_user()} renewed {pk}"),
            give_back=lambda: done.append(f"{current_user()} gave back {pk}"),
        )

    models: Any = types.ModuleType("library.models")
    models.Book = types.SimpleNamespace(objects=Rows(books))
    models.Loan = types.SimpleNamespace(objects=Rows([loan(2, "alice"), loan(3, "bob"), loan(4, "alice")]))
    monkeypatch.setitem(sys.modules, "library", types.ModuleType("library"))
    monkeypatch.setitem(sys.modules, "library.models", models)
    guide = (ROOT / "docs" / "adding-a-tool.md").read_text(encoding="utf-8")
    section = guide.partition("## While it runs")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(examples) == 3
    for number, example in enumerate(examples):
        module = types.ModuleType(f"library.mcp_tools{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(example, "docs/adding-a-tool.md", "exec"), module.__dict__)  # noqa: S102  (our own document)
    return done


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_the_examples_report_progress_ask_the_person_and_complete_an_argument(
    library: list[str], alice: Any, settings: Any, era: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}
    token = await sync_to_async(make_token)(alice, scope="mcp:tools mcp:write")
    progress: list[tuple[float, float | None]] = []
    asked: list[str] = []

    async def note(now: float, total: float | None, message: str | None) -> None:
        progress.append((now, total))

    async def person(_: Any, params: Any) -> mcp_types.ElicitResult:
        asked.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"sure": len(asked) > 1})

    async with serving_over_http() as url, connected(url, token, era, elicitation_callback=person) as client:
        result: Any = await client.call_tool("renew-all", {}, progress_callback=note)
        assert result.content[0].text == "Renewed 2 loans."
        assert progress == [(1, 2), (2, 2)]
        for answer in ("Kept.", "Given back."):
            result = await client.call_tool("give-back", {"loan_id": 4})
            assert result.content[0].text == answer
        assert asked == ["Give back Dune?"] * 2
        assert library == ["alice renewed 2", "alice renewed 4", "alice gave back 4"]
        ref = mcp_types.ResourceTemplateReference(type="ref/resource", uri="books://{genre}")
        assert (await client.complete(ref, {"name": "genre", "value": "po"})).completion.values == ["Poem"]
        content: Any = (await client.read_resource("books://Poem")).contents[0]
        assert "If" in content.text


async def test_the_example_tells_the_person_whose_loan_was_deleted(monkeypatch: pytest.MonkeyPatch, alice: Any) -> None:
    guide = (ROOT / "docs" / "adding-a-tool.md").read_text(encoding="utf-8")
    section = guide.partition("## Telling clients that something changed")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    module = types.ModuleType("library.loans")
    exec(compile(example, "docs/adding-a-tool.md", "exec"), module.__dict__)  # noqa: S102  (our own document)
    told: list[Any] = []
    monkeypatch.setattr("mcpapp.events.send", told.append)
    loan = types.SimpleNamespace(pk=7, reader=alice)
    loan.delete = lambda: setattr(loan, "pk", None)
    await sync_to_async(module.give_back)(loan)
    assert told == [PersonsResourceUpdated("loan://7", str(alice.pk)), ResourcesListChanged()]
