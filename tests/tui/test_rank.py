"""Ranking by a person: letters to an order, the session with its child process and its file, and the screen."""

import asyncio
import json
import os
import queue
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from lab import weights
from lab.errors import UserError
from lab.rankings import Ranking, Writer, read_file
from lab.reward import RewardModel, Scorer
from recipes.ranking import Source, prompts
from tests.conftest import REPO
from tests.tui.conftest import Terminal, screen_text
from tests.tui.test_terminal import gone, pid_of
from tui.app import LabApp
from tui.data import rank, rank_words
from tui.data.rank import Session
from tui.data.rank_hand import Hand, hand_of, same, scored
from tui.data.rank_setup import Setup, check, kept
from tui.screens.rank import RankScreen
from tui.widgets.rank_cards import Replies, Reply

FIVE = ["one", "two", "three", "four", "five"]
TYPED = {
    "model": "pocket-sft", "data": "", "out": "", "prompts": "1000", "samples": "5", "temp": "1", "max_tokens": "128",
    "seed": "0", "reward": "",
}  # fmt: skip


def hand(signs: str = "", options: list[str] = FIVE) -> Hand:
    """A hand into which letters and = were typed, < being backspace."""
    made = Hand("Say it.", list(options))
    for sign in signs.replace(" ", ""):
        if sign in "=<":
            made.tie() if sign == "=" else made.back()
        else:
            made.place("abcdefghi".index(sign))
    return made


def ranking(letters: str, **more: Any) -> Ranking:
    made = hand(letters)
    return Ranking("Say it.", list(FIVE), made.placed, made.ties, **more)


# -- letters -----------------------------------------------------------------------------------------------------------


def test_letters_ties_and_what_is_taken_back() -> None:
    made = hand("b d a=c")
    assert (made.placed, made.ties, made.missing) == ([1, 3, 0, 2], [[0, 2]], [4])
    assert [rank_words.place_of(made, i) for i in range(5)] == ["3rd =", "1st", "3rd =", "2nd", ""]
    assert rank_words.typed(made) == "b d a=c"
    made.finish()  # the last one left is the worst
    assert made.placed == [1, 3, 0, 2, 4]
    assert rank_words.typed(hand("b d=")) == "b d="
    assert hand("b d=<").placed == [1, 3]
    assert hand("b d=a<").groups == [[1], [3]]
    assert hand("b d=a d").groups == [[1], [0]]  # the same letter again takes it out
    assert not hand().back()
    tied = hand("e d c b=")
    tied.finish()
    assert tied.groups == [[4], [3], [2], [1, 0]]


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="still to place, best first: b c d"):
        hand("a e").finish()
    with pytest.raises(ValueError, match="two letters that are equally good"):
        hand("=")
    with pytest.raises(ValueError, match="f is no option; letters are a b c d e"):
        hand("f")


