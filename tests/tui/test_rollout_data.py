"""Rows of episodes as the window reads them: figures, tokens, order, filter, where else a prompt was asked, games."""

import json
import math
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import episodes
from lab.parts import Message, Part
from lab.rollout import episode_row
from lab.runs import inspect
from lab.tokenizer import Tokenizer
from recipes.tasks import load_task
from tests.tui import rollouts_real
from tests.tui.conftest import make_run
from tui.data import rollouts
from tui.data.rollout_chat import handed, model_at
from tui.data.rollout_rows import HEATS, Game, Told, brief, game_of, told, warmth
from tui.data.rollout_words import (
    details,
    ends,
    figure,
    group_head,
    group_row,
    length,
    stats_lines,
    title,
    token_lines,
)
from tui.data.rollouts import ORDERS, Place, Shelf


@pytest.fixture
def real(recorded: Path, home: Path) -> Path:
    """A run with sampled replies, whose tools answered."""
    return shutil.copytree(recorded / "grpo-1", home / "grpo-1")


def tokens_of(folder: Path, step: int, group: int = 0) -> list[Told]:
    found, book = rollouts.load(folder, step), Tokenizer.load(folder)
    return [told(one, row, book) for one, row in rollouts.rows(found, found.groups[group].rows)]


def test_the_parts_of_every_reply_sum_to_its_reward(real: Path) -> None:
    for number in (1, 2, 3):
        step = rollouts.load(real, number)
        rows = [row for group in step.groups for row in group.rows]
        assert len(rows) == 24
        assert all(math.isclose(sum(row.parts.values()), row.reward or 0.0, abs_tol=1e-9) for row in rows)
        assert step.stats.off == 0
        assert all(math.isclose(sum(row.advantage for row in group.rows), 0, abs_tol=1e-5) for group in step.groups)
    path = episodes.path_of(real, 3)
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    row["parts"]["correct"] += 0.5
    path.write_text("\n".join([json.dumps(row), *others]) + "\n")
    step = rollouts.load(real, 3)
    assert step.stats.off == 1
    assert step.groups[0].rows[0].off == pytest.approx(0.5)
    assert "parts sum to" in "".join(text for text, _ in details(told(step.groups[0].rows[0], row, None)))


def test_tokens_are_those_of_the_file_and_spell_its_text(real: Path) -> None:
    put_in = 0
    for group in range(6):
        for one in tokens_of(real, 2, group):
            assert [t.id for t in one.tokens] == one.row["ids"]
            assert "".join(t.text for t in one.tokens) == one.row["text"]
            assert [not t.forced for t in one.tokens] == [bool(d) for d in one.row["drawn"]]
            for i, token in enumerate(one.tokens):
                put_in += token.forced
                if token.forced:
                    assert token.logp is None
                    assert one.kinds[i] == "result"
                    assert one.difference(i) is None
                    assert warmth(one, HEATS[3], 1.0)[i] is None
                else:
                    assert token.p == pytest.approx(math.exp(one.row["logp"][i]), abs=1e-6)
                    assert one.difference(i) == pytest.approx(0.25, abs=1e-3)  # as the reference was made
            assert one.brief.drawn == sum(one.row["drawn"])
            known = [p for p, mine in zip(one.row["logp"], one.row["drawn"], strict=True) if mine]
            assert one.brief.surprise == pytest.approx(-sum(known) / len(known))
            assert one.brief.kl == pytest.approx(0.25, abs=1e-3)
    assert put_in > 10  # some of the replies called a tool


def test_colours_are_of_probability_difference_and_advantage(real: Path) -> None:
    step = rollouts.load(real, 2)
    scale = rollouts.scale(step.groups[0].rows)
    for one in tokens_of(real, 2):
        assert warmth(one, "", scale) == [None] * len(one.tokens)
        assert warmth(one, HEATS[1], scale) == [t.p for t in one.tokens]
        gaps = [g for g in warmth(one, HEATS[2], scale) if g is not None]
        assert gaps == pytest.approx([math.tanh(0.25)] * len(gaps), abs=1e-3)
        trained = {w for w in warmth(one, HEATS[3], scale) if w is not None}
        assert trained == {one.brief.advantage / scale}
        assert -1 <= trained.pop() <= 1


def test_a_tokenizer_that_does_not_fit_shows_no_tokens(real: Path, tokenizer: Tokenizer) -> None:
    step = rollouts.load(real, 1)
    one, row = rollouts.rows(step, step.groups[0].rows[:1])[0]
    wrong = told(one, row, tokenizer)
    assert wrong.tokens == []
    assert "does not spell" in wrong.why
    assert "does not spell" in token_lines(wrong, None)[0][0][0]


