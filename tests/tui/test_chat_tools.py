"""Tools in the window: a real little model that searches and runs code, a real index, the real model process."""

import json
import queue
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lab import chat as turns
from lab import weights
from lab.calls import Toolbox
from lab.errors import UserError
from lab.sample import Sampling
from lab.stream import Stream
from lab.tools import Python, Search
from tests.callers import asks, counts
from tests.tui.conftest import screen_text
from tests.tui.test_chat import chat, quiet, say, toasts, until
from tests.tui.test_chats import hear
from tui.data import chat_files, demonstrations, draws
from tui.data.chats import Chat, Node, Token, Tree, fresh
from tui.data.draws import Draw
from tui.data.talk import Talk
from tui.screens.chat import ChatScreen
from tui.screens.exact import ExactScreen, StreamView, rows_of
from tui.screens.sampling import SamplingScreen
from tui.widgets.chat_log import Said
from tui.widgets.form import Choice
from tui.widgets.token_info import TokenInfo

RESULT = "Iron is a metal. Its symbol is Fe."


@pytest.fixture
def tuned(home: Path, caller: Path) -> Path:
    """A weights root with the model that calls."""
    shutil.copytree(caller / "caller", home / "caller")
    return home


@pytest.fixture
def talk(tuned: Path) -> Iterator[Talk]:
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    talk = Talk(events.put)
    talk.events = events  # type: ignore[attr-defined]
    yield talk
    talk.close()


def stretches(node: Node) -> list[tuple[str, str]]:
    """(kind, text) of what a reply says, its special tokens left out."""
    found: list[tuple[str, str]] = []
    for token in node.tokens:
        if token.kind == "special":
            found.append(("", ""))
        elif found and found[-1][0] == token.kind:
            found[-1] = (token.kind, found[-1][1] + token.text)
        else:
            found.append((token.kind, token.text))
    return [one for one in found if one[0]]


# -- what is asked and kept ------------------------------------------------------------------------------------------------


def test_a_talk_with_tools(talk: Talk, caller: Path) -> None:
    index = str(caller / "metals.db")
    talk.draw = Draw(temp=0.0, max_tokens=60, search=index, code=True)
    talk.load("a", "caller")
    talk.send(asks("Iron"))
    hear(talk)
    tree = talk.tree("a")
    node = tree.nodes[1]
    assert (node.stop, node.tools) == ("end", {"search": index, "code": True})
    assert stretches(node) == [("call", "Iron"), ("result", RESULT), ("text", "It is Fe.")]
    assert node.said == [
        {"type": "call", "tool": "search", "text": "Iron"}, {"type": "result", "text": RESULT},
        {"type": "text", "text": "It is Fe."},
    ]  # fmt: skip
    assert [t.forced for t in node.tokens] == [not t.own for t in node.tokens]
    assert sum(t.forced for t in node.tokens) == sum(t.kind == "result" for t in node.tokens) + 2
    # The tokens are those of a stream in this process.
    model = weights.load(caller / "caller")
    with Toolbox(model.tokenizer, [Search(index), Python()]) as tools:
        alone = Stream(model.network, model.tokenizer, model.context, tools.after, tools.banned)
        want = list(alone(node.prompt, Sampling(**node.sampling), node.seed))  # type: ignore[arg-type]
    assert [(t.id, t.forced) for t in node.tokens] == [(t.id, t.forced) for t in want]
    # Later turns see the very ids, and nothing is read twice.
    talk.send(asks("Tin"))
    hear(talk)
    after = tree.nodes[3]
    before = [*node.prompt, *(t.id for t in node.tokens)]
    assert after.prompt[: len(before)] == before
    assert after.facts["prefilled"] <= len(after.prompt) - len(before) + 1
    # A reply that was cut off, in the midst of its result too, goes on as it was.
    whole = [t.id for t in node.tokens]
    for at in (2, 4, 8, 12):
        talk._reply(talk.sides["a"], 0, talk.draw, tokens=node.tokens[:at])
        hear(talk)
        assert [t.id for t in tree.nodes[-1].tokens] == whole
        assert [t.forced for t in tree.nodes[-1].tokens] == [t.forced for t in node.tokens]
    # Without tools the same question is answered without a call.
    talk.set_draw(Draw(temp=0.0, max_tokens=12))
    talk.regenerate("a", 1)
    hear(talk)
    assert not any(t.kind in ("call", "result") for t in tree.nodes[-1].tokens)


