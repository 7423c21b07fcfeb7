"""`lab judge`: rows of files judged by a real tiny model, figures, bad rows, and what is written."""

import json
from pathlib import Path

import pytest

from lab.judge import Claim, Judge, Pair, Preference, Verdict, matches
from lab.weights import load
from recipes.commands.judge import Row, asked, claims, pairs
from tests.recipes.conftest import Here, Refused

CLAIMS = [
    {"question": "Who took the kite?", "reply": f"{who} took it.", "answer": "Ada", "right": who == "Ada", "more": [1]}
    for who in ("Ada", "Bo", "Ada", "Cleo", "Dan", "Ada")
]
PAIRS = [
    {"prompt": "What is it?", "chosen": "A kite.", "rejected": "No."},
    {
        "prompt": [{"role": "user", "content": "Who?"}],
        "chosen": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada"}],
        "rejected": "Nobody",
    },
]


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_replies_and_pairs_are_judged_and_written(here: Here, chat_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*CLAIMS, *PAIRS])
    said = here("judge", path, "--model", chat_model, "--out", tmp_path / "scored.jsonl", "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert (facts["rows"], facts["bad"]) == (8, {})
    assert facts["prompts"] == 4 + 4  # equal rows are asked once
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    judge = Judge(load(chat_model))
    verdicts = judge.verdicts([Claim(row["question"], row["reply"], [row["answer"]]) for row in CLAIMS])
    for row, one, before in zip(scored, verdicts, CLAIMS, strict=False):
        assert one is not None
        assert row == before | {"p": round(one.p, 4), "mass": round(one.mass, 4), "matches": before["right"]}
    told = judge.preferences([Pair("What is it?", "A kite.", "No."), Pair("Who?", "Ada", "Nobody")])
    assert judge.asked == 0
    assert [row["p_chosen"] for row in scored[6:]] == [round(one.p, 4) for one in told if one]
    figures = facts["claims"]
    assert figures["match_agrees_with_label"]["right"] == 6
    assert figures["judge_agrees_with_label"]["right"] == sum(
        (one.p > 0.5) == row["right"] for one, row in zip(verdicts, CLAIMS, strict=True) if one
    )
    assert facts["pairs"]["agrees_with_label"]["right"] == sum(one.p > 0.5 for one in told if one)
    again = here("judge", path, "--model", chat_model, "--json")
    assert json.loads(again.out)["tokens"] == 0


def test_the_table_and_the_calibrated_base_model(here: Here, tmp_path: Path) -> None:
    from tests.conftest import REPO

    path = write(tmp_path / "rows.jsonl", [*CLAIMS, *PAIRS])
    said = here("judge", path, "--model", REPO / "weights" / "pocket-base", "--calibrated")
    assert said.code == 0, said.err
    for words in ("replies against their answers", "AUROC", "pairs, in both orders", "plain match agrees", "100 % ["):
        assert words in said.out
    assert here("judge", path, "--model", REPO / "weights" / "pocket-base", "--limit", "2").out.count("of 2") == 5


def test_bad_rows_are_counted_by_reason(here: Here, chat_model: Path, tmp_path: Path) -> None:
    rows: list[object] = [
        CLAIMS[0], "{broken", [1], {"reply": "x", "answer": "a"}, {"question": "q", "reply": 3, "answer": "a"},
        {"question": "q", "reply": "r", "answer": []}, {"question": "q", "reply": "r", "answer": {"a": 1}},
        {"question": "q", "reply": "r"}, {"text": "t"}, {"prompt": "p", "chosen": "a", "rejected": "a "},
        {"prompt": "", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": [], "rejected": "b"},
        '{"question": "q", "reply": "\\ud800", "answer": "a"}', {"question": "q", "reply": "r", "answer": "a", "right": 1},
        {"question": "Who? " * 200, "reply": "r", "answer": "a"}, {"question": "q", "reply": "", "answer": 1945},
    ]  # fmt: skip
    path = write(tmp_path / "rows.jsonl", rows)
    said = here("judge", path, "--model", chat_model, "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts["rows"] == 2
    assert sum(facts["bad"].values()) == len(rows) - 2
    told = " ".join(facts["bad"])
    for words in ("broken JSON (first in row 2)", "a row is list", '"question" is no text', '"answer" is no text',
                  "are the same", '"prompt" is empty', '"reply" is no text', '"right" is neither', "of 256"):  # fmt: skip
        assert words in told, words


def test_refusals(refused: Refused, chat_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [CLAIMS[0]])
    refused("judge", says="give a file of rows")
    refused("judge", tmp_path / "none.jsonl", "--model", chat_model, says=r"none\.jsonl")
    refused("judge", write(tmp_path / "bad.jsonl", [{"a": 1}]), says='no row to judge: 1 x neither "reply"')
    refused("judge", path, "--out", path, says="is there already")
    refused("judge", path, "--limit", "-1", says="--limit")
    refused("judge", path, "--model", tmp_path / "nothing", says="nothing")


def test_figures_by_hand() -> None:
    def row(said: str, right: bool) -> Row:
        return Row(1, {"right": right}, Claim("q", said, ["x"]))

    found = claims(
        [(row("x", True), Verdict(0.9, 1.0)), (row("x", True), Verdict(0.4, 0.5)), (row("y", False), Verdict(0.1, 0.9)),
         (row("y", False), Verdict(0.5, 0.6))]
    )  # fmt: skip
    assert found is not None
    assert found["judged_right"]["right"] == 1
    assert found["judge_agrees_with_label"]["right"] == 3
    assert found["mean_mass"] == pytest.approx(0.75)
    assert found["auroc"]["auroc"] == pytest.approx(0.75)  # .9 above both, .4 above one
    told = pairs([Preference(0.7, 1, 0.9, 0.5001), Preference(0.4, 0.8, 0.6, 0.2)])
    assert told is not None
    assert told["agrees_with_label"]["right"] == 1
    assert told["flips_with_the_order"]["right"] == 1
    assert told["prefers_what_is_first"] == pytest.approx(((0.9 + 0.4999) / 2 + (0.6 + 0.8) / 2) / 2)
    assert claims([]) is None
    assert pairs([]) is None


def test_an_answer_may_be_a_number_or_a_list() -> None:
    claim = asked({"question": "q", "reply": "in 1,945", "answers": [1944, 1945.0]})
    assert isinstance(claim, Claim)
    assert matches(claim.reply, claim.answers)
