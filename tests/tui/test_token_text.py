"""Tokens as text: how they are laid out, what growing changes, cursor, folds, clicks, selection, colours."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection

from tests.tui.conftest import screen_text
from tui.data.chats import Token
from tui.theme import THEMES, heat
from tui.widgets.token_lines import HEAD, LEAD, Layout, Row, Wrap, beyond, find, plain, token_at
from tui.widgets.token_text import Note, TokenText


def token(piece: str, kind: str = "text", p: float | None = 0.9, text: str | None = None) -> Token:
    return Token(len(piece), piece, piece if text is None else text, kind, p, -0.1, ((1, piece, 0.6), (2, " x", 0.3)))


def words(text: str, kind: str = "text") -> list[Token]:
    return [token(f" {word}" if i else word, kind) for i, word in enumerate(text.split(" "))]


def special(name: str) -> Token:
    return token(f"<|{name}|>", "special", text="")


SEARCHED = [
    special("think"), *words("I should look this up, I think", "think"), special("/think"), special("search"),
    *words(" Lesotho population", "call"), special("/search"), special("result"),
    *words("about 2.3 million as of 2023", "result"), special("/result"), token("\n\n"), *words("About 2.3 million."),
    special("end"),
]  # fmt: skip


def text_of(row: Row) -> str:
    return row.before + "".join(text for _, text in row.pieces)


# -- rows --------------------------------------------------------------------------------------------------------------

ALPHABET = [
    "a", " b", "cde", " ", "   ", "\n", "\n\n", " longword", "verylongwordwithoutend" * 2, "漢", "字字字", " 🙂", "\t", "", "é",
    "\x1b[2J", ", ", ".",
]  # fmt: skip


def random_tokens(r: random.Random, count: int = 40) -> list[Token]:
    kinds = ["text", "text", "text", "think", "call", "result", "special"]
    found, kind = [], "text"
    for _ in range(count):
        kind = r.choice(kinds) if r.random() < 0.15 else kind
        found.append(special("think") if kind == "special" else token(r.choice(ALPHABET), kind))
    return found


def test_growing_gives_the_same_rows_as_laying_out_at_once() -> None:
    r = random.Random(3)
    for _ in range(150):
        tokens, width = random_tokens(r), r.randrange(4, 40)
        lead = r.choice(["", "Once upon a time", "x\n"])
        marks = r.random() < 0.5
        grown, at = Layout(width, lead, marks), 0
        while at < len(tokens):
            before = list(grown.rows)
            at += r.randrange(1, 6)
            changed = grown.feed(tokens[:at], done=at >= len(tokens))
            assert grown.rows[:changed] == before[:changed]
        whole = Layout(width, lead, marks)
        whole.feed(tokens)
        assert grown.rows == whole.rows
        said = [row for row in whole.rows if not row.pieces or row.pieces[0][0] != HEAD or row.before]
        assert all(cell_len(text_of(row)) <= max(4, width) for row in said)


def test_no_letter_is_lost_and_each_lies_under_its_token() -> None:
    r = random.Random(4)
    for _ in range(150):
        tokens, width = [token(r.choice(ALPHABET)) for _ in range(50)], r.randrange(2, 30)
        layout = Layout(width)
        layout.feed(tokens)
        shown = {i: "" for i in range(len(tokens))}
        for row in layout.rows:
            for number, text in row.pieces:
                shown[number] += text
        for number, one in enumerate(tokens):
            assert shown[number].split() == plain(one.text).split()
        joined = "".join(text_of(row) + row.joint for row in layout.rows)
        assert joined.split() == "".join(plain(t.text) for t in tokens).split()
        for i, row in enumerate(layout.rows):
            cells = [(number, text) for number, text in row.pieces for _ in range(cell_len(text))]
            assert [token_at(row, cell) for cell in range(len(cells))] == [number for number, _ in cells], i
            assert token_at(row, len(cells)) is None


def test_words_stay_whole_where_they_fit() -> None:
    wrap = Wrap(10)
    for i, part in enumerate(["one", " two", "three", " f", "our"]):
        wrap.add(i, part)
    assert ["".join(text for _, text in row) for row in wrap.rows] == ["one ", "twothree ", "four"]
    assert [number for number, _ in wrap.rows[1]] == [1, 2, 3]
    assert wrap.joints == ["", ""]
    hard = Wrap(4)
    hard.add(0, "abcdefghij")
    assert ["".join(text for _, text in row) for row in hard.rows] == ["abcd", "efgh", "ij"]
    assert plain("a\x1b[2J\tb\x07") == "a␛[2J   b␇"
    assert plain("\u202ecba\u202c \u2067x\u2069") == "\ufffdcba\ufffd \ufffdx\ufffd"  # nor turn the row round


def test_thoughts_fold_and_what_a_tool_said_is_marked() -> None:
    layout = Layout(60)
    layout.feed(SEARCHED)
    assert [text_of(row) for row in layout.rows] == [
        "▸ thought for 7 tokens",
        "▌ search: Lesotho population",
        "▾ result, 6 tokens: not written by the model",
        "▌ about 2.3 million as of 2023",
        "About 2.3 million.",
    ]
    folds = {layout.parts[layout.part_of(2)].first: False}
    unfolded = Layout(60, folds=folds)
    unfolded.feed(SEARCHED)
    assert [text_of(row) for row in unfolded.rows[:2]] == ["▾ thought for 7 tokens", "│ I should look this up, I think"]
    # With the signs shown there is a part before the thought; what was unfolded stays so.
    open_ = Layout(60, marks=True, folds=folds)
    open_.feed(SEARCHED)
    assert [text_of(row) for row in open_.rows[:2]] == ["<|think|>", "▾ thought for 7 tokens"]
    coming = Layout(60)
    coming.feed(SEARCHED[:4], done=False)
    assert [text_of(row) for row in coming.rows] == ["▾ thinking, 3 tokens", "│ I should look"]
    long = Layout(20)
    long.feed([token("word ", "result")] * 60)
    assert len(long.rows) == 1  # long results are folded by themselves
    assert layout.part_of(0) == 0
    assert layout.parts[layout.part_of(11)].kind == "call"


def test_above_and_below() -> None:
    layout = Layout(10, lead="ab ")
    layout.feed(words("one two three four five six"))
    below = beyond(layout.rows, 0, 1)
    assert below is not None
    where, start = find(layout.rows, below), find(layout.rows, 0)
    assert where is not None
    assert start is not None
    assert where.row == start.row + 1
    assert beyond(layout.rows, below, -1) is not None
    assert beyond(layout.rows, 5, 1) is None
    assert beyond(layout.rows, 99, 1) is None
    assert find(layout.rows, 99) is None
    assert layout.rows[0].pieces[0] == (LEAD, "ab")


# -- the widget --------------------------------------------------------------------------------------------------------


class Host(App[None]):
    """One text, and what it told."""

    def __init__(self, text: TokenText):
        super().__init__()
        self.text, self.told = text, list[Any]()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "lab-dark"

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self.text

    def on_token_text_looked(self, message: TokenText.Looked) -> None:
        self.told.append(message.place)

    def on_token_text_clicked(self, message: TokenText.Clicked) -> None:
        self.told.append(message.action)


def drive(
    text: TokenText, go: Callable[[Pilot[None], Host], Coroutine[Any, Any, None]], size: tuple[int, int] = (40, 12)
) -> None:
    async def main() -> None:
        app = Host(text)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await go(pilot, app)

    asyncio.run(main())


def test_a_reply_grows_and_only_its_last_rows_are_drawn_again() -> None:
    tokens = list[Token]()
    drawn: list[str] = []

    class Counted(TokenText):
        def _row(self, row: Row, base: Style) -> list[Segment]:
            drawn.append(text_of(row))
            return super()._row(row, base)

    text = Counted()

    async def go(pilot: Pilot[None], app: Host) -> None:
        for i in range(120):
            tokens.append(token(f" w{i}", p=(i % 10) / 10))
            text.show(tokens, "lead", [Note(f"{i} tokens")], done=i == 119)
            if i % 10 == 0:
                await pilot.pause()
        await pilot.pause()
        assert text._layout is not None
        assert text.size.height == len(text._layout.rows) + 1
        shown = screen_text(app)
        assert "w60" in shown
        assert "119 tokens" in "".join(s.text for s in text.render_line(len(text._layout.rows)))
        assert all(drawn.count(0) <= 3 for _ in (0,)), drawn.count(
            0
        )  # the first row was drawn when it changed, no more
        fresh = Layout(text.content_size.width, "lead")
        fresh.feed(tokens)
        assert fresh.rows == text._layout.rows
        text.room = 5
        tokens.append(token(" more"))
        text.show(tokens, "lead", done=False)
        await pilot.pause()
        assert text.size.height % 5 == 0  # room while it comes
        text.show(tokens, "lead", done=True)
        await pilot.pause()
        assert text.size.height == len(text._layout.rows)

    drive(text, go, (60, 30))


def test_the_cursor_walks_over_tokens_and_tells_where_it_is() -> None:
    text, tokens = TokenText(), words("one two three four five six seven eight nine ten eleven twelve")
    tokens[3] = tokens[3]._replace(p=0.01)

    async def go(pilot: Pilot[None], app: Host) -> None:
        text.show(tokens)
        text.focus()
        await pilot.press("down")
        assert text.place is None  # no cursor yet: not ours
        app.told.clear()
        await pilot.press("left", "left")
        assert text.place == 10
        await pilot.press("shift+left")
        assert text.place == 3
        await pilot.press("shift+right")
        assert text.place == 3  # no other surprise
        await pilot.press("right", "down")
        assert text.place is not None
        assert text.place > 4
        await pilot.press("up")
        assert text.place is not None
        assert text.place < 6
        await pilot.press("up")
        assert text.place is None  # out at the top
        await pilot.press("left", "escape")
        assert text.place is None
        await pilot.pause()
        assert app.told[:3] == [11, 10, 3], app.told
        assert app.told[-1] is None
        await pilot.click(text, offset=(5, 0))
        assert text.place == 1
        text.coloured = True
        await pilot.hover(text, offset=(1, 0))
        await pilot.pause()
        assert app.told[-1] == 0
        await pilot.hover(VerticalScroll, offset=(5, 10))
        await pilot.pause()
        assert app.told[-1] == 1  # back to the cursor's

    drive(text, go)


def test_folds_notes_and_selected_text() -> None:
    text = TokenText()

    async def go(pilot: Pilot[None], app: Host) -> None:
        notes = [Note("‹", "action", "prev"), Note("1/2"), Note("›", "action", "next"), Note(" " + "long words " * 6)]
        text.show(SEARCHED, notes=notes)
        await pilot.pause()
        assert screen_text(app).startswith("▸ thought for 7 tokens\n▌ search: Lesotho population\n")
        await pilot.click(text, offset=(1, 0))
        await pilot.pause()
        assert screen_text(app).startswith("▾ thought for 7 tokens\n│ I should look this up, I think\n▌ search")
        text.focus()
        await pilot.press("space")  # nothing is folded: all fold
        assert screen_text(app).startswith("▸ thought for 7 tokens\n▌ search: Lesotho population\n▸ result, 6 tokens")
        await pilot.press("space")
        await pilot.pause()
        assert "about 2.3 million as of 2023" in screen_text(app)
        assert text._layout is not None
        below = len(text._layout.rows)
        assert len(text._below) > 1
        await pilot.click(text, offset=(0, below))
        await pilot.click(text, offset=(4, below))
        await pilot.click(text, offset=(2, below))
        await pilot.pause()
        assert [told for told in app.told if isinstance(told, str)] == ["prev", "next"]
        text.go(2)  # into the thought
        assert text.place == 2
        whole = text.get_selection(Selection(None, None))
        assert whole is not None
        assert "I should look this up, I think" in whole[0]
        assert "search:" not in whole[0]
        assert "▌" not in whole[0]
        text.show(words("one two three four five six seven eight nine"), notes=())
        await pilot.pause()
        assert text._layout is not None
        assert [text_of(row) for row in text._layout.rows] == ["one two three four five six seven eight ", "nine"]
        assert text.get_selection(Selection(Offset(4, 0), Offset(2, 1))) == (
            "two three four five six seven eight ni",
            "\n",
        )
        assert text.copy_text() == "one two three four five six seven eight nine"

    drive(text, go)


@pytest.mark.parametrize("theme", ["lab-dark", "lab-light", "ansi-dark", "nord"])
def test_colours_are_those_of_the_theme(theme: str) -> None:
    text = TokenText()

    async def go(pilot: Pilot[None], app: Host) -> None:
        app.theme = theme
        text.show([token("sure", p=1.0), token(" not", p=0.0), token("<|end|>", "special", 0.5, "")])
        text.coloured = True
        await pilot.pause()
        strip = text.render_line(0)
        grounds = {s.text: s.style.bgcolor.name if s.style and s.style.bgcolor else "" for s in strip}
        assert grounds["sure"] == heat(1.0, app).lower()
        assert grounds[" not"] == heat(0.0, app).lower()
        assert "<|end|>" in grounds  # special tokens are to be seen among probabilities
        text.coloured = False
        await pilot.pause()
        assert "<|end|>" not in screen_text(app)

    drive(text, go)


def test_nothing_and_the_smallest_place() -> None:
    text = TokenText()

    async def go(pilot: Pilot[None], app: Host) -> None:
        await pilot.press("left", "space")
        text.show([], "漢字漢字漢字漢字漢字")
        await pilot.pause()
        await pilot.resize_terminal(4, 3)
        await pilot.pause()
        text.show(SEARCHED)
        await pilot.pause()
        await pilot.resize_terminal(1, 1)
        await pilot.pause()

    drive(text, go)
