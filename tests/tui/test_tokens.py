"""The Tokens screen, by its keys and its mouse, with real tokenizers in real folders."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lab.tokenizer import Tokenizer
from tests.lab.test_tokenizer import byte_level, corpus
from tests.tui.conftest import make_run, screen_text
from tui.app import LabApp
from tui.data.tokens import OPENING, cut, match
from tui.screens.tokens import Done, TokensScreen
from tui.screens.vocabulary import VocabularyScreen
from tui.widgets.merge_tree import MergePane
from tui.widgets.piece_list import PieceList
from tui.widgets.tiles import Tiles


@pytest.fixture(autouse=True)
def begin_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app begins in this room."""
    monkeypatch.setattr(LabApp, "DEFAULT_MODE", "tokens")


@pytest.fixture
def mine(home: Path, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer of the only run there is."""
    tokenizer.save(make_run("mine", steps=3))
    return tokenizer


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level(tmp_path_factory.mktemp("hub") / "small")


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(400):
        await pilot.pause()
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(screen_text(pilot.app))


def screen(pilot: Pilot[None]) -> TokensScreen:
    return cast(TokensScreen, next(s for s in pilot.app.screen_stack if isinstance(s, TokensScreen)))


def calm(pilot: Pilot[None]) -> bool:
    """Whether every side shows the text as it is now."""
    here = screen(pilot)
    text = here.source.text
    return here._timer is None and all(
        not side.opening
        and not side.cutting
        and (
            side.book is None
            or (side.shown == here.revision and (side.lines.made is None or side.lines.made.text == text))
        )
        for side in here.sides.values()
    )


async def enter(pilot: Pilot[None]) -> TokensScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen, TokensScreen) and screen(pilot).sides and calm(pilot))
    return screen(pilot)


async def beside(pilot: Pilot[None], folder: Path) -> Tiles:
    """Open a second tokenizer through the list."""
    await pilot.press("s")
    await until(pilot, lambda: pilot.app.screen is not screen(pilot))
    pilot.app.screen.query_one(Input).value = str(folder)
    await pilot.pause()
    await pilot.press("enter")
    await until(pilot, lambda: pilot.app.screen is screen(pilot) and screen(pilot).sides["second"].book and calm(pilot))
    return screen(pilot).sides["second"].lines


def test_tokens_follow_the_text(mine: Tokenizer) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(120, 30)) as pilot:
            here = await enter(pilot)
            lines = here.sides["first"].lines
            assert lines.made is not None
            assert lines.made.ids.tolist() == mine.encode(OPENING)
            shown = screen_text(pilot.app)
            assert f"mine · {mine.vocab_size} pieces" in shown
            assert all(str(i) in shown for i in mine.encode(OPENING)[:20])
            assert "\\xec" in shown  # Korean in a vocabulary that never saw any
            await pilot.press("e", *"Ada1x")
            await until(pilot, lambda: calm(pilot))
            assert here.source.text == "Ada1x" + OPENING  # 1 was typed and went nowhere else
            assert lines.made.ids.tolist() == mine.encode("Ada1x" + OPENING)
            # The cursor is on the token just typed, and old results never replace newer ones.
            assert lines.made.first[lines.cursor] <= 4 < lines.made.last[lines.cursor]
            side = here.sides["first"]
            assert side.book is not None
            here.on_done(Done("first", here.revision - 1, side.book, cut(side.book, "old")))
            assert lines.made.text == "Ada1x" + OPENING
            await pilot.press("escape", "3")
            await until(pilot, lambda: pilot.app.screen is not here)

    asyncio.run(go())


def test_the_cursor_and_what_is_said_of_it(mine: Tokenizer) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(120, 30)) as pilot:
            here = await enter(pilot)
            lines = here.sides["first"].lines
            assert pilot.app.focused is lines
            ids = mine.encode(OPENING)
            await pilot.press("right", "right")
            assert lines.cursor == 2
            shown = screen_text(pilot.app)
            assert f"3 of {len(ids)}" in shown
            assert f"id {ids[2]}  bytes {mine.token_bytes(ids[2]).hex(' ')}" in shown
            assert here.source.selected_text == mine.token_bytes(ids[2]).decode()
            await pilot.press("down", "up", "end")
            assert lines.cursor == len(ids) - 1
            await pilot.press("home")
            assert lines.cursor == 0
            await pilot.click(Tiles, offset=(3 + int(lines._tiles[0]) + 1, 1))
            assert lines.cursor == 1
            await pilot.hover(Tiles, offset=(3, 1))
            assert lines.under == 0
            assert lines.cursor == 1
            # What the ids show, in three ways; bytes.
            below = screen_text(pilot.app)
            await pilot.press("i")
            assert lines.copy_text() == str(ids)
            await pilot.press("i")
            assert "⏎" in screen_text(pilot.app)
            assert f" {ids[0]} {ids[1]} " not in screen_text(pilot.app)
            await pilot.press("i")
            assert screen_text(pilot.app) == below
            assert lines.copy_text().startswith(f"{ids[0]}\t")
            await pilot.press("b")
            assert mine.token_bytes(ids[1]).hex(" ") in screen_text(pilot.app)
            await pilot.press("b", "m")
            longest = max(range(len(ids)), key=lambda i: len(mine.token_bytes(ids[i])))
            lines.go(longest)
            await pilot.pause()
            tree = here.query_one("#tree", MergePane)
            assert mine.piece(ids[longest]).strip() in tree.copy_text()
            assert "step   merge" in tree.copy_text()

    asyncio.run(go())


def test_a_second_tokenizer_and_a_conversation(mine: Tokenizer, hub: Path, tmp_path: Path) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(120, 30)) as pilot:
            here = await enter(pilot)
            second = await beside(pilot, hub)
            other = Tokenizer.load(hub)
            assert second.made is not None
            assert second.made.ids.tolist() == other.encode(OPENING)
            first = here.sides["first"].lines
            first.focus()
            await pilot.press(*["right"] * 7)
            assert first.made is not None
            assert second.linked == match(first.made, 7, second.made)
            names = "  ".join(f"{other.piece(i).replace(' ', '·')} {i}" for i in second.made.ids[slice(*second.linked)])
            assert names in screen_text(pilot.app)
            await pilot.press("tab", "right")
            assert second.has_focus
            assert first.linked == match(second.made, 1, first.made)
            # A conversation, in the way of each.
            await pilot.press("c")
            await until(pilot, lambda: calm(pilot))
            shown = screen_text(pilot.app)
            assert "<|user|>" in shown
            assert "<|im_start|>" in shown
            assert "trained" in shown
            here.source.text = "system: none"
            await until(pilot, lambda: calm(pilot))
            assert "<|assistant|>" in screen_text(pilot.app)  # where the reply would begin
            here.source.text = ""
            await until(pilot, lambda: calm(pilot))
            assert "begin a line with user:" in first.words
            await pilot.press("c")
            await until(pilot, lambda: calm(pilot))
            assert here.source.text == OPENING
            # A folder without a tokenizer: words, and what was there stays.
            (tmp_path / "empty").mkdir()
            here.open_in("second", [str(tmp_path / "empty")])
            await until(pilot, lambda: calm(pilot))
            assert second.made.ids.tolist() == other.encode(OPENING)
            # The one asked for last is the one that is shown, whichever is ready first.
            here.open_in("second", [str(hub)])
            here.open_in("second", ["mine"])
            await until(pilot, lambda: calm(pilot))
            assert second.book is not None
            assert second.book.model == "mine"
            await pilot.press("x")
            assert not second.display
            here.open_in("second", [str(tmp_path / "empty")])
            await until(pilot, lambda: calm(pilot))
            assert "holds neither tokenizer.json" in second.words

    asyncio.run(go())


def test_the_vocabulary(mine: Tokenizer) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(120, 30)) as pilot:
            here = await enter(pilot)
            await pilot.press("right", "v")
            await until(pilot, lambda: isinstance(pilot.app.screen, VocabularyScreen))
            pieces = pilot.app.screen.query_one(PieceList)
            await until(pilot, lambda: len(pieces.found) == mine.vocab_size)
            assert pieces.token == mine.encode(OPENING)[1]  # where the cursor was
            await pilot.press(*"the")
            await until(pilot, lambda: len(pieces.found) < 40)
            assert all("the" in mine.piece(int(i)) for i in pieces.found)
            await pilot.press("down")
            token = pieces.token
            await pilot.pause()
            assert mine.piece(token).strip() in pilot.app.screen.query_one(MergePane).copy_text()
            await pilot.press("tab", "o")
            await until(pilot, lambda: pieces.order == "length")
            assert pieces.token == token  # the cursor stays with its piece
            await pilot.press("slash")
            pilot.app.screen.query_one(Input).value = "/[/"
            await until(pilot, lambda: "not a regular expression" in screen_text(pilot.app))
            pilot.app.screen.query_one(Input).value = "is:byte"
            await until(pilot, lambda: len(pieces.found) == 256)
            await pilot.press("pagedown", "enter")
            pilot.app.screen.query_one(Input).value = "is:special"
            await until(pilot, lambda: len(pieces.found) == len(mine.special))
            await pilot.press("enter")
            assert isinstance(pilot.app.screen, VocabularyScreen)  # neither is text
            pilot.app.screen.query_one(Input).value = f"#{token}"
            await until(pilot, lambda: len(pieces.found) == 1)
            await pilot.press("enter")
            await until(pilot, lambda: pilot.app.screen is here and calm(pilot))
            assert mine.token_bytes(token).decode() in here.source.text
            assert len(here.source.text) == len(OPENING) + len(mine.token_bytes(token).decode())

    asyncio.run(go())


def test_without_any_tokenizer_it_says_what_to_press(home: Path, tokenizer: Tokenizer) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(80, 24)) as pilot:
            here = await enter(pilot)
            assert "n  trains a model" in screen_text(pilot.app)
            assert "o  opens one" in screen_text(pilot.app)
            await pilot.press("i", "b", "m", "x", "v", "right", "down", "c", "c")
            broken = make_run("broken", steps=3)
            (broken / "tokenizer.json").write_text("{")
            cast(LabApp, pilot.app).look()
            await until(pilot, lambda: here.sides["first"].asked and calm(pilot))
            await pilot.resize_terminal(140, 24)  # the path of the file comes first, and may be long
            await pilot.pause()
            assert "broken JSON" in " ".join(screen_text(pilot.app).split())
            await pilot.resize_terminal(80, 24)
            tokenizer.save(make_run("mine", steps=3))
            cast(LabApp, pilot.app).look()
            await until(pilot, lambda: here.sides["first"].book and calm(pilot))
            assert "mine · 384 pieces" in screen_text(pilot.app)

    asyncio.run(go())


@pytest.mark.slow
def test_every_size_and_theme(mine: Tokenizer, hub: Path) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(40, 12)) as pilot:
            here = await enter(pilot)
            here.open_in("second", [str(hub)])
            await until(pilot, lambda: calm(pilot))
            for width, height, theme in ((40, 12, "ansi-dark"), (80, 24, "ansi-light")):
                pilot.app.theme = theme
                await pilot.resize_terminal(width, height)
                await pilot.press("i", "m", "right", "c")
                await until(pilot, lambda: calm(pilot))
                shown = screen_text(pilot.app)
                assert "5 Tokens" in shown
                assert "─ mine · " in shown
                assert len(shown.splitlines()) <= height
                await pilot.press("v")
                await until(pilot, lambda: isinstance(pilot.app.screen, VocabularyScreen))
                pieces = pilot.app.screen.query_one(PieceList)
                await until(pilot, lambda found=pieces: len(found.found) == mine.vocab_size)
                await pilot.pause()
                assert 0 <= pieces.cursor - pieces.scroll_offset.y < pieces.scrollable_content_region.height - 1
                await pilot.press("down", "escape")

    asyncio.run(go())


@pytest.mark.slow
def test_hostile_text_and_a_long_one(mine: Tokenizer) -> None:
    async def go() -> None:
        async with LabApp().run_test(size=(120, 30)) as pilot:
            here = await enter(pilot)
            lines = here.sides["first"].lines
            hostile = "\x1b[31m\x07\x00\u202eabc\u0301\u0301 [bold]no markup[/] \U0010fffd" + " " * 300 + "\u2581"
            here.source.text = hostile
            await until(pilot, lambda: calm(pilot))
            assert lines.made is not None
            assert lines.made.ids.tolist() == mine.encode(hostile)
            shown = screen_text(pilot.app)
            assert not {"\x1b", "\x07", "\x00"} & set(shown)
            assert "\\x1b" in shown
            for _ in range(12):
                await pilot.press("right")
            rng = random.Random(1)
            long = "\n".join(rng.choices(corpus()[:500], k=1200))[:100_000]
            here.source.text = long
            await until(pilot, lambda: calm(pilot))
            assert len(lines.made) == len(mine.encode(long)) > 20_000
            await pilot.press("end")
            assert lines.scroll_offset.y > 100
            assert f"{len(lines.made):,} of {len(lines.made):,}" in screen_text(pilot.app)
            assert here.source.soft_wrap
            here.source.text = "a" * 20_000  # folding so long a line would make typing slow
            await until(pilot, lambda: calm(pilot))
            assert not here.source.soft_wrap

    asyncio.run(go())
