"""Questions of one's own: what is searched for, what is read of it, and what is answered without a search."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lab import chat, index, weights
from lab.calls import Toolbox
from lab.chat import Message
from lab.errors import UserError
from lab.sample import last_logits
from lab.tools import Search
from recipes import interrogate, lessons, search
from recipes.lessons import facts, knowledge, lookup
from recipes.lessons.knowledge import Item
from tests.conftest import REPO

PLACES = {f"place{i}": f"town{i}" for i in range(8)}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Two questions about each place, each with a query of its own."""
    rows: list[dict[str, Any]] = []
    for place, town in PLACES.items():
        rows.append({"question": f"Capital of {place}?", "answer": town, "query": f"{place} capital", "about": place})
        rows.append({"question": f"Height of {place}?", "answer": "nine", "query": f"{place} height", "about": place})
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "qa.jsonl"


def test_the_query_is_searched_for_and_the_thing_is_held_out(asked: Path) -> None:
    heard = []

    def tool(query: str) -> str:
        heard.append(query)
        return f"of {query}: town0 town1 town2 town3 town4 town5 town6 town7"

    taught, scored = search.own(search.Config(data=str(asked), index="none"), tool)
    assert len(taught) == len(scored) == 8
    assert heard == [chat.parts(talk[1])[0]["text"] for talk in taught]
    assert {query.split()[1] for query in heard} == {"capital", "height"}
    places = {query.split()[0] for query in heard}
    assert len(places) == 4  # both questions about a place lie on one side
    assert not places & {one.about for one in scored}
    for talk in taught:
        capital = str(talk[0]["content"]).startswith("Capital")
        assert ("not know" in chat.plain(talk[1])) != capital
        assert "{n}" not in chat.plain(talk[1])


def test_a_lesson_shows_as_much_of_a_result_as_a_chat_does(asked: Path, tmp_path: Path) -> None:
    """Its answer counts as found where it can be read."""
    pad = " ".join(f"{i} of {i * 7}," for i in range(45))
    index.build(tmp_path / "notes.db", [(place, f"{place} capital {pad} {town}") for place, town in PLACES.items()])
    model = weights.load(str(REPO / "weights" / "pocket-base"), lazy=True)
    with Search(tmp_path / "notes.db") as tool:
        tools = Toolbox(model.tokenizer, [tool], result_tokens=60)
        whole, cut = (search.own(search.Config(data=str(asked), index="-"), way)[0] for way in (
            tool, lambda query: tools.cut(tool(query))
        ))  # fmt: skip
        assert any(chat.plain(talk[1]).startswith("town") for talk in whole)
        assert all("not know" in chat.plain(talk[1]) for talk in cut)
        opened, close = tools.marks.search or (0, 0)
        for talk in cut:
            query, result, _ = chat.parts(talk[1])
            forced = tools.after(0, [opened, *model.tokenizer.encode_part(query["text"]), close])
            assert model.tokenizer.decode_part(forced[1:-1]) == result["text"]
            assert len(forced) <= 62


def test_what_is_known_is_not_searched_for(asked: Path) -> None:
    model = weights.load(str(REPO / "weights" / "pocket-base"), lazy=True)
    rows = [
        lessons.ask(one.question, [lessons.call("search", one.query), lessons.text(one.answer)])
        for one in knowledge.own(asked)
    ]
    known = [lessons.ask("Capital of place3?", "It is town3.")]
    found = search.few(search.Config(model="pocket-base", max_seq_length=64), model, rows, known)
    talks = [chat.parse(model.tokenizer, s.ids.tolist()) for s in (*found.valid, *found.draw(0, 1, found.total or 0))]
    said = [part["text"] for talk in talks for part in chat.parts(talk)]
    assert len(talks) == 16
    assert sum("Capital of place3?" in text for text in said) == 1
    assert any("It is town3." in text for text in said)


def test_the_reply_that_is_taught_is_the_usual_one(asked: Path) -> None:
    one = next(knowledge.own(asked))
    for replies, taught in (
        (["Dear all, it is town0.", "It is town0.", "Town0, I say."], "It is town0."),
        (["Town0.", "It is town0, by the sea.", "It is town0, by the sea."], "It is town0, by the sea."),
        (["town1"] * 3 + ["town0."] * 12, "town0."),
    ):
        row = knowledge.row(one, replies, Random(0))
        assert ("messages" in row) == (row["label"] == "known") == (row["right"] >= 0.8 * len(replies))
        if row["label"] == "known":
            assert row["messages"][1]["content"] == taught