def test_other_models_get_typed_parts_and_edits_text(talk: Talk, caller: Path, tuned: Path) -> None:
    shutil.copytree(tuned / "caller", tuned / "another")
    talk.draw = Draw(temp=0.0, max_tokens=60, search=str(caller / "metals.db"))
    talk.load("a", "caller")
    talk.send(asks("Gold"))
    hear(talk)
    tree = talk.tree("a")
    mine = tree.messages(1, model="caller")
    assert mine[1]["ids"] == [t.id for t in tree.nodes[1].tokens]
    assert "ids" not in tree.messages(1, model="another")[1]
    talk.load("a", "another")
    hear(talk)
    talk.send(asks("Iron"))
    hear(talk)
    tokenizer = weights.load(caller / "caller").tokenizer
    messages = [turns.Message(role=m["role"], content=m["content"]) for m in tree.messages(2)]
    assert tree.nodes[3].prompt == turns.prompt(tokenizer, messages)
    assert isinstance(messages[1]["content"], list)
    talk.edit("a", 1, "It is gold.")
    assert tree.messages(4)[-1] == {"role": "assistant", "content": "It is gold."}
    assert demonstrations.add(tree.messages(1)) == (1, True)
    row = json.loads(demonstrations.path().read_text())
    assert row["messages"][1]["content"] == tree.nodes[1].said
    assert turns.normal(row["messages"]) == row["messages"]  # lab sft reads it


def test_an_index_that_is_gone_is_told_in_one_line(talk: Talk) -> None:
    talk.draw = Draw(temp=0.0, max_tokens=20, search="/nowhere/metals.db")
    talk.load("a", "caller")
    talk.send(asks("Iron"))
    hear(talk)
    node = talk.tree("a").nodes[1]
    assert node.stop == "failed"
    assert node.failed.startswith("/nowhere/metals.db: no such index; make one with lab index")


def test_settings_and_forced_tokens_outlive_the_window(home: Path) -> None:
    tree = Tree()
    tree.add(Node("user", -1, "x"))
    part = {"type": "call", "tool": "search", "text": "Tin"}
    tokens = [Token(1, "a", "a", "call", 0.5, -0.7), Token(2, "b", "b", "result", 0.1, 0.0, ((3, "c", 0.2),), True)]
    tree.add(Node("assistant", 0, tokens=tokens, said=[part], tools={"search": "a.db", "code": True}, stop="end"))
    draw = Draw(temp=0.5, search="a.db", code=True)
    chat = Chat("1-1", 1.0, 2.0, {"a": tree}, {"a": "m"}, draws.as_dict(draw))
    back = chat_files.loads(chat_files.dumps(chat))
    node = back.trees["a"].nodes[1]
    assert (node.tokens, node.said, node.tools) == (tokens, [part], {"search": "a.db", "code": True})
    assert draws.read(back.sampling) == draw
    assert draws.read({"search": 7, "code": "yes", "temp": 0.5}) == Draw(temp=0.5)
    assert draw.tools() == {"search": "a.db", "code": True}
    assert Draw().tools() == {}
    assert draw.brief() == "T .5 · search a.db · code"
    for wrong in ([1], ["x"], [{"type": 7}]):
        value = json.loads(chat_files.dumps(chat))
        value["trees"]["a"]["nodes"][1]["said"] = wrong
        with pytest.raises((ValueError, TypeError)):
            chat_files.loads(json.dumps(value))
    assert fresh().sampling == {}


def test_an_index_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.db").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert draws.index(" a.db ") == str(tmp_path / "a.db")
    assert draws.index("  ") == ""
    for wrong in ("b.db", ".", "a\0b", "n" * 300):
        with pytest.raises(UserError, match="lab index"):
            draws.index(wrong)


# -- what is seen -------------------------------------------------------------------------------------------------------


