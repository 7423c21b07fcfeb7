"""Rollouts: steps, prompts, replies, tokens, order, filter, comparison, games, other rooms, driven by keys and mouse on replies
that a real model sampled (tests/tui/rollouts_real.py)."""

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Static

import tui.app
from lab import episodes
from lab.runs import lock
from lab.tokenizer import Tokenizer
from tests.conftest import counted_calls
from tests.tui import rollouts_real
from tests.tui.conftest import make_run, screen_text
from tui.app import LabApp
from tui.data import watch
from tui.data.rollout_rows import HEATS
from tui.screens.chat import ChatScreen
from tui.screens.rollouts import RolloutsScreen
from tui.screens.train import TrainScreen
from tui.widgets.board import Board
from tui.widgets.rollout_panes import Asked, Groups, StepFacts, TokenWords

Go = Callable[[Pilot[None], LabApp, RolloutsScreen], Coroutine[Any, Any, None]]


class RolloutsFirst(LabApp):
    """The app, beginning in Rollouts."""

    DEFAULT_MODE = "rollouts"
    CSS_PATH = Path(tui.app.__file__).with_name("app.tcss")


def drive(go: Go, size: tuple[int, int] = (150, 42)) -> None:
    """Rollouts in an app without a terminal."""

    async def main() -> None:
        app = RolloutsFirst()
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: isinstance(app.screen, RolloutsScreen) and app.screen.is_current)
            screen = app.screen
            assert isinstance(screen, RolloutsScreen)
            await settled(pilot, screen)
            await go(pilot, app, screen)

    asyncio.run(main())


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause()
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s:\n{screen_text(pilot.app)}")


async def settled(pilot: Pilot[None], screen: RolloutsScreen) -> None:
    """The step that is wanted is read, and its tokens."""
    screen.lab.look()
    if screen.infos:
        await until(pilot, lambda: screen.step is not None and screen.step.number == screen.wanted)
        await until(pilot, lambda: screen.info is not None and screen.info.folder in screen._books)
    await pilot.pause()
    await pilot.pause()


@pytest.fixture
def run(recorded: Path, home: Path) -> Path:
    """A run with sampled replies at steps 1, 2, 3."""
    return shutil.copytree(recorded / "grpo-1", home / "grpo-1")


@pytest.fixture
def picture(home: Path, tokenizer: Tokenizer) -> Path:
    """A run whose every figure is known, at steps 10, 20, 30."""
    return rollouts_real.picture(tokenizer)


def text_of(widget: Any) -> str:
    content = widget.query_one(Static).content if not isinstance(widget, Static) else widget.content
    return content.plain if isinstance(content, Content) else str(content)