def test_any_order_comes_back_to_the_table_as_it_was_placed() -> None:
    r = random.Random(3)
    for _ in range(200):
        made = hand()
        for option in r.sample(range(5), 5):
            if made.groups and r.random() < 0.4:
                made.tie()
            made.place(option)
        one = Ranking("Say it.", FIVE, made.placed, made.ties)
        assert hand_of(one).groups == made.groups
        tied = sum(len(group) * (len(group) - 1) // 2 for group in made.groups)
        assert len(one.pairs) == 10 - tied
    made.alike()
    assert not Ranking("Say it.", FIVE, made.placed, made.ties).pairs


def test_agreement_of_two_rankings_and_of_scores() -> None:
    one = ranking("a b c d e")
    assert same(one, ranking("a b c d e")) == (10, 10)
    assert same(one, ranking("e d c b a")) == (0, 10)
    assert same(one, ranking("a b=c d e")) == (9.5, 10)
    other = Ranking("Say it.", FIVE[::-1], [4, 3, 2, 1, 0])  # the same order, shown in another one
    assert same(one, other) == (10, 10)
    assert scored(one, [5, 4, 3, 2, 1]) == (10, 10)
    assert scored(one, [5, 4, 3, 1, 2]) == (9, 10)
    assert scored(ranking("a=b c d e"), [1, 2, 0, 0, 0]) == (6 + 1.5, 9)


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("samples", "1", "replies to each: give a whole number from 2 to 9"),
        ("temp", "0", "temperature: above 0"),
        ("temp", "warm", "temperature: above 0"),
        ("prompts", "many", "prompts: give a whole number"),
        ("model", " ", "model: name one"),
        ("data", "nowhere.jsonl", "no file or folder nowhere.jsonl"),
        ("out", "/no/such/r.jsonl", "no folder /no/such"),
    ],
)
def test_a_setup_is_checked_as_it_is_typed(name: str, typed: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check(TYPED | {name: typed})


def test_a_setup_as_it_is_typed() -> None:
    assert check(TYPED) == Setup("pocket-sft")
    assert check(TYPED | {"temp": ".5", "samples": "3"}) == Setup("pocket-sft", samples=3, temp=0.5)


# -- the session -------------------------------------------------------------------------------------------------------


class Table:
    """A session with its real child, and what it says."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.session = Session(self.events.put)

    def until(self, true: Callable[[Session], object], seconds: float = 30) -> Session:
        end = time.monotonic() + seconds
        while not true(self.session):
            assert self.session.state != "failed", self.session.trouble
            self.session.heard(self.events.get(timeout=max(0.01, end - time.monotonic())))
        return self.session

    def begin(self, setup: Setup, judge: tuple[str, float] | None = None) -> Session:
        self.session.begin(setup, judge)
        return self.until(lambda s: s.now or s.state == "failed" or s.over)

    def rank(self, letters: str) -> Ranking:
        """Rank what is on the table."""
        session = self.until(lambda s: s.now)
        assert session.now
        for sign in letters.replace(" ", ""):
            session.now.tie() if sign == "=" else session.now.place("abcdefghi".index(sign))
        return session.save()


@pytest.fixture
def small(home: Path) -> Path:
    (home / "pocket-sft").symlink_to(REPO / "weights" / "pocket-sft")
    return home


@pytest.fixture
def table(small: Path) -> Iterator[Table]:
    made = Table()
    yield made
    made.session.end()


def test_a_session_deals_what_lab_rank_shows_and_goes_on_after_a_kill(table: Table, small: Path) -> None:
    file, setup = small / "rankings.jsonl", Setup("pocket-sft", prompts=8, seed=4)
    session = table.begin(setup)
    first = table.rank("b d a=c e")
    table.until(lambda s: s.now).skip()
    third = table.rank("e d c b a")
    source = Source(weights.load("pocket-sft"), 5, 1.0, 128, 4)
    asked = prompts(source.model, None, 8, 4)
    assert [one.prompt for one in session.mine] == [one.prompt for one in asked[:3]]
    assert [one.options for one in session.mine] == source.drawn(asked[:3])
    counts = session.counts()
    assert (counts.ranked, counts.pairs, counts.skipped, counts.left, counts.of) == (2, 19, 1, 5, 8)
    session.undo()  # as it was placed, to be mended
    assert session.now
    assert rank_words.typed(session.now) == "e d c b a"
    session.back()
    table.rank("a")
    assert read_file(file)[-1].order == third.order
    assert len(file.read_text().splitlines()) == 5
    session.end()
    with open(file, "a") as torn:
        torn.write('{"id": "killed in the mid')
    again = Table()
    session = again.begin(setup)
    assert session.mine[0].id == first.id
    assert session.now
    assert session.now.prompt == asked[3].prompt
    for _ in range(3):
        session.undo()  # also what was ranked before
    with pytest.raises(ValueError, match="no ranking of yours"):
        session.undo()
    assert session.now.options == first.options
    assert (session.now.placed, session.now.ties) == (first.order, first.ties)
    session.end()
    assert read_file(file) == []
    assert kept() == setup


def test_it_ends_where_all_are_ranked(table: Table, small: Path) -> None:
    session = table.begin(Setup("pocket-sft", prompts=2, samples=3))
    for _ in range(2):
        table.rank("a b")
    table.until(lambda s: s.over)
    assert session.now is None
    assert session.counts().left == 0
    with pytest.raises(ValueError, match="no prompt is on the table"):
        session.skip()
    session.undo()
    assert session.now


def test_every_tenth_time_an_earlier_prompt_comes_again(
    table: Table, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank, "EVERY", 6)
    session = table.begin(Setup("pocket-sft", prompts=9, samples=3))
    for _ in range(6):
        table.rank("a b c")
    assert session.now
    assert session.now.repeat == session.mine[0].id
    told = session.mine[0].options
    assert sorted(session.now.options) == sorted(told)
    assert session.now.options != told
    letters = ["abc"[session.now.options.index(text)] for text in told]
    one = table.rank(f"{letters[0]} {letters[2]} {letters[1]}")  # another order than then: one of three pairs differs
    assert one.repeat == session.mine[0].id
    counts = session.counts()
    assert (counts.repeat, counts.ranked, counts.left) == ((2.0, 3), 6, 3)
    assert "2 of 3 pairs" in "".join(text for text, _ in rank_words.lines(session, counts, True, 120)[3])
    now = table.until(lambda s: s.now).now
    assert now is not None
    assert not now.repeat
    session.undo()
    assert session.now.repeat == session.mine[0].id
    assert session.counts().repeat == (0, 0)


def test_two_labs_do_not_rank_into_one_file(table: Table, small: Path) -> None:
    with Writer(small / "rankings.jsonl"):
        table.session.begin(Setup("pocket-sft"), None)
    assert (table.session.state, "another lab ranks into this file" in table.session.trouble) == ("failed", True)
    session = table.begin(Setup("pocket-sft", samples=2, prompts=9))
    session.release()  # another room is shown
    asked = session.now
    assert asked
    with Writer(small / "rankings.jsonl") as other:
        with pytest.raises(UserError, match="another lab"):
            session.resume()
        ranked = Ranking(asked.prompt, asked.options, [0, 1], id="x", by="person", model="pocket-sft")
        other.append([json.loads(json.dumps(rank.row_of(ranked)))])
    session.resume()
    table.until(lambda s: s.now)
    assert session.now
    assert session.now.prompt != asked.prompt  # was ranked elsewhere meanwhile
    assert session.counts().ranked == 1


def test_what_is_wrong_with_a_model_is_one_line(table: Table, small: Path) -> None:
    table.session.begin(Setup("nobody"), None)
    with pytest.raises(AssertionError):
        table.until(lambda s: s.now)
    assert "nobody" in table.session.trouble
    assert "\n" not in table.session.trouble
    Writer(small / "rankings.jsonl").close()  # is free again


def reward_model(root: Path, name: str = "taste") -> RewardModel:
    """A reward model that was never trained."""
    model = weights.load("pocket-sft")
    made = RewardModel(model, [Scorer(model.network, 3)])
    folder = root / name
    folder.mkdir()
    for file in (root / "pocket-sft").iterdir():
        if file.is_file() and file.name not in ("run.json", "status.json"):
            (folder / file.name).symlink_to(file)
    made.save_heads(folder)
    return made


def test_a_reward_model_is_compared_on_pairs_it_never_saw(table: Table, small: Path) -> None:
    rm = reward_model(small)
    session = table.begin(Setup("pocket-sft", samples=3, prompts=30), ("taste", time.time() + 60))
    for _ in range(3):
        table.rank("a b c")
    table.until(lambda s: len(s.scores) == 3)
    one = session.mine[0]
    told = rm.scores([rm.encode(one.prompt, option) for option in one.options])
    assert session.scores[one.id] == pytest.approx(told, abs=1e-3)
    held = [one for one in session.mine if session.unseen(one)]
    expected = [scored(one, session.scores[one.id]) for one in held]
    assert session.counts().judge == (sum(r for r, _ in expected), sum(n for _, n in expected))
    session.judge_by("taste", time.time() - 3600)  # made before: it has seen none of these
    table.until(lambda s: len(s.scores) == 3)
    right, of = session.counts().judge
    assert of == 9
    assert right == sum(scored(one, session.scores[one.id])[0] for one in session.mine)
    assert "of 9 unseen pairs" in "".join(t for t, _ in rank_words.lines(session, session.counts(), True, 120)[2])


# -- the screen --------------------------------------------------------------------------------------------------------


def drive(go: Callable[[Pilot[None], LabApp], Any], size: tuple[int, int] = (150, 42)) -> None:
    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.press("6")
            await pilot.pause()
            await go(pilot, app)

    asyncio.run(main())


async def shows(pilot: Pilot[None], app: LabApp, *words: str, seconds: float = 30) -> str:
    end = time.monotonic() + seconds
    while not all(word in " ".join((text := screen_text(app)).split()) for word in words):
        assert time.monotonic() < end, f"no {words}:\n{text}"
        await pilot.pause(0.05)
    return text


def test_without_a_model_it_says_what_to_do(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await shows(pilot, app, "Nothing to rank yet", "press n")

    drive(go)


def test_ranking_by_keys_and_mouse(small: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await shows(pilot, app, "pocket-sft", "jokes of the pocket world", "a new file", "enter begins")
        await pilot.press("enter")
        await shows(pilot, app, "prompt 1 of 1,000", "press the letter of the best reply")
        screen = app.screen
        assert isinstance(screen, RankScreen)
        shown = screen.query_one(Replies)
        assert shown.hand is not None
        options = list(shown.hand.options)
        await pilot.press("b", "equals_sign", "d", "a")
        await shows(pilot, app, "b 1st =", "d 1st =", "a 3rd", "placed b=d a")
        await pilot.press("enter")
        await shows(pilot, app, "still to place, best first: c e")
        await pilot.click(list(screen.query(Reply))[4])
        await shows(pilot, app, "e 4th", "c is left: enter keeps it last")
        await pilot.press("enter")
        await shows(pilot, app, "prompt 2 of 1,000", "last b=d a e c", "pairs 9")
        kept_ = read_file(small / "rankings.jsonl")
        assert [(one.options, one.order, one.ties) for one in kept_] == [(options, [1, 3, 0, 4, 2], [[1, 3]])]
        await pilot.press("s")
        await shows(pilot, app, "prompt 3 of 1,000", "skipped 1")
        await pilot.press("u", "u")
        await shows(pilot, app, "prompt 1 of 1,000", "placed b=d a e c")
        assert read_file(small / "rankings.jsonl") == []
        await pilot.press("backspace", "backspace", "down", "down", "down", "space", "x")
        await shows(pilot, app, "a 1st =", "e 1st =")
        await pilot.press("enter")
        await shows(pilot, app, "prompt 2 of 1,000", "pairs 0")
        assert isinstance(app.screen, RankScreen)
        await pilot.press("5")  # another room: the file is free
        await pilot.pause()
        Writer(small / "rankings.jsonl").close()
        await pilot.press("escape", "6")
        await shows(pilot, app, "prompt 2 of 1,000")

    drive(go)
    assert len((small / "rankings.jsonl").read_text().splitlines()) == 5


def test_a_small_terminal_shows_all_of_it(small: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("enter")
        await shows(pilot, app, "prompt 1 of", "drawn ahead 5")
        await pilot.press("c")
        text = await shows(pilot, app, "c 1st")
        replies = app.screen.query_one(Replies)
        assert replies.hand
        for option in replies.hand.options:
            assert " ".join(option.split()[:4]) in text
        assert replies.max_scroll_y == 0
        await pilot.press("v", "v")
        await shows(pilot, app, "side by side")
        assert replies.has_class("-beside")
        await pilot.resize_terminal(150, 42)
        await pilot.press("v")
        await shows(pilot, app, "as it fits")
        assert not replies.has_class("-beside")

    drive(go, (80, 24))


def test_the_form_begins_with_other_prompts(small: Path, tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text('{"prompt": "Name a bird."}\n{"prompt": "Name a fish."}\n{"text": "no prompt"}\n')

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("p")
        await shows(pilot, app, "What is ranked")
        field = app.screen.query_one("#data")
        field.value = str(tmp_path / "none.jsonl")  # type: ignore[attr-defined]
        await shows(pilot, app, "no file or folder")
        field.value = str(file)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await shows(pilot, app, "prompt 1 of 2", "Name a")
        assert any("left out 1 rows" in one.message for one in app._notifications)
        await pilot.press("s")
        await shows(pilot, app, "prompt 2 of 2")
        await pilot.press("s")
        await shows(pilot, app, "All prompts are ranked")

    drive(go)


# -- a real terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_ranking_session_in_a_terminal_that_is_killed(terminal: Callable[..., Terminal], small: Path) -> None:
    """Rank, undo, tie and skip by keys; kill -9; the file is whole, and the next window and `lab rank` go on."""
    file = small / "rankings.jsonl"
    shell = terminal(100, 30)
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("6")
    shell.until("enter begins")
    shell.keys("Enter")
    shell.until("prompt 1 of 1,000")
    shell.keys("b", "d", "=", "a", "c", "Enter")
    shell.until("prompt 2 of 1,000")
    shell.keys("u")
    shell.until("placed +b d=a c e")
    shell.keys("Enter")
    shell.until("prompt 2 of 1,000")
    shell.keys("s")
    shell.until("prompt 3 of 1,000")
    shell.keys("e", "a")
    shell.until("placed +e a")
    os.kill(pid_of(small, "-m tui"), signal.SIGKILL)
    shell.until(r"ready\$ *$")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row.get("order") for row in rows] == [[1, 3, 0, 2, 4], None, [1, 3, 0, 2, 4], []]
    assert (rows[2]["ties"], rows[1]["undo"]) == ([[3, 0]], rows[0]["id"])
    assert [one.order for one in read_file(file)] == [[1, 3, 0, 2, 4], []]
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("6")
    shell.until("1 ranking by you, 9 pairs: it goes on")
    shell.keys("Enter")
    shell.until("prompt 3 of 1,000")
    shell.keys("q")
    shell.until(r"ready\$ *$")
    gone(small)
    shell.lab("rank")
    shell.until(r"\[1 of 1,000 ranked, 9 pairs")
    shell.keys("C-d")
    shell.until("rankings 1, pairs 9")