def test_calls_are_drawn_and_settings_kept(tuned: Path, caller: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        talk = screen.talk
        await pilot.press("ctrl+g")
        await pilot.pause()
        dialog = screen.app.screen
        assert isinstance(dialog, SamplingScreen)
        dialog.query_one("#search", Input).value = str(caller / "nosuch.db")
        await until(pilot, lambda: "lab index FOLDER --out index.db makes one" in screen_text(screen.app), 3)
        await pilot.press("enter")
        assert screen.app.screen is dialog  # not taken
        dialog.query_one("#search", Input).value = str(caller / "metals.db")
        choice = dialog.query_one("#code", Choice)
        choice.focus()
        await pilot.press("space")
        assert choice.value == "yes"
        dialog.query_one("#temp", Input).focus()
        await pilot.press("enter")
        assert talk.draw == Draw(temp=0.0, max_tokens=60, search=str(caller / "metals.db"), code=True)
        await say(pilot, screen, asks("Iron"))
        await quiet(pilot, screen)
        shown = screen_text(screen.app)
        node = talk.tree("a").nodes[1]
        foreign = sum(t.forced for t in node.tokens)
        assert "▌ search: Iron" in shown
        assert "not written by the model" in shown
        assert RESULT in shown
        assert "It is Fe." in shown
        assert f"{len(node.tokens)} tokens ({foreign} not its own)" in shown
        assert "T 0 · search metals.db · code" in str(screen.columns[0].border_subtitle)
        # The exact tokens are those of the reply; what the tool put in has no probability.
        await pilot.press("escape", "w")
        await pilot.pause()
        exact = screen.app.screen
        assert isinstance(exact, ExactScreen)
        cells = [cell for row in rows_of(node, 80) if not isinstance(row, str) for cell in row]
        assert [cell.id for cell in cells] == [*node.prompt, *(t.id for t in node.tokens)]
        assert [cell.p is None for cell in cells[len(node.prompt) :]] == [t.forced for t in node.tokens]
        assert json.loads(exact.query_one(StreamView).copy_text()) == [cell.id for cell in cells]
        assert f"reply: {len(node.tokens)} tokens, {foreign} of them put in by tools" in screen_text(screen.app)
        await pilot.press("escape")
        # No alternative of what a tool said can be taken; of the model's own words it can.
        said = screen.columns[0].saids[-1]
        assert isinstance(said, Said)
        said.focus()
        forced = next(i for i, t in enumerate(node.tokens) if t.kind == "result" and t.top)
        said.go(forced)
        await pilot.pause()
        assert screen.query_one(TokenInfo).token is node.tokens[forced]
        before = len(talk.tree("a").nodes)
        await pilot.press("2")
        await pilot.pause()
        assert screen.is_current
        assert len(talk.tree("a").nodes) == before
        assert "a tool put this in" in toasts(screen)
        # A thought is folded, and opens.
        await say(pilot, screen, counts("kettle"))
        await quiet(pilot, screen)
        screen.action_new()
        await say(pilot, screen, counts("kettle"))
        await quiet(pilot, screen)
        shown = screen_text(screen.app)
        assert "▸ thought for" in shown
        assert "▌ code: 'kettle'.count('t')" in shown
        assert "There are 2." in shown
        screen.columns[0].saids[-1].focus()
        await pilot.press("space")
        await pilot.pause()
        assert "│ I count." in screen_text(screen.app)
        # An edit begins with what was said, not with what was called.
        await pilot.press("e")
        assert screen.composer.text == "There are 2."
        await pilot.press("escape")

    chat(go, temp=0.0, max_tokens=60)
    newest = max(chat_files.folder().glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    kept = chat_files.load(newest)
    assert draws.read(kept.sampling).search == str(caller / "metals.db")
    assert draws.read(kept.sampling).code
    assert any(t.forced for t in kept.trees["a"].nodes[1].tokens)


@pytest.mark.slow
def test_the_dialog_fits_a_small_window(tuned: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(screen.app.screen, SamplingScreen))
        dialog = screen.app.screen
        for _ in range(12):
            await pilot.press("tab")
            focused = dialog.focused
            assert focused is not None
            region = focused.region
            assert 0 <= region.y < 24, focused
        await pilot.press("escape")

    chat(go, size=(80, 24))