def test_a_question_restated_is_admitted_where_its_answer_would_stand(asked: Path) -> None:
    capital = "What is the capital of The Gambia?"
    for question, reply, opening in (
        (capital, "The capital of the Gambia is Banjak.", "The capital of the Gambia is"),
        (capital, "The Gambia is a country in Africa.", ""),  # two words describe
        (capital, "Banjul is the capital of The Gambia.", ""),
        (capital, "The capital of the Gambia", ""),
        ("When were the Alps first crossed?", "The Alps were first crossed by bears.", ""),
        ("When were the Alps first crossed?", "The first Alps crossed were hills.", "The first Alps crossed were"),
        ("Who?", "", ""),
    ):
        assert knowledge.restated(question, reply) == opening
    one = replace(next(knowledge.own(asked)), question="What is the capital of Togo?")
    replies = ["The capital of Togo is Lagos.", "Togo is small.", "The capital of Togo is Accra.", "The Togo was wet."]
    said = {str(knowledge.row(one, replies, Random(i))["messages"][1]["content"]) for i in range(9)}
    assert said == {f"The capital of Togo is{rest}" for rest in knowledge.THERE}
    assert all(facts.admits(reply) for reply in said)
    at_once = str(knowledge.row(one, ["Lagos."] * 3, Random(0))["messages"][1]["content"])
    assert facts.admits(at_once)
    assert not any(at_once.endswith(rest) for rest in knowledge.THERE)


def test_doubt_is_looked_for_where_an_admission_may_come(asked: Path) -> None:
    """Of a real model, against the probabilities of one forward pass a token."""
    model, one = weights.load(str(REPO / "weights" / "pocket-sft")), next(knowledge.own(asked))
    prompt = chat.prompt(model.tokenizer, [chat.Message(role="user", content=one.question)])
    said = model.tokenizer.encode_part("It is the town")
    firsts, found = sorted(knowledge.openings(model, within=True)), []
    for count in range(len(said)):
        ids = [*prompt, *said[:count]]
        p = np.array(mx.softmax(last_logits(model.network, np.array([ids]), None, [len(ids) - 1]), axis=-1))[0]
        admission, p[firsts] = p[firsts].sum(), 0
        found.append(admission / (admission + p.max()))
    assert knowledge.doubt_within(model, [one], ["It is the town"])[0] == pytest.approx(max(found), abs=1e-5)
    assert knowledge.doubt_within(model, [one], [""])[0] == pytest.approx(found[0], abs=1e-5)


def test_what_is_held_out_of_an_interrogation_is_not_trained_on() -> None:
    """As many answers as admissions, each once a pass."""
    model = weights.load(str(REPO / "weights" / "pocket-base"), lazy=True)
    rows: list[dict[str, Any]] = [
        {"label": label, "about": f"{label} {i}", "messages": lessons.ask(f"{label} {i}?", "No." if i % 2 else "Yes.")}
        for label, count in (("known", 12), ("unknown", 30))
        for i in range(count)
    ]
    config = interrogate.Config(model="pocket-base", data="some.jsonl")
    found = interrogate.lessons_of(config, model, rows)
    held, taught = (
        [str(chat.parse(model.tokenizer, s.ids.tolist())["content"]) for s in some]
        for some in (found.valid, found.draw(0, 1, found.total or 0))
    )
    assert (len(held), len(taught)) == (2, 22)
    assert len({*held, *taught}) == 24
    for some in (held, taught):
        assert sum("unknown" in said for said in some) == len(some) / 2


def test_labels_of_another_split_take_nothing_of_what_is_scored(asked: Path) -> None:
    items = list(knowledge.own(asked))
    labelled = [{"about": one.about, "question": one.question} for one in items[:4]]  # two places
    assert [one.about for one in interrogate.unseen(items, labelled)] == [one.about for one in items[4:]]
    assert interrogate.unseen(items, [{"question": items[0].question}]) == items[1:]
    with pytest.raises(UserError, match="--labels tell of nearly all"):
        interrogate.unseen(items, [{"about": one.about, "question": "?"} for one in items[:14]])


def test_lines_of_the_report_hold_intervals() -> None:
    reply: Message = {"role": "assistant", "content": ""}
    items = [Item(f"{i}?", "x", f"{i}", "", bool) for i in range(20)]
    did = [lookup.Did(i % 2 == 0, i % 2 == 0, "right" if i < 5 else "invented", reply) for i in range(20)]
    told = search.line("asked", items, did)
    assert (
        "20 questions: called 0.50 [0.30, 0.70], query right 1.00 [0.72, 1.00], answer right 0.25 [0.11, 0.47]" in told
    )
    twice = [
        Item(one.question, "x", f"{i // 10}", "", bool) for i, one in enumerate(items)
    ]  # ten questions about each of two
    assert "answer right 0.25 [0." in search.line("asked", twice, did)
    assert "[0.11, 0.47]" not in search.line("asked", twice, did)
    assert set(lookup.shares([])) == {"called", "copied", "right", "admitted", "invented"}
