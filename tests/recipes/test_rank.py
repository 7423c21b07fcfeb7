"""`lab rank`: a scripted person, its noise and ceiling; a person at a terminal, undo and going on; a model as judge."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lab import weights
from lab.judge import Judge, Pair
from lab.rankings import Ranking, held_out, read_file
from recipes import gold_judge
from recipes.pocket.gold import gold
from recipes.pocket.jokes import joke_prompts
from tests.conftest import Lab
from tests.recipes.conftest import Here, Refused

JOKE = "Tell a dry joke about a pelican at the bank."
TOLD = [
    "The pelican lost a banana at the bank, and now the banana is happy.",
    "The pelican went home.",
    "A pelican walked into the bank with a clock.",
]


# -- the scripted person -----------------------------------------------------------------------------------------------


def test_without_noise_it_ranks_by_quality_and_equal_ones_tie() -> None:
    known = gold_judge.scores(JOKE, TOLD)
    assert known.tolist() == [gold(JOKE, text) for text in TOLD]
    order, ties, top = gold_judge.ranked(JOKE, TOLD, 0.0, 1)
    assert (order, ties, top) == ([int(i) for i in np.argsort(-known)], [], 1.0)
    same = [TOLD[1], TOLD[0], TOLD[1]]
    order, ties, top = gold_judge.ranked(JOKE, same, 0.0, 1)
    assert (order, ties, top) == ([1, 0, 2], [[0, 2]], 1.0)
    assert len(Ranking(JOKE, same, order, ties).pairs) == 2
    assert math.isnan(gold_judge.ranked(JOKE, [TOLD[1]] * 3, 0.0, 1)[2])


def test_the_ceiling_is_how_often_quality_agrees_with_noisy_pairs() -> None:
    known, noise = gold_judge.scores(JOKE, TOLD), 0.8
    agree = []
    for seed in range(1500):
        order, _, top = gold_judge.ranked(JOKE, TOLD, noise, seed)
        pairs = Ranking(JOKE, TOLD, order).pairs
        agree.append(np.mean([known[a] > known[b] for a, b in pairs]))
    assert top == pytest.approx(np.mean(agree), abs=0.02)
    assert gold_judge.ceiling(np.array([0.0, 0.0]), 0.5) == 0.5
    assert gold_judge.ceiling(np.array([0.0, 9.0]), 0.5) == pytest.approx(1)
    assert gold_judge.ranked(JOKE, TOLD, noise, 5) == gold_judge.ranked(JOKE, TOLD, noise, 5)


def test_correlation_and_its_interval() -> None:
    r = np.random.default_rng(0)
    a = r.normal(size=400)
    b = 0.7 * a + math.sqrt(1 - 0.49) * r.normal(size=400)
    middle, low, high = gold_judge.correlation(a, b)
    assert low < 0.7 < high
    assert middle == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert math.isnan(gold_judge.correlation(a, np.ones(400))[0])


def test_scripted_rankings_of_different_prompts(here: Here, small: Path, tmp_path: Path) -> None:
    said = here("rank", "--by", "gold", "--prompts", "10", "--out", "jokes.jsonl")
    assert said.code == 0, said
    found = read_file(tmp_path / "jokes.jsonl")
    assert len({one.key for one in found}) == len(found) == 10
    assert {len(one.options) for one in found} == {5}
    assert all(len(set(one.options)) == 5 for one in found)
    known = {p.replace(":", ".") for p in joke_prompts("test")}
    assert [held_out(one) for one in found] == [one.prompt in known for one in found]
    assert sum(map(held_out, found)) == 1
    assert {(one.model, one.by, one.seed, one.noise) for one in found} == {("pocket-sft", "gold", 0, 0.5)}
    train = [one for one in found if not held_out(one)]
    top = np.mean([one.ceiling for one in train if one.ceiling is not None])
    assert f"to train on: rankings 9, pairs 90; ceiling of pair accuracy {top:.3f}" in said.out
    assert "held out: rankings 1, pairs 10" in said.out


def test_it_goes_on_and_more_prompts_are_added_the_same_as_at_once(here: Here, small: Path, tmp_path: Path) -> None:
    flags = ["rank", "--by", "gold", "--samples", "3", "--seed", "4", "--prompts", "12", "--out"]
    assert here(*flags, "whole.jsonl").code == 0
    lines = (tmp_path / "whole.jsonl").read_text().splitlines()
    (tmp_path / "cut.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])  # killed in the midst of a line
    said = here(*flags, "cut.jsonl")
    assert (said.code, "5 prompts are ranked, 7 to go" in said.err) == (0, True)

    def told(name: str) -> dict[str, tuple[list[str], list[int]]]:
        return {str(one.prompt): (one.options, one.order) for one in read_file(tmp_path / name)}

    assert told("cut.jsonl") == told("whole.jsonl")
    said = here(*flags, "whole.jsonl")
    assert "12 prompts are ranked, 0 to go" in said.err
    assert len((tmp_path / "whole.jsonl").read_text().splitlines()) == 12


def test_a_base_model_completes_the_corpus_own_lines(here: Here, small: Path, tmp_path: Path) -> None:
    assert here("rank", "--by", "gold", "--model", "pocket-base", "--prompts", "3", "--out", "b.jsonl").code == 0
    assert all(str(one.prompt).endswith(":") for one in read_file(tmp_path / "b.jsonl"))


# -- a person ----------------------------------------------------------------------------------------------------------


def test_a_person_ranks_undoes_skips_leaves_and_goes_on(here: Here, small: Path, tmp_path: Path) -> None:
    flags = ["rank", "--prompts", "12", "--out", "me.jsonl"]
    said = here(*flags, stdin=b"b d a=c e\nu\n?\nx y\nb d a c e\ns\nc b a d e\nq\nb a c d e\n")
    assert said.code == 0, said
    assert "[0 of 12 ranked, 0 pairs]" in said.out
    assert "[1 of 12 ranked, 9 pairs" in said.out  # a=c is no pair
    assert "[2 of 12 ranked, 20 pairs" in said.out
    assert "x is no option" in said.err
    assert "take the last ranking back" in said.err
    first, skipped, third = read_file(tmp_path / "me.jsonl")
    assert (first.order, first.ties, first.by, first.model) == ([1, 3, 0, 2, 4], [], "person", "pocket-sft")
    assert (skipped.order, skipped.pairs) == ([], [])
    assert third.order == [2, 1, 0, 3, 4]
    assert all(one.seconds is not None and one.seconds >= 0 for one in (first, third))
    rows = [json.loads(line) for line in (tmp_path / "me.jsonl").read_text().splitlines()]
    assert sum("undo" in row for row in rows) == 1

    again = here(*flags, stdin=b"u\ne d c b a\n")  # the next day: yesterday's last one is taken back
    assert "3 prompts are ranked, 9 to go" in again.err
    assert again.out.count(str(third.prompt)) == 1
    redone = read_file(tmp_path / "me.jsonl")[-1]
    assert (redone.prompt, redone.options, redone.order) == (third.prompt, third.options, [4, 3, 2, 1, 0])
    assert not {str(first.prompt), str(skipped.prompt)} & set(again.out.splitlines())


def test_undo_with_nothing_to_undo_and_odd_bytes_cost_a_line(here: Here, small: Path) -> None:
    said = here("rank", "--prompts", "3", stdin=b"u\n\xff\xfe\n\x1b[2J\na b\n")
    assert said.code == 0
    assert "there is no ranking of yours to take back" in said.err
    assert "missing: c d e" in said.err
    assert "\x1b" not in said.err
    assert not (small / "rankings.jsonl").exists()  # nothing was ranked
    assert here("rank", "--prompts", "3", stdin=b"a b c d e\n").code == 0
    assert len(read_file(small / "rankings.jsonl")) == 1  # where they go by default


def test_all_are_ranked_and_it_ends_by_itself(here: Here, small: Path, tmp_path: Path) -> None:
    said = here("rank", "--prompts", "2", "--samples", "2", "--out", "two.jsonl", stdin=b"a b\na=b\nb a\n")
    assert said.code == 0
    assert [one.pairs for one in read_file(tmp_path / "two.jsonl")] == [[(0, 1)], []]


# -- your own prompts, a model as judge --------------------------------------------------------------------------------


def test_your_own_prompts(here: Here, small: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Who are you?"}, {"prompt": [{"role": "user", "content": "What is the capital of France?"}]},
        {"messages": [{"role": "user", "content": "Tell me a story."}, {"role": "assistant", "content": "No."}]},
        {"prompt": "Who  are you?"}, {"prompt": ""}, {"text": "no prompt"},
    ]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{torn\n")
    said = here("rank", "--data", "p.jsonl", "--samples", "2", "--temp", "2", "--out", "o.jsonl", stdin=b"b a\n" * 3)
    assert said.code == 0, said
    for reason in ("broken JSON", "an empty prompt", 'no "prompt"'):
        assert f"left out 1 rows: {reason}" in said.err
    found = read_file(tmp_path / "o.jsonl")
    assert said.err.count("its replies are cut") + len(found) == 3
    assert all(one.pairs == [(1, 0)] and one.split is None for one in found)


def test_a_model_judges_every_pair(here: Here, small: Path, tmp_path: Path) -> None:
    flags = ["rank", "--by", "pocket-sft", "--prompts", "2", "--samples", "3", "--out"]
    assert here(*flags, "judged.jsonl").code == 0
    found = read_file(tmp_path / "judged.jsonl")
    assert [(sorted(one.order), one.by, one.ceiling, one.noise) for one in found] == [
        ([0, 1, 2], "pocket-sft", None, None)
    ] * 2
    assert here(*flags, "again.jsonl").code == 0
    assert [one.order for one in read_file(tmp_path / "again.jsonl")] == [one.order for one in found]
    model = Judge(weights.load("pocket-sft"))
    for one in found:  # the best is preferred to the worst in sum
        told = model.preferences(
            [Pair(str(one.prompt), one.options[i], one.options[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        )
        p01, p02, p12 = (said.p for said in told if said is not None)
        sums = [p01 + p02, 1 - p01 + p12, 2 - p02 - p12]
        assert sums[one.order[0]] >= sums[one.order[1]] >= sums[one.order[2]]


def test_refusals(refused: Refused, small: Path, tmp_path: Path) -> None:
    refused("rank", "--samples", "1", says="--samples 1: give 2 to 9")
    refused("rank", "--temp", "0", says="greedy replies are all alike")
    refused("rank", "--noise", "-1", says="--noise -1.0: must be 0 or more")
    refused("rank", "--by", "gold", "--data", "p.jsonl", says="knows the pocket world's jokes alone")
    refused("rank", "--by", "person", says="that is you; leave out --by")
    refused("rank", "--model", "nobody", says="nobody: no such folder")
    refused("rank", "--out", tmp_path / "no" / "f.jsonl", says="no folder .*; make it first")
    refused("rank", "--data", tmp_path / "none.jsonl", says="no such file")


def test_another_noise_wants_another_file(here: Here, refused: Refused, small: Path, tmp_path: Path) -> None:
    assert here("rank", "--by", "gold", "--prompts", "1", "--out", "a.jsonl").code == 0
    refused("rank", "--by", "gold", "--noise", "1", "--prompts", "2", "--out", "a.jsonl", says="with another --noise")


@pytest.mark.slow
def test_in_a_process_of_its_own(cli: Lab, small: Path) -> None:
    done = cli("rank", "--prompts", "3", stdin="a b c d e\n")
    assert done.returncode == 0, done.stderr
    assert len(read_file(small / "rankings.jsonl")) == 1
