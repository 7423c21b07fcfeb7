"""The chat screen with real models: a newcomer's way, branches by key and click, dialogs, two models, death of the process."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static, TextArea

from lab.run import Run
from lab.runs import read_lines
from tests.conftest import REPO
from tests.hub_server import Hub, hub  # noqa: F401
from tests.tui.conftest import screen_text
from tests.tui.test_client import gone
from tui.app import LabApp
from tui.data import chat_files, demonstrations
from tui.data.chats import Node, Token
from tui.data.draws import Draw
from tui.screens.chat import ChatScreen
from tui.screens.chat_list import ChatList
from tui.screens.exact import ExactScreen, StreamView, rows_of
from tui.screens.models import Line, ModelPicker, _content, newest, typed, why_none
from tui.screens.sampling import SamplingScreen
from tui.widgets.chat_log import Said, aligned
from tui.widgets.composer import Composer
from tui.widgets.dialogs import Ask
from tui.widgets.token_info import TokenInfo

POCKET = REPO / "weights" / "pocket-base"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
Go = Callable[[Pilot[None], ChatScreen], Coroutine[Any, Any, None]]


@pytest.fixture
def pocket(home: Path) -> Path:
    """The shipped base model, and the same with a template, which makes it a chat model."""
    shutil.copytree(POCKET, home / "pocket-base")
    return home


@pytest.fixture
def both(pocket: Path) -> Path:
    shutil.copytree(POCKET, pocket / "pocket-chat")
    (pocket / "pocket-chat" / "chat_template.jinja").write_text(TEMPLATE)
    return pocket


async def until(pilot: Pilot[None], true: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.05)
    await pilot.pause()


async def quiet(pilot: Pilot[None], screen: ChatScreen) -> None:
    """Until models are there and replies are over, and all is drawn."""
    talk = screen.talk
    await until(pilot, lambda: not talk.busy and all(side.state != "loading" for side in talk.sides.values()))
    await pilot.pause(0.05)


def chat(go: Go, size: tuple[int, int] = (150, 42), ready: bool = True, **draw: Any) -> None:
    """Enter the chat as a user does and do something there."""

    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await pilot.press("escape", "4")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            screen.talk.draw = Draw(**({"max_tokens": 24} | draw))
            if ready:
                await until(pilot, lambda: screen.talk.sides["a"].state == "ready")
            await go(pilot, screen)

    asyncio.run(main())


def toasts(screen: ChatScreen) -> str:
    return " | ".join(toast.message for toast in screen.app._notifications)


async def say(pilot: Pilot[None], screen: ChatScreen, text: str) -> None:
    """Send a message, without typing each letter."""
    screen.composer.text = text
    screen.composer.action_send()
    await pilot.pause()


def test_a_newcomer_presses_4_types_and_reads(pocket: Path) -> None:
    pids = list[int]()

    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        assert isinstance(screen.focused, Composer)
        shown = screen_text(screen.app)
        assert "base model, it continues your text" in shown
        assert "9.11 or 9.9?" in shown
        assert "0/512 context" in shown
        free = screen.talk.draw
        screen.talk.draw = replace(free, seed=7)  # one reply in fifty is of a token or two
        await pilot.press(*"1 day")  # digits in a text are no rooms
        assert screen.is_current
        await pilot.press("enter")
        await quiet(pilot, screen)
        screen.talk.draw = free
        tree = screen.talk.tree("a")
        assert tree.nodes[0].content == "1 day"
        shown = screen_text(screen.app)
        assert "1 day" + tree.nodes[1].text[:20].rstrip() in shown
        assert "tok/s" in shown
        assert "mean p" in shown
        assert screen.composer.text == ""
        # Probabilities: the colours, then a walk over tokens, and one of them taken otherwise.
        await pilot.press("ctrl+t", "up", "left", "left", "left")
        await pilot.pause()
        said = screen.focused
        assert isinstance(said, Said)
        assert said.place == len(said.tokens) - 3
        token = said.tokens[said.place]
        info = screen.query_one(TokenInfo)
        assert info.token is token
        assert f"id {token.id}" in screen_text(screen.app)
        await pilot.press("2")
        await quiet(pilot, screen)
        assert tree.siblings(tree.path()[-1]) == [1, 2]
        assert tree.nodes[2].tokens[said.place or 0].id != token.id or token.rank == 2
        assert "‹2/2›" in screen_text(screen.app)
        assert isinstance(screen.focused, Said)
        assert screen.focused.number == 2
        assert screen.focused.place is None
        await pilot.press("1")  # without a token under the cursor: to the first room
        await until(pilot, lambda: screen.app.current_mode == "pipeline")  # type: ignore[attr-defined]
        await pilot.press("4")
        await until(pilot, lambda: screen.is_current)
        assert screen.talk.client
        pids.append(screen.talk.client._children[-1].process.pid)

    chat(go)
    assert gone(pids[0])  # with the window the model process ends
    (file,) = chat_files.folder().glob("*.json")
    assert len(chat_files.load(file).trees["a"].nodes) == 3


@pytest.mark.slow
def test_branches_by_key_and_by_click(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        tree, composer = screen.talk.tree("a"), screen.composer
        await say(pilot, screen, "One day")
        await quiet(pilot, screen)
        await pilot.press("ctrl+r")
        await quiet(pilot, screen)
        assert tree.path() == [0, 2]
        (said,) = screen.columns[0].saids
        assert said._layout is not None
        await pilot.click(said, offset=(1, len(said._layout.rows)))  # the switcher
        await pilot.pause()
        assert tree.path() == [0, 1]
        await pilot.press("alt+right")
        assert tree.path() == [0, 2]
        await pilot.press("up", "less_than_sign")
        await pilot.pause()
        assert tree.path() == [0, 1]
        # An edited message is a branch, with the draft kept aside.
        await pilot.press("enter")
        composer.text = "a draft"
        await pilot.press("ctrl+e")
        assert composer.text == "One day"
        await pilot.press("escape")
        assert composer.text == "a draft"
        await pilot.press("ctrl+e", "!", "enter")
        await quiet(pilot, screen)
        assert composer.text == "a draft"
        assert [tree.nodes[i].content for i in tree.path()[:1]] == ["One day!"]
        assert tree.siblings(tree.path()[0]) == [0, 3]
        # An edited reply is its sibling, kept as a demonstration by ctrl+d, once.
        composer.clear()
        await pilot.press("up", "e")
        await pilot.pause()
        composer.text = " it rained."
        await pilot.press("enter")
        await pilot.pause()
        assert tree.nodes[5].edited
        assert tree.siblings(5) == [4, 5]
        assert "written by you" in screen_text(screen.app)
        await pilot.press("ctrl+d", "ctrl+d")
        rows = [row["messages"] for row in read_lines(demonstrations.path())]
        assert rows == [[{"role": "user", "content": "One day!"}, {"role": "assistant", "content": "it rained."}]]
        assert "1 row in" in toasts(screen)
        screen.action_exact()
        await pilot.pause()
        assert "you wrote this reply" in toasts(screen)
        assert "there already" in toasts(screen)
        # The alternatives by arrows and enter, and by click.
        await pilot.press("up", "alt+left")
        await pilot.pause()
        await pilot.press("left", "enter")
        info = screen.query_one(TokenInfo)
        assert screen.focused is info
        await pilot.press("right", "left", "escape")
        assert isinstance(screen.focused, Said)
        nodes = len(tree.nodes)
        await pilot.click(info, offset=(2 + info._places[2][0], 1))
        await quiet(pilot, screen)
        assert len(tree.nodes) == nodes + 1
        # A page goes on: with what is typed, and where the reply was cut.
        composer.text = " And"
        composer.focus()
        await pilot.press("ctrl+b")
        await quiet(pilot, screen)
        assert tree.nodes[tree.path()[-2]].joins
        last = tree.nodes[tree.path()[-1]]
        count = len(last.tokens)
        if last.stop == "length":
            await pilot.press("ctrl+b")
            await quiet(pilot, screen)
            assert len(last.tokens) > count
        assert composer.text == ""

    chat(go)


@pytest.mark.slow
def test_stopping_and_writing_meanwhile(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        tree = screen.talk.tree("a")
        await say(pilot, screen, "One day")
        await until(pilot, lambda: len(tree.nodes) > 1 and tree.nodes[1].tokens)
        worker = screen.talk.client._children[-1].process.pid
        os.kill(worker, signal.SIGSTOP)  # no reply may end of itself while we type
        assert "escape stops the reply" in screen_text(screen.app)
        await pilot.press(*"next", "enter")
        assert screen.composer.text == "next"  # not lost, not sent
        assert "on its way" in toasts(screen)
        await pilot.press("escape")
        os.kill(worker, signal.SIGCONT)
        await quiet(pilot, screen)
        assert tree.nodes[1].stop == "cancelled"
        await pilot.press("ctrl+j")
        assert screen.composer.text == "next\n"
        await say(pilot, screen, "The capital of France is")
        await quiet(pilot, screen)
        assert "Paris" in tree.nodes[3].text

    chat(go, max_tokens=450, temp=0.0)


def test_the_exact_tokens_are_those_of_the_model(both: Path) -> None:
    from lab import chat as lab_chat
    from lab.tokenizer import Tokenizer

    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        screen.load("a", "pocket-chat")
        await quiet(pilot, screen)
        assert "chat model" in screen_text(screen.app)
        await say(pilot, screen, "Who are you? <|end|>")
        await quiet(pilot, screen)
        await pilot.press("escape", "w")
        await pilot.pause()
        assert isinstance(screen.app.screen, ExactScreen)
        node = screen.talk.tree("a").nodes[1]
        tokenizer = Tokenizer.load(POCKET)
        ids = lab_chat.prompt(tokenizer, [{"role": "user", "content": "Who are you? <|end|>"}])
        ids += [token.id for token in node.tokens]
        view = screen.app.screen.query_one(StreamView)
        assert json.loads(view.copy_text()) == ids
        cells = [cell for row in rows_of(node, 60) if not isinstance(row, str) for cell in row]
        assert [cell.id for cell in cells] == ids
        assert [cell.number for cell in cells] == list(range(len(ids)))
        assert all(cell.at + cell.width <= 60 for cell in cells)
        shown = screen_text(screen.app)
        assert "<|user|>" in shown
        assert f"{len(node.prompt)} + {len(node.tokens)} = {len(ids)} tokens" in shown
        await pilot.press("y", "escape")
        assert screen.is_current

    chat(go)


@pytest.mark.slow
def test_two_columns_get_the_same_message_and_scroll_together(both: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await say(pilot, screen, "The capital of France is")
        await quiet(pilot, screen)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(screen.app.screen, ModelPicker) and screen.app.screen.lines)
        await pilot.press(*"chat")
        await pilot.press("enter")
        await quiet(pilot, screen)
        await pilot.pause(0.1)
        shown = screen_text(screen.app)
        assert "A · pocket-base" in shown
        assert "B · pocket-chat" in shown
        assert shown.count("The capital of France is") == 2
        await say(pilot, screen, "\n".join("a long message" for _ in range(40)))
        await quiet(pilot, screen)
        assert [len(screen.talk.tree(slot).path()) for slot in ("a", "b")] == [4, 4]
        await pilot.pause(0.1)
        one, two = (column.log_view for column in screen.columns)
        assert one.scroll_y == one.max_scroll_y > 0  # at the end
        screen.columns[0].saids[-1].focus()
        await pilot.press("home")
        await pilot.pause(0.1)
        assert (one.scroll_y, two.scroll_y) == (0, 0)
        await pilot.press("end")
        await pilot.pause(0.1)
        assert two.scroll_y == two.max_scroll_y
        await pilot.press("v")
        await pilot.pause()
        assert list(screen.talk.sides) == ["a"]
        assert "B ·" not in screen_text(screen.app)

    chat(go, size=(120, 30), temp=0.0)
    assert aligned(5, [0, 10, 20], [0, 100, 110]) == 50
    assert aligned(15, [0, 10, 20], [0, 100, 110]) == 105
    assert aligned(3, [9], [9]) == 3


@pytest.mark.slow
def test_settings_are_checked_in_words(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("ctrl+g")
        await pilot.pause()
        dialog = screen.app.screen
        assert isinstance(dialog, SamplingScreen)
        fields = [dialog.focused]
        for key in ("down", "up"):
            await pilot.press(key)
            fields.append(dialog.focused)
        assert fields[0] is fields[2] is dialog.query_one("#temp", Input)
        assert isinstance(fields[1], Input)
        assert fields[1] is not fields[0]
        dialog.query_one("#temp", Input).value = "hot"
        dialog.query_one("#top_p", Input).value = "0"
        await pilot.pause()
        assert "temperature: 0 to 100, not hot" in screen_text(screen.app)
        await pilot.press("enter")
        assert screen.app.screen is dialog  # not taken
        dialog.query_one("#temp", Input).value = "0"
        dialog.query_one("#top_p", Input).value = ".9"
        dialog.query_one("#seed", Input).value = "7"
        dialog.query_one(TextArea).text = "Be brief."
        await pilot.press("enter")
        assert screen.is_current
        assert screen.talk.draw == Draw(temp=0, top_p=0.9, seed=7, system="Be brief.", max_tokens=24)
        await pilot.pause()
        assert str(screen.columns[0].border_subtitle) == "T 0 · top-p .9 · seed 7 · 0/512 context"
        await pilot.press("ctrl+g", "escape")
        assert screen.is_current

    chat(go)


@pytest.mark.slow
def test_models_to_choose_from(both: Path) -> None:
    shutil.copytree(both / "pocket-base", both / "broken", ignore=shutil.ignore_patterns("tokenizer.*"))
    (both / "pocket-chat" / "checkpoints" / "000040").mkdir(parents=True)
    assert newest() in ("pocket-base", "pocket-chat")

    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(screen.app.screen, ModelPicker) and screen.app.screen.lines)
        picker = screen.app.screen
        assert isinstance(picker, ModelPicker)
        shown = screen_text(screen.app)
        assert "pocket-chat@40" in shown
        assert "holds neither tokenizer.json nor" in shown
        choice = picker.query_one(OptionList)
        assert choice.get_option_at_index(picker._shown.index(next(x for x in picker._shown if x.broken))).disabled
        await pilot.press(*"owner/name")
        await pilot.pause()
        assert "fetch from the hub" in screen_text(screen.app)
        picker.query_one(Input).value = "nowhere"
        await pilot.pause()
        assert "nothing like it" in screen_text(screen.app)
        picker.query_one(Input).value = "qwen chat"
        await pilot.pause()
        assert [line.model for line in picker._shown] == ["pocket-chat"]
        await pilot.press("down", "up", "enter")
        await quiet(pilot, screen)
        assert screen.talk.sides["a"].title == "pocket-chat"
        screen.lab.open_chat("no-such")
        await until(pilot, lambda: screen.talk.sides["a"].state == "failed")
        shown = screen_text(screen.app)
        assert "no such folder" in shown
        assert "ctrl+l takes another model" in shown

    chat(go)
    known = [Line("run-1", "run-1", "", "", "weights")]
    for text, kind in (
        ("~/x", "open this folder or file"), ("model.gguf", "open this folder or file"), ("a/b", "fetch from the hub"),
        ("a/b/c.gguf", "fetch from the hub"), ("run-1@30", "open this checkpoint"), ("run-1", ""), ("run-2@3", ""), ("", ""),
    ):  # fmt: skip
        line = typed(text, known)
        assert (line.kind if line else "") == kind


@pytest.mark.slow
def test_chats_are_resumed_and_deleted(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        for text in ("One day", "The capital of France is"):
            await say(pilot, screen, text)
            await quiet(pilot, screen)
            await pilot.press("ctrl+n")
        assert screen.columns[0].saids == []
        await pilot.press("ctrl+f")
        await until(pilot, lambda: isinstance(screen.app.screen, ChatList) and screen.app.screen.chats)
        dialog = screen.app.screen
        assert isinstance(dialog, ChatList)
        assert [summary.title for summary, _ in dialog.shown] == ["The capital of France is", "One day"]
        await pilot.press(*"capital")
        await pilot.pause()
        assert len(dialog.shown) == 1
        await pilot.press("enter")
        await quiet(pilot, screen)
        assert [node.content for node in screen.talk.tree("a").nodes[:1]] == ["The capital of France is"]
        assert "The capital of France is" in screen_text(screen.app)
        await pilot.press("ctrl+f")
        await until(pilot, lambda: isinstance(screen.app.screen, ChatList) and screen.app.screen.chats)
        await pilot.press("ctrl+x")  # the one that is open: not
        assert isinstance(screen.app.screen, ChatList)
        await pilot.press("down", "ctrl+x")
        await pilot.pause()
        assert isinstance(screen.app.screen, Ask)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(screen.app.screen, ChatList) and len(screen.app.screen.shown) == 1)
        await pilot.press("escape")
        assert len(list(chat_files.folder().glob("*.json"))) == 1

    chat(go, max_tokens=5)


@pytest.mark.slow
def test_demonstrations_from_the_list(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("up", "home", "down", "down", "enter")  # who is Orson Kovacs
        await quiet(pilot, screen)
        tree = screen.talk.tree("a")
        assert tree.siblings(1) == [1, 2, 3]
        assert tree.path()[-1] == 3
        shown = screen_text(screen.app)
        assert "watch: The name is made up." in shown
        assert "‹3/3›" in shown
        await pilot.press("ctrl+k")
        await pilot.pause()
        await pilot.press("down", "down", "down", "down", "enter")
        await quiet(pilot, screen)
        assert tree.nodes[4].content.startswith("tiger cap :")
        assert tree.nodes[5].ends == ["|"]

    chat(go)


@pytest.mark.slow
def test_a_killed_process_is_told_and_loaded_again(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await say(pilot, screen, "One day")
        await quiet(pilot, screen)
        assert screen.talk.client
        os.kill(screen.talk.client._children[-1].process.pid, signal.SIGKILL)
        await until(pilot, lambda: screen.talk.sides["a"].state == "gone")
        shown = screen_text(screen.app)
        assert "was killed" in shown
        assert "Nothing of the chat is lost" in shown
        assert "One day" in shown
        await say(pilot, screen, "again")
        await quiet(pilot, screen)
        assert screen.talk.sides["a"].state == "ready"
        assert len(screen.talk.tree("a").path()) == 4

    chat(go)


@pytest.mark.slow
def test_a_training_that_goes_on_is_mentioned_and_paused(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        with Run("pretrain", {"seed": 1}, "slow", False, None, []) as record:
            await until(pilot, lambda: screen.lab.watcher.live)
            await until(pilot, lambda: "p pauses it" in screen_text(screen.app))
            await pilot.press("escape", "p")
            await pilot.pause()
            assert [row["cmd"] for row in read_lines(record.folder / "control.jsonl")] == ["pause"]
        await until(pilot, lambda: not screen.lab.watcher.live)
        await until(pilot, lambda: "p pauses it" not in screen_text(screen.app))

    chat(go)


@pytest.mark.slow
def test_nothing_to_talk_with(home: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.pause(0.2)
        shown = screen_text(screen.app)
        assert "No model here yet" in shown
        assert "ctrl+l" in shown
        await say(pilot, screen, "hello")
        await pilot.pause()
        assert "no model yet" in toasts(screen)
        for key in (
            "ctrl+r",
            "ctrl+e",
            "w",
            "ctrl+d",
            "ctrl+b",
            "alt+left",
            "ctrl+n",
            "ctrl+t",
            "ctrl+k",
            "escape",
            "up",
        ):
            await pilot.press(key)
            if key == "ctrl+k":
                assert screen.is_current  # no list of what nobody could answer
        assert screen.talk.client is None  # and no process
        assert not screen.talk.busy
        # A model that comes meanwhile is taken.
        shutil.copytree(POCKET, home / "pocket-base")
        await until(pilot, lambda: screen.talk.sides["a"].state == "ready")

    chat(go, ready=False)


@pytest.mark.slow
def test_only_broken_models_are_named_and_a_draft_outlives_an_edit(pocket: Path) -> None:
    weights = pocket / "pocket-base" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1_000_000])

    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await until(pilot, lambda: screen.talk.sides["a"].words)
        shown = " ".join(screen_text(screen.app).split())
        assert "No model here can be loaded." in shown
        assert "has 1000000 bytes" in shown
        weights.write_bytes(whole)
        screen.load("a", "pocket-base")
        await quiet(pilot, screen)
        for leave in ("ctrl+n", "f3"):
            await say(pilot, screen, "One day")
            await quiet(pilot, screen)
            screen.composer.text = "a draft"
            if leave == "f3":
                screen.load("b", "pocket-base")
                await quiet(pilot, screen)
            await pilot.press("ctrl+e")
            assert screen.composer.text == "One day"
            await pilot.press(leave)
            assert (screen.composer.text, screen.editing) == ("a draft", None)
        assert list(screen.talk.sides) == ["a"]

    chat(go, ready=False, max_tokens=4)
    line = Line("pocket-base", "pocket-base", "qwen3, 1.2M, base, bf16", "2.7 MB", "weights")
    assert line.kind in _content(line, 58, len(line.name), len(line.kind), False).plain  # a short name leaves it room
    assert why_none([]) == ""
    assert "other models: 1" in why_none(
        [Line("hub/one", "hub/one", "", "", "hub"), Line("", "bad", "", "", "weights", "cut")]
    )


@pytest.mark.slow
def test_a_long_chat_shows_its_end_first(pocket: Path) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        tree = screen.talk.tree("a")
        for i in range(70):
            asked = tree.add(Node("user", len(tree.nodes) - 1, f"question {i}"))
            tree.add(Node("assistant", asked, stop="end", tokens=[Token(i, f"answer {i}", f"answer {i}")]))
        screen.follow()
        await pilot.pause(0.3)
        column = screen.columns[0]
        assert len(column.saids) == 60
        assert "answer 69" in screen_text(screen.app)
        column.log_view.scroll_home(animate=False)
        await pilot.pause(0.2)
        assert "80 earlier messages" in screen_text(screen.app)
        await pilot.click("#earlier")
        await pilot.pause(0.2)
        assert len(column.saids) == 120
        await pilot.press("up", "up", "k", "j")  # through the messages
        assert screen.focused is column.saids[-2]

    chat(go)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_every_size(both: Path, size: tuple[int, int]) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await say(pilot, screen, "One day")
        await quiet(pilot, screen)
        screen.load("b", "pocket-chat")
        await quiet(pilot, screen)
        thinks = Node(
            "assistant", 0, stop="end", tokens=[Token(1, "<|think|>", "", "special"), Token(2, "hm", "hm", "think")]
        )
        screen.talk.tree("a").add(thinks)
        for key in ("ctrl+t", "escape", "left", "left", "space"):
            await pilot.press(key)
        screen.paint()
        for theme in ("lab-light", "ansi-dark", "lab-dark"):
            screen.app.theme = theme
            await pilot.pause()
        for key in ("ctrl+l", "ctrl+g", "ctrl+f", "ctrl+k", "w"):
            await pilot.press(key)
            await pilot.pause(0.1)
            await pilot.press("escape")
            await pilot.pause()
            assert screen.is_current, key
        if size[0] >= 80:
            shown = screen_text(screen.app)
            assert "A · pocket" in shown
            assert "B · pocket" in shown
            assert "thought for 1 token" in shown
        await pilot.resize_terminal(60, 20)
        await pilot.pause()

    chat(go, size=size)


@pytest.mark.slow
def test_a_model_comes_from_the_hub_with_progress_and_can_be_stopped(
    pocket: Path,
    hub: Hub,  # noqa: F811
) -> None:
    hub.add_folder("owner/pocket", POCKET)
    hub.rate = 1_000_000

    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("ctrl+l")
        await pilot.pause(0.2)
        await pilot.press(*"owner/pocket", "enter")
        await until(pilot, lambda: screen.talk.sides["a"].done > 0)
        shown = screen_text(screen.app)
        assert "downloading owner/pocket" in shown
        assert "escape stops it" in shown
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert "you stopped it" in screen_text(screen.app)
        hub.rate = 0
        screen.load("a", "owner/pocket")
        await quiet(pilot, screen)
        assert screen.talk.sides["a"].title == "owner/pocket"
        assert str(screen.query_one("#state", Static).display) == "False"
        await say(pilot, screen, "One day")
        await quiet(pilot, screen)
        assert screen.talk.tree("a").nodes[1].text

    chat(go)
