"""Thoughts in Chat: seen while they are written, folded when they are over, closed when their budget is spent."""

from textual.pilot import Pilot
from textual.widgets import Input

from tests.callers import counts
from tests.tui.conftest import screen_text
from tests.tui.test_chat import chat, quiet, say, until
from tests.tui.test_chat_tools import stretches, talk, tuned
from tests.tui.test_chats import hear
from tests.tui.test_token_text import SEARCHED, special, text_of, token, words
from tui.data import draws
from tui.data.draws import Draw
from tui.data.talk import Talk
from tui.screens.chat import ChatScreen
from tui.screens.sampling import SamplingScreen
from tui.widgets.token_lines import LIVE, Layout

__all__ = ["talk", "tuned"]  # fixtures
LONG = [special("think"), *words("one two three four five six seven eight nine ten " * 3, "think")]


def rows(layout: Layout) -> list[str]:
    return [text_of(row).rstrip() for row in layout.rows]


def test_of_a_thought_that_comes_the_end_is_shown_and_then_its_headline() -> None:
    layout = Layout(12)
    for count in range(2, len(LONG) + 1):
        layout.feed(LONG[:count], done=False)
        assert rows(layout)[0] == f"▾ thinking, {count - 1} token{'s' if count > 2 else ''}"
        assert len(layout.rows) <= 1 + LIVE
        assert text_of(layout.rows[-1]).rstrip().endswith(LONG[count - 1].text.strip())
    whole = Layout(12)
    whole.feed(LONG, done=False)
    assert rows(whole) == rows(layout)
    layout.feed([*LONG, special("/think"), token("So: 3.")], done=False)
    assert rows(layout) == [f"▸ thought for {len(LONG) - 1} tokens", "So: 3."]


def test_what_a_person_unfolds_stays_whole() -> None:
    first = 1  # the token after the mark
    open_ = Layout(12, folds={first: False})
    open_.feed(LONG, done=False)
    assert len(open_.rows) > 1 + LIVE
    before = rows(open_)
    open_.feed([*LONG, special("/think"), token("So: 3.")])
    assert rows(open_)[1:-1] == before[1:]
    shut = Layout(12, folds={first: True})
    shut.feed(LONG, done=False)
    assert rows(shut) == [f"▸ thinking, {len(LONG) - 1} tokens"]


def test_a_thought_that_was_closed_says_so() -> None:
    layout = Layout(60)
    closed = special("/think")._replace(forced=True)
    layout.feed([*LONG[:5], closed, token("So: 3.")])
    assert rows(layout) == ["▸ thought for 4 tokens, then its budget was spent", "So: 3."]
    asked = Layout(60)
    asked.feed(SEARCHED)  # the mark of a result is put in too, and closes no thought
    assert rows(asked)[0] == "▸ thought for 7 tokens"


def test_the_settings_of_a_budget() -> None:
    assert Draw(think_budget=32).tools() == {"think": 32}
    assert Draw(think_budget=32, code=True).tools() == {"search": None, "code": True, "think": 32}
    assert "think_budget" not in Draw(think_budget=32).sampling()
    assert "thinks 32 at most" in Draw(think_budget=32).brief()
    assert draws.check("think_budget", " ") is None
    assert draws.check("think_budget", "1,024") == 1024
    assert draws.read(draws.as_dict(Draw(think_budget=7))) == Draw(think_budget=7)
    assert draws.read({"think_budget": 0}) == Draw()


def test_the_model_process_closes_it(talk: Talk) -> None:
    talk.draw = Draw(temp=0.0, max_tokens=60, code=True)
    talk.load("a", "caller")
    talk.send(counts("kettle"))
    hear(talk)
    tree = talk.tree("a")
    assert stretches(tree.nodes[1])[0] == ("think", "I count.")
    thought = [t.kind for t in tree.nodes[1].tokens].count("think")
    talk.set_draw(Draw(temp=0.0, max_tokens=60, code=True, think_budget=thought - 1))
    talk.regenerate("a", 1)
    hear(talk)
    node = tree.nodes[2]
    at = next(i for i, t in enumerate(node.tokens) if t.forced)
    assert [t.kind for t in node.tokens[:at]].count("think") == thought - 1
    assert node.tokens[at].id == next(t.id for t in tree.nodes[1].tokens[2:] if t.kind == "special")
    # A reply that is cut off and goes on still knows who closed its thought.
    talk._reply(talk.sides["a"], 0, talk.draw, tokens=node.tokens[: at + 2])
    hear(talk)
    assert [(t.id, t.forced) for t in tree.nodes[3].tokens] == [(t.id, t.forced) for t in node.tokens]
    # One that is larger than the thought is never spent.
    talk.set_draw(Draw(temp=0.0, max_tokens=60, code=True, think_budget=thought + 1))
    talk.regenerate("a", 1)
    hear(talk)
    assert [t.id for t in tree.nodes[4].tokens] == [t.id for t in tree.nodes[1].tokens]


def test_a_budget_from_the_dialog(tuned: object) -> None:
    async def go(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(screen.app.screen, SamplingScreen))
        field = screen.app.screen.query_one("#think_budget", Input)
        field.value = "none"
        await pilot.pause()
        assert "think budget: 1 or more, or empty" in screen_text(screen.app)
        field.value = "1"
        await pilot.press("ctrl+g")
        await until(pilot, lambda: screen.app.screen is screen)
        assert screen.talk.draw.think_budget == 1
        assert "thinks 1 at most" in screen_text(screen.app)
        await say(pilot, screen, counts("kettle"))
        await quiet(pilot, screen)
        shown = screen_text(screen.app)
        assert "▸ thought for 1 token, then its budget was spent" in shown
        # What is unfolded stays so in other colours, and when another branch was shown meanwhile.
        screen.columns[0].saids[-1].focus()
        await pilot.press("space")
        await pilot.pause()
        assert "▾ thought for 1 token" in screen_text(screen.app)
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert "▾ thought for 1 token" in screen_text(screen.app)
        await pilot.press("ctrl+t", "ctrl+r")
        await quiet(pilot, screen)
        assert "▸ thought for 1 token" in screen_text(screen.app)
        screen.set_focus(None)
        screen.action_branch(-1)
        await until(pilot, lambda: "▾ thought for 1 token" in screen_text(screen.app))

    chat(go, temp=0.0, max_tokens=60)