def test_what_is_seen_of_a_step(picture: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        text = screen_text(app)
        for said in (
            "step 30  3 of 3", "Emily buys 3 apples", "reference 3", "3 prompts × 4",
            "no spread 2 of 3  all right 1, all wrong 1",
            "1/4  reward 1  advantage +0.53", "3/4  reward 0  advantage -0.47", "correct 1 + price -0.1", "1 call",
            "<|think|> Oranges are 2*2 = 4.", "not trained on: <|result|> 3.0<|/result|>", "cut at its length", " put in",
        ):  # fmt: skip
            assert said in text, said
        assert [line.split()[-2] for line in text.splitlines() if " same" in line] != []
        await pilot.press("full_stop")
        await pilot.pause()
        text = screen_text(app)
        assert "What is the capital of France?" in text
        assert text.count("advantage +0.00") == 4
        await pilot.press("comma")
        await pilot.pause()
        assert "Emily buys 3 apples" in text_of(screen.query_one(Asked))

    drive(go)


def test_what_the_cards_say_sums_to_the_reward(run: Path) -> None:
    """Of every reply of every step and prompt, as the view has it."""

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        seen = 0
        for _ in range(3):
            await settled(pilot, screen)
            for group in range(len(screen.groups)):
                screen._go(group)
                for one in screen.mine.told:
                    seen += 1
                    assert sum(one.brief.parts.values()) == pytest.approx(one.brief.reward, abs=1e-9)
                    assert one.brief.advantage == pytest.approx(one.row["advantage"])
                    assert [t.forced for t in one.tokens] == [not d for d in one.row["drawn"]]
            await pilot.press("left_curly_bracket")
        assert seen == 72

    drive(go)


def test_steps_back_and_on_keep_the_prompt(run: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert screen.wanted == 3
        await pilot.press("full_stop", "full_stop")
        for key, step in (
            ("left_curly_bracket", 2),
            ("home", 1),
            ("left_curly_bracket", 1),
            ("right_curly_bracket", 2),
            ("end", 3),
        ):
            await pilot.press(key)
            await settled(pilot, screen)
            assert screen.step is not None
            assert screen.step.number == step
            assert screen.groups[screen.group][0].key == "symbols:2"
            assert f"step {step}  {step} of 3" in screen_text(app)

    drive(go)


def test_a_run_that_goes_on_is_followed_until_one_steps_back(run: Path) -> None:
    handle = lock(run / "lock", "")
    (run / "status.json").write_text(json.dumps({"state": "running", "step": 3, "total": 9, "t": 4e9}))

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert "● follows" in screen_text(app)
        rows = list(episodes.read(run, 1))
        rollouts_real.write(run, 4, [row | {"step": 4} for row in rows])
        await until(pilot, lambda: (app.look(), screen.step is not None and screen.step.number == 4)[1])
        await pilot.press("left_curly_bracket")
        await settled(pilot, screen)
        assert "○ held; L follows" in screen_text(app)
        rollouts_real.write(run, 5, [row | {"step": 5} for row in rows])
        app.look()  # else a quick machine presses L before the window has seen step 5
        await settled(pilot, screen)
        await settled(pilot, screen)
        assert screen.step is not None
        assert screen.step.number == 3
        await pilot.press("L")
        await until(pilot, lambda: (app.look(), screen.step is not None and screen.step.number == 5)[1])
        # The step's file grows: what is new in it is shown.
        with open(episodes.path_of(run, 5), "a") as file:
            file.write(episodes.line(rows[0] | {"step": 5, "group": 77, "key": "late"}) + '{"torn')
        await until(pilot, lambda: (app.look(), "7 prompts" in screen_text(app))[1])
        assert "1 line could not be read" in text_of(screen.query_one(StepFacts))
        assert screen.groups[screen.group][0].key == "symbols:0"

    drive(go)
    os.close(handle)


def test_order_and_filter(run: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        group = next(i for i, (g, _) in enumerate(screen.groups) if g.spread > 0)
        screen._go(group)
        for order in ("reward", "advantage", "length", "surprise"):
            await pilot.press("s")
            await pilot.pause()
            values = {
                "reward": [one.brief.reward for one in screen.mine.told],
                "advantage": [one.brief.advantage for one in screen.mine.told],
                "length": [one.brief.drawn for one in screen.mine.told],
                "surprise": [one.brief.surprise for one in screen.mine.told],
            }[order]
            assert values == sorted(values, key=lambda v: -(v or 0))
            assert screen.mine.chosen == 0
            assert f"replies, most {order} first" in screen_text(app)
        await pilot.press("S")
        await pilot.pause()
        assert [one.brief.surprise for one in screen.mine.told] == values[::-1]
        await pilot.press("s")
        await pilot.pause()
        assert [one.brief.k for one in screen.mine.told] == [0, 1, 2, 3]
        await pilot.press("slash", *"of (tin|lead)", "enter")
        await pilot.pause()
        assert [g.key for g, _ in screen.groups] == ["symbols:2", "symbols:3"]
        assert "2 of 6 prompts" in screen_text(app)
        assert screen.mine.has_focus
        await pilot.press("slash", *"(")
        await pilot.pause()
        assert "no regular expression yet" in screen_text(app)
        await pilot.press("backspace", *"zzz")
        await pilot.pause()
        assert "nothing here matches the filter" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert len(screen.groups) == 6

    drive(go)


def test_tokens_are_walked_and_coloured(run: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        called = next(
            (g, k) for g, (group, _) in enumerate(screen.groups) for k, row in enumerate(group.rows) if row.calls
        )
        screen._go(called[0])
        screen.mine.focus()
        await pilot.press(*["j"] * called[1])
        words, one = screen.query_one(TokenWords), screen.chosen
        assert one is not None
        ids = one.row["ids"]
        for place in range(min(len(ids), 12)):
            await pilot.press("right")
            await pilot.pause()
            said = words.render().plain
            assert f"{place + 1}/{len(ids)}" in said
            assert f"id {ids[place]}" in said
            if one.row["drawn"][place]:
                assert f"logp {one.row['logp'][place]:.3f}" in said
                assert re.search(rf"ref(erence)? {one.row['ref_logp'][place]:.3f}", said)
                gap = one.row["logp"][place] - one.row["ref_logp"][place]
                assert re.search(rf"diff(erence)? {re.escape(f'{gap:+.3f}')}", said)
                assert "was not kept" in said
            else:
                assert "not trained on" in said
        await pilot.press("left")
        assert screen.mine.place == min(len(ids), 12) - 2
        await pilot.press("up", "down", "shift+left", "shift+right")
        grounds = list[set[str]]()
        for heat in (*HEATS[1:], HEATS[0]):
            await pilot.press("t")
            await pilot.pause()
            assert screen.heat == heat
            strips = [strip for line in range(6) for strip in screen.mine.render_line(line)]
            grounds.append({str(s.style.bgcolor) for s in strips if s.style and s.style.bgcolor})
        assert len(grounds[0]) > len(grounds[3])
        assert grounds[2] != grounds[3]
        await pilot.press("escape")
        assert screen.mine.place is None

    drive(go)


def test_two_columns_at_other_steps_and_in_another_run(recorded: Path, run: Path, home: Path) -> None:
    shutil.copytree(recorded / "grpo-2", home / "grpo-2")

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        screen._open(next(i for i in screen.infos if i.name == "grpo-1"))
        await settled(pilot, screen)
        await pilot.press("full_stop", "v")
        await until(pilot, lambda: screen.other is not None and not screen.looking)
        assert [(p.folder.name, p.step) for p in screen.places] == [
            ("grpo-1", 2), ("grpo-1", 1), ("grpo-2", 6), ("grpo-2", 5),
        ]  # fmt: skip
        assert "compared 1 of 4" in screen_text(app)
        for key, place in (("greater_than_sign", 1), ("greater_than_sign", 2), ("less_than_sign", 1), ("less_than_sign", 0),
                           ("less_than_sign", 3)):  # fmt: skip
            await pilot.press(key)
            await until(pilot, lambda: screen.other is not None and screen.other[0] == screen.places[place])  # noqa: B023
            assert {one.row["key"] for one in screen.theirs.told} == {"symbols:1"}
            assert len(screen.theirs.told) == (2 if place > 1 else 4)
            assert all(one.tokens for one in screen.theirs.told)
        assert "grpo-2  step 5" in screen_text(app)
        screen.theirs.focus()
        await pilot.press("j", "right")
        await pilot.pause()
        assert (screen.theirs.chosen, screen.mine.chosen) == (1, 0)
        assert screen.chosen is screen.theirs.one
        await pilot.press("full_stop")
        await until(pilot, lambda: screen.other is not None)
        assert {one.row["key"] for one in screen.theirs.told} == {"symbols:2"}
        await pilot.press("v")
        await pilot.pause()
        assert not screen.theirs.display
        assert screen.mine.has_focus

    drive(go)


def test_a_prompt_that_was_asked_nowhere_else_says_so(picture: Path) -> None:
    for step in (10, 20):
        episodes.path_of(picture, step).unlink()

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        await pilot.press("v")
        await until(pilot, lambda: "asked at no other step or run" in screen_text(app))

    drive(go)


def test_the_row_is_copied_as_json(picture: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        await pilot.press("j", "y")
        await pilot.pause()
        assert json.loads(app.clipboard) == list(episodes.read(picture, 30))[1]
        screen.query_one(Groups).focus()
        await pilot.press("down", "y")
        assert json.loads(app.clipboard)["key"] == "capital:1"

    drive(go)


def test_a_game_is_walked_on_its_board(picture: Path) -> None:
    rows = list(episodes.read(picture, 30))
    rows[1] |= {"game": {"kind": "tic-tac-toe", "moves": [5, 1, 3, 7, 4, 6, 8, 2, 9], "me": "X", "result": "drawn"}}
    rollouts_real.write(picture, 30, rows)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        board = screen.query_one(Board)
        assert not board.display
        assert screen.check_action("move", ()) is None
        await pilot.press("j")
        await pilot.pause()
        assert board.display
        assert "9/9 X to 9 (me)  drawn" in " ".join(board.copy_text().split("\n"))
        await pilot.press("left_parenthesis", "left_parenthesis")
        assert "7/9 X to 8" in board.copy_text()
        assert board.copy_text().splitlines()[0] == " O │ 2 │ X "
        board.focus()
        await pilot.press("home")
        assert "X" not in "".join(board.copy_text().splitlines()[:5])
        await pilot.press("right")
        assert "[X]" in board.copy_text().splitlines()[2]
        await pilot.click(Board, offset=(20, 2))
        assert "2/9 O to 1" in board.copy_text()
        await pilot.press("k")
        await pilot.pause()
        assert not board.display

    drive(go)


def test_the_best_and_the_worst_by_the_proxy(picture: Path) -> None:
    rows = list(episodes.read(picture, 30))[:4]
    for row, proxy in zip(rows, (0.25, 3.0, -1.0, 0.5), strict=True):
        row |= {"parts": {"proxy": proxy, "kl": -0.05}, "notes": {"gold": -proxy}, "reward": proxy - 0.05}
    rollouts_real.write(picture, 30, rows)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        await pilot.press(*"sssss")
        await pilot.pause()
        assert "most proxy first" in screen_text(app)
        assert [one.brief.parts["proxy"] for one in screen.mine.told] == [3.0, 0.5, 0.25, -1.0]
        await pilot.press("S")
        assert [one.brief.parts["proxy"] for one in screen.mine.told] == [-1.0, 0.25, 0.5, 3.0]
        await pilot.press("s")
        assert [one.brief.notes["gold"] for one in screen.mine.told] == [1.0, -0.25, -0.5, -3.0]
        await pilot.pause()
        assert "proxy -1 + kl -0.05 · gold 1" in screen_text(app)

    drive(go)


def test_the_mouse_points_chooses_and_selects(picture: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        cards = screen.mine
        third = cards._stack.cards[2]
        await pilot.click(cards, offset=(5, third.first + 2))  # its edge above is line 1
        await pilot.pause()
        assert cards.chosen == screen.member == 2
        assert cards.place is not None
        await pilot.hover(cards, offset=(12, third.first + 2))
        await pilot.pause()
        assert f"/{len(cards.told[2].tokens)}" in screen.query_one(TokenWords).render().plain
        groups = screen.query_one(Groups)
        await pilot.click(groups, offset=(8, 3))
        await pilot.pause()
        assert screen.group == 1
        screen._go(0)
        await pilot.pause()
        await pilot.mouse_down(cards, offset=(3, 1 + 2))
        await pilot.hover(cards, offset=(20, 1 + 2))
        await pilot.mouse_up(cards, offset=(20, 1 + 2))
        await pilot.pause()
        assert "The answer" in (screen.get_selected_text() or "")

    drive(go)


def test_long_replies_are_folded_and_crowds_are_cut(picture: Path, tokenizer: Tokenizer) -> None:
    rows = list(episodes.read(picture, 30))[:1]
    row = rows[0]
    for key in ("ids", "drawn", "logp", "ref_logp"):
        row[key] = row[key][:-1] * 40
    row |= {"segments": [], "text": tokenizer.decode(row["ids"], specials=True)}
    many = [row | {"k": k} if k == 0 else list(episodes.read(picture, 20))[1] | {"k": k} for k in range(200)]
    rollouts_real.write(picture, 30, many)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert len(screen.mine.told) == 64
        assert screen.mine.border_subtitle is not None
        assert "rows more: space" in screen_text(app)
        before = screen.mine.virtual_size.height
        await pilot.press("left")  # the last token, which is folded away
        await pilot.pause()
        assert screen.mine.virtual_size.height > before
        assert screen.mine.place == len(row["ids"]) - 1
        await pilot.press("escape", "space")
        await pilot.pause()
        assert screen.mine.virtual_size.height == before
        await pilot.press("pagedown", "down", "up", "pageup", "k", *"jjj")

    drive(go)


def test_two_thousand_rows_stay_quick(run: Path) -> None:
    row = next(iter(episodes.read(run, 1)))
    rows = [row | {"step": 9, "group": i // 8, "k": i % 8, "key": f"x:{i // 8}"} for i in range(2000)]
    rollouts_real.write(run, 9, rows)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert "250 prompts × 8" in screen_text(app)
        screen.query_one(Groups).focus()
        for key in ("down", "pagedown", "full_stop", "j", "s", "t"):
            with counted_calls() as calls:
                await pilot.press(key)
                await pilot.pause()
            # 198,000 is the most (a tenth of a second), and 143,000 with 80 rows.
            assert calls.count < 400_000, (key, calls.count)

    drive(go)


def test_a_run_without_tokenizer_or_replies(run: Path) -> None:
    for file in run.glob("tokenizer*"):
        file.unlink()
    time.sleep(0.01)
    rollouts_real.write(run, 4, [])

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert "this step has no replies" in screen_text(app)
        assert screen.check_action("heat", ()) is None
        await pilot.press("left_curly_bracket", *"jksv/")
        await pilot.press("escape")
        await settled(pilot, screen)
        text = screen_text(app)
        assert "no tokenizer in its folder" in text
        assert "It is Au." in text or "<|search|>" in text
        await pilot.press("right", "t", "a")
        shutil.rmtree(run)
        screen.lab.look()
        await until(pilot, lambda: "No rollouts yet" in screen_text(app))

    drive(go)


def test_where_nothing_was_tried_it_says_what_to_do(home: Path, tokenizer: Tokenizer) -> None:
    make_run("pretrain-1", 3)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        assert "No rollouts yet." in screen_text(app)
        await pilot.press(*"jks{}tve,.ym", "home", "end", "L", "escape")
        rollouts_real.picture(tokenizer, steps=(10,))
        await until(pilot, lambda: (app.look(), "Emily" in screen_text(app))[1])

    drive(go)


@pytest.mark.slow
def test_train_opens_the_step_under_the_crosshair_and_back(picture: Path) -> None:
    make_run("pretrain-1", 3)

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.screen.choice.shown == "grpo-1")
        train = app.screen
        assert isinstance(train, TrainScreen)
        assert train.check_action("rollouts", ())
        train.cross = 12.0
        await pilot.press("e")
        await until(pilot, lambda: app.screen is screen)
        await settled(pilot, screen)
        assert screen.wanted == 10
        app.open_train("pretrain-1")
        await until(pilot, lambda: app.screen is train and train.choice.shown == "pretrain-1")
        assert train.check_action("rollouts", ()) is None
        app.open_rollouts("pretrain-1")
        await until(pilot, lambda: any("wrote no episodes" in n.message for n in app._notifications))

    drive(go)


@pytest.mark.slow
def test_a_prompt_goes_to_chat_and_a_reply_goes_on_there(run: Path, caller: Path, home: Path) -> None:
    """With the weights that the run began from: its own checkpoints hold none in this test."""
    shutil.copytree(caller / "caller", home / "caller")
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    passport = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(passport | {"parent": "caller"}))

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        chat = app.screen
        assert isinstance(chat, ChatScreen)
        await until(pilot, lambda: chat.talk.sides["a"].state == "ready", 60)
        assert chat.composer.text == "What is the symbol of gold?"
        assert chat.talk.sides["a"].model == "caller"
        await pilot.press("enter")
        await until(pilot, lambda: not chat.talk.busy and chat.talk.tree("a").last("assistant") is not None, 60)
        await pilot.press("escape", "3")
        await until(pilot, lambda: app.screen is screen)
        one = screen.mine.told[screen.mine.chosen]
        screen.mine.focus()
        await pilot.press("right", "right", "a")
        await until(pilot, lambda: app.screen is chat)
        await until(pilot, lambda: chat.talk.tree("a").nodes and not chat.talk.busy, 60)
        reply = chat.talk.tree("a").nodes[chat.talk.tree("a").last("assistant") or 0]
        assert [token.id for token in reply.tokens[:1]] == one.row["ids"][:1]
        assert len(reply.tokens) > 1
        assert reply.tokens[1].top  # what else was probable where the cursor stood

    drive(go)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(150, 42), (80, 24)])
def test_how_it_looks(
    picture: Path, size: tuple[int, int], check: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "clock", lambda: 1_795_500_000.0)
    name = "wide" if size[0] > 100 else "small"

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        check(f"rollouts-replies-{name}", screen_text(app))
        await pilot.press("j", *["right"] * 4)
        await pilot.pause()
        check(f"rollouts-token-{name}", screen_text(app))
        await pilot.press("v")
        await until(pilot, lambda: screen.other is not None and not screen.looking)
        await pilot.pause()
        check(f"rollouts-compare-{name}", screen_text(app))
        await pilot.press("v", "r")
        await pilot.pause()
        check(f"rollouts-lists-{name}", screen_text(app))

    drive(go, size)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 12), (80, 24), (100, 30), (220, 60)])
def test_no_size_theme_or_missing_colour_breaks_it(
    run: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if size == (100, 30):
        monkeypatch.setenv("NO_COLOR", "1")

    async def go(pilot: Pilot[None], app: LabApp, screen: RolloutsScreen) -> None:
        for theme in ("lab-dark", "lab-light", "ansi-dark", "ansi-light", "nord"):
            app.theme = theme
            for key in ("t", "v", "right", "j", "full_stop", "r", "r", "left_square_bracket", "z", "z", "v", "t"):
                await pilot.press(key)
                await pilot.pause()
            assert "step 3" in screen_text(app)
        for width, height in ((1, 1), (150, 42), size):
            await pilot.resize_terminal(width, height)
            await pilot.pause()

    drive(go, size)