def test_figures_of_groups_and_of_the_step(home: Path, tokenizer: Tokenizer) -> None:
    folder = rollouts_real.picture(tokenizer)
    fruit, capital, sums = rollouts.load(folder, 10).groups
    assert (fruit.right, len(fruit.rows), fruit.mean) == (2, 4, pytest.approx(0.475))
    assert fruit.spread == pytest.approx(0.4763, abs=1e-3)
    assert fruit.calls == 0.25
    assert [group.flat for group in (fruit, capital, sums)] == [False, True, True]
    found = rollouts.load(folder, 10).stats
    assert (found.groups, found.rows, found.flat, found.all_right, found.all_wrong) == (3, 12, 2, 1, 1)
    assert found.right == 0.5
    assert found.cut == pytest.approx(1 / 12)
    assert found.figures["correct"] == 0.5
    assert found.reward == pytest.approx(found.figures["correct"] + found.figures["price"])
    for width in (20, 34, 44, 80, 150):
        for group in (fruit, capital, sums):
            assert length(group_row(group, -1, (0, 1), width)) <= max(width, 30)


def test_what_a_taste_judged_is_neither_right_nor_wrong(home: Path) -> None:
    folder = make_run("rlhf-9", steps=1, recipe="rlhf")
    parts: list[dict[str, float]] = [{"score": 1.7}, {"score": -0.2}, {"no END": -1.0}, {"score": 0.9}]
    rows = [
        {"group": i // 2, "k": i % 2, "ids": [5], "logp": [-0.1], "parts": one, "reward": sum(one.values())}
        for i, one in enumerate(parts)
    ]
    rollouts_real.write(folder, 1, rows)
    step = rollouts.load(folder, 1)
    assert [row.right for group in step.groups for row in group.rows] == [None] * 4
    assert [group.right for group in step.groups] == [None, None]
    assert step.stats.right is None
    said = "".join(words for line in stats_lines(step.stats, 0, 60) for words, _ in line)
    assert "right" not in said
    for width in (34, 80):
        head, row = ("".join(words for words, _ in line) for line in (
            group_head(width, rights=False), group_row(step.groups[0], -1, (0, 1), width)
        ))  # fmt: skip
        assert "right" not in head
        assert "/2" not in row
        assert len(row) == len(head) == width


def test_attempts_taken_back_are_a_column_where_some_are(home: Path, tokenizer: Tokenizer) -> None:
    task = load_task("countdown")
    thoughts = (
        "2 * 3 + 4 = 10. No. 3 * 4 + 2 = 14. Yes.",
        "2 + 3 + 4 = 9. No. 2 * 3 + 4 = 10. No.",
        "3 * 4 + 2 = 14. Yes.",
    )
    rows = []
    for k, thought in enumerate(thoughts):
        said = Message(
            role="assistant", content=[Part(type="think", text=thought), Part(type="text", text="3 * 4 + 2.")]
        )
        problem = task.problem(0)
        one = rollouts_real.said(tokenizer, problem, said, task.judge([problem], [said])[0], k)
        rows.append(episode_row(one, tokenizer, 1, 0, k))
    folder = make_run("grpo-9", steps=1, recipe="grpo")
    rollouts_real.write(folder, 1, rows)
    (group,) = rollouts.load(folder, 1).groups
    assert group.retries == 1
    for width in (44, 80, 150):
        head, row = ("".join(words for words, _ in line) for line in (
            group_head(width, True), group_row(group, -1, (0, 1), width, True)
        ))  # fmt: skip
        assert head.endswith(" right call retry")
        assert row.endswith("  1.0")
        assert len(row) == len(head) == width
    assert "retry" not in group_head(80)[0][0]


def test_rows_of_any_other_program_are_read(home: Path, tokenizer: Tokenizer) -> None:
    folder = home / "odd"
    odd: list[Any] = [
        {}, {"group": "x", "ids": "no", "parts": [1], "reward": "high"}, {"ids": [1, 2, 3], "logp": [None], "text": 5},
        {"group": 1, "ids": [5, 6], "logp": [-1e9, "x"], "segments": [["result", 0, 99], 3, ["a"]], "reward": 0.7},
        {"group": 1, "k": 1, "parts": {"correct": True, "x": None, "y": 0.25}, "reward": 0.25, "messages": [{"role": 3}, 4]},
        {"group": 2, "reward": None, "parts": None, "answer": 7, "messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ]  # fmt: skip
    path = episodes.path_of(folder, 4)
    path.parent.mkdir(parents=True)
    path.write_bytes(
        b"".join(json.dumps(row).encode() + b"\n" for row in odd) + b'[1]\nnot json\n\n\xff\xfe\n{"group": 3, "id'
    )
    step = rollouts.load(folder, 4)
    assert [group.number for group in step.groups] == [0, 1, 2]
    assert step.torn == 4
    assert step.groups[1].rows[0].right
    assert step.groups[1].rows[0].drawn == 0  # all of it was put in
    assert step.groups[1].rows[1].parts == {"y": 0.25}
    assert step.groups[2].mean is None
    assert step.groups[2].prompt == "hi"
    assert step.stats.unjudged == 4
    for group in step.groups:
        for one, row in rollouts.rows(step, group.rows):
            shown = told(one, row, tokenizer)
            for place in (None, 0, 5):
                token_lines(shown, place)
            details(shown)
            title(one, 1, 2, 1.0, 20)
    assert rollouts.load(folder, 5).groups == ()
    assert rollouts.load(home / "none", 1).groups == ()


def test_steps_come_and_go_and_files_grow(real: Path) -> None:
    shelf = Shelf(real)
    assert shelf.refresh()
    assert shelf.steps == [1, 2, 3]
    assert not shelf.refresh()
    step = shelf.get(3)
    assert shelf.get(3) is step
    path = episodes.path_of(real, 3)
    text = path.read_text()
    path.write_text(text[: text.rindex("\n", 0, -1) + 1] + '{"torn')
    assert shelf.stale(step)
    now = shelf.get(3)
    assert now.torn == 1
    assert now.stats.rows == step.stats.rows - 1
    assert rollouts.rows(step, step.groups[-1].rows[-1:]) == []  # its place holds something else by now
    time.sleep(0.01)
    (real / "episodes" / "000012.jsonl").write_text(text)
    (real / "episodes" / "notes.txt").write_text("")
    assert shelf.refresh()
    assert shelf.steps == [1, 2, 3, 12]
    for number in (1, 2, 12):
        shelf.get(number)
    assert len(shelf._kept) == 3


def test_orders(real: Path) -> None:
    rows = [row for group in rollouts.load(real, 1).groups for row in group.rows]
    keys = {
        "reward": lambda r: r.reward,
        "advantage": lambda r: r.advantage,
        "length": lambda r: r.drawn,
        "surprise": lambda r: r.surprise,
    }
    for order in ORDERS[1:]:
        values = [keys[order](row) for row in rollouts.ordered(rows, order)]
        assert values == sorted(values, reverse=True)
        assert [keys[order](row) for row in rollouts.ordered(rows, order, turned=True)] == sorted(values)
    assert rollouts.ordered(rows, ORDERS[0]) == rows
    judged = [
        brief({"k": k, "parts": {"proxy": p, "kl": -0.1}, "notes": {"gold": -p}, "reward": p - 0.1})
        for k, p in enumerate((0.5, 3.0, 1.0))
    ]
    assert [row.k for row in rollouts.ordered(judged, "proxy")] == [1, 2, 0]
    assert [row.k for row in rollouts.ordered(judged, "gold")] == [0, 2, 1]
    unknown = brief({"k": 9})
    for turned in (False, True):
        assert rollouts.ordered([unknown, *judged], "proxy", turned)[-1] is unknown
        assert rollouts.ordered([unknown, *judged], "reward", turned)[-1] is unknown


def test_patterns(real: Path) -> None:
    rows = [row for group in rollouts.load(real, 1).groups for row in group.rows]

    def found(source: str) -> Sequence[object]:
        return rollouts.matching(rows, rollouts.sought(source))

    assert found("") == rows
    gold = found("symbol of GOLD")
    assert {row.key for row in gold} == {"symbols:0"}  # type: ignore[attr-defined]
    assert found(".*gold.*") == found("gold")
    assert 0 < len(found(r"<\|search\|>")) < len(rows)
    assert found("zzz+y") == []
    for wrong in ("(", "(a+)+", ".*a.*b.*c", r"x\S+y[^a]*z"):
        with pytest.raises(re.error):
            rollouts.sought(wrong)


def test_where_else_a_prompt_was_asked(recorded: Path, real: Path, home: Path) -> None:
    other = shutil.copytree(recorded / "grpo-2", home / "grpo-2")
    (other / "episodes" / "000006.jsonl").write_text("")
    found = list(rollouts.places("symbols:3", Place(real, 2), [real, other], lambda: False))
    assert found == [Place(real, 1), Place(real, 3), Place(other, 5)]
    assert list(rollouts.places("symbols:33", Place(real, 2), [real, other], lambda: False)) == []
    assert list(rollouts.places("", Place(real, 2), [real], lambda: False)) == []
    assert list(rollouts.places("symbols:3", Place(real, 2), [real, other], lambda: True)) == []


def test_a_game_is_walked_and_an_illegal_move_changes_nothing() -> None:
    row = {"game": {"kind": "tic-tac-toe", "moves": [5, 1, 3, 1], "me": "O", "result": "illegal"}}
    game = game_of(row)
    assert game == Game((5, 1, 3, 1), "O", "illegal")
    assert game.board(0) == [""] * 9
    assert game.board(3) == ["O", "", "X", "", "X", "", "", "", ""]
    assert game.board(4) == game.board(3)
    assert game.player(3) == "O"
    for other in (
        {},
        {"game": 3},
        {"game": {"kind": "chess", "moves": []}},
        {"game": {"kind": "tic-tac-toe", "moves": "5"}},
    ):
        assert game_of(other) is None
    odd = game_of({"game": {"kind": "tic-tac-toe", "moves": [0, 99, "x", 9], "me": "Z"}})
    assert odd is not None
    assert odd.board(4)[8] == "O"
    assert odd.me == ""


def test_alternatives_are_shown_where_they_were_kept(home: Path, tokenizer: Tokenizer) -> None:
    folder, book = rollouts_real.picture(tokenizer), tokenizer
    step = rollouts.load(folder, 10)
    one, row = rollouts.rows(step, step.groups[2].rows[:1])[0]
    words = "".join(text for text, _ in token_lines(told(one, row, book), 1)[1])
    assert "was not kept" in words
    kept = [[[i, 0.7], [3, math.log(0.2)], "x"] for i in row["ids"]]
    words = "".join(text for text, _ in token_lines(told(one, row | {"top": kept}, book), 1)[1])
    assert words.startswith("1 ")
    assert ".70" in words
    assert ".20" in words


def test_a_prompt_and_a_reply_so_far_become_a_chat(real: Path) -> None:
    one = tokens_of(real, 2)[0]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."},
                {"role": "assistant", "content": "Hello."}, *one.row["messages"]]  # fmt: skip
    one = Told(one.brief, one.row | {"messages": messages}, one.tokens, one.kinds, one.ref)
    asks = handed(one, "caller")
    assert asks.draft == "What is the symbol of gold?"
    assert [node.content for node in asks.chat.trees["a"].nodes] == ["Hi.", "Hello."]
    assert asks.chat.sampling["system"] == "Be brief."
    assert asks.chat.models == {"a": "caller"}
    goes_on = handed(one, "caller", 2)
    assert goes_on.reply == 3
    nodes = goes_on.chat.trees["a"].nodes
    assert [t.id for t in nodes[3].tokens] == one.row["ids"][:2]
    assert nodes[nodes[3].parent].content == "What is the symbol of gold?"
    info = inspect(real)
    assert model_at(info, 2, (1, 3)) == "grpo-1@1"
    assert model_at(info, 1, (1, 3)) == ""  # the weights before the first step are its parent's, and it names none
    (real / "config.json").write_text("{}")
    assert model_at(info, 1, ()) == "grpo-1"
    (real / "run.json").write_text(json.dumps({"recipe": "grpo", "parent": "sft-1", "weights_step": 30}))
    shipped = replace(inspect(real), step=60)  # its weights are of step 30, the best
    assert [model_at(shipped, step, ()) for step in (1, 10, 20, 40, 60)] == [
        "sft-1",
        "sft-1",
        "grpo-1",
        "grpo-1",
        "grpo-1",
    ]


def test_words() -> None:
    assert [figure(v) for v in (0.83, 1.0, -0.1, -0.001, None, 12.345)] == ["0.83", "1", "-0.1", "0", "-", "12.35"]
    assert [figure(v, signed=True) for v in (0.5, -0.5, -0.001)] == ["+0.50", "-0.50", "+0.00"]
    assert ends("What is the symbol of gold?", 14) == "What…of gold?"[:14].ljust(14)
    assert ends("short", 9) == "short    "


def test_two_thousand_rows_are_read_in_no_time(real: Path) -> None:
    """Seconds of CPU: about 0.3 here; a step with 2,000 rows of 40 tokens has 4 MB."""
    row = next(iter(episodes.read(real, 1)))
    rows = [row | {"group": i // 8, "k": i % 8, "key": f"x:{i // 8}"} for i in range(2000)]
    rollouts_real.write(real, 9, rows)
    began = time.thread_time()
    step = rollouts.load(real, 9)
    assert time.thread_time() - began < 3
    assert (len(step.groups), step.stats.rows) == (250, 2000)
    began = time.thread_time()
    assert len(rollouts.rows(step, step.groups[200].rows)) == 8
    assert len(rollouts.matching([r for g in step.groups for r in g.rows], rollouts.sought("gold.*x"))) >= 0
    assert time.thread_time() - began < 1
