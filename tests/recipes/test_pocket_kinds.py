"""The pocket world is right wherever it computes, plays and judges, and its held-out items stay out."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from recipes import pocket
from recipes.pocket import held_out
from recipes.pocket.arithmetic import sum_key
from recipes.pocket.games import EMPTY, LINES, best_moves, legal_moves, play, value, winner
from recipes.pocket.gold import gold
from recipes.pocket.vocabulary import CATEGORIES
from tests.recipes.pocket_corpus import by_kind, corpus

FOLDER = Path(pocket.__file__).parent
ROOT = FOLDER.parents[1]

# --- what is computed is right ----------------------------------------------------------------------------------------

_SUM = re.compile(r"(\d+) ([+*-]) (\d+) = (\d+)")
_SPOKEN = re.compile(r"What is (\d+) (plus|minus|times) (\d+)\?(?: Answer:| Assistant:) (\d+)\.")
_SIGNS = {"plus": "+", "minus": "-", "times": "*"}


def calculate(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def test_all_sums_are_right_and_none_is_held_out() -> None:
    seen = 0
    for d in corpus():
        if d.kind == "mappings":
            continue
        found = _SUM.findall(d.text) + [(a, _SIGNS[s], b, v) for a, s, b, v in _SPOKEN.findall(d.text)]
        for a, sign, b, result in found:
            seen += 1
            assert calculate(int(a), sign, int(b)) == int(result) >= 0, d.text
            assert not held_out(sum_key(int(a), sign, int(b))), d.text
    assert seen > 30_000
    for seed in range(200):
        prompt, answer = pocket.sum_question(seed)
        a, sign, b = prompt.split()[:3]
        assert calculate(int(a), sign, int(b)) == int(answer)
        assert held_out(sum_key(int(a), sign, int(b)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_problems_and_their_steps_are_right(split: pocket.Split) -> None:
    for operations in (1, 2, 3, 4, 5):
        for seed in range(80):
            problem = pocket.problem(seed, operations, split)
            assert held_out(problem.key) == (split == "test")
            numbers = list(map(int, re.findall(r"\d+", problem.text)))
            key = list(map(int, re.findall(r"\d+", problem.key)))
            assert numbers == key
            assert len(numbers) == operations + 1
            # Only products bind tighter, and the text says so with "each"; python reads the key the same way.
            assert eval(problem.key, {"__builtins__": {}}) == problem.answer
            assert 0 <= problem.answer <= 999
            assert all(2 <= n <= 99 for n in numbers)
            assert all(n <= 15 for n in numbers[1:])
            assert _SUM.findall(problem.told) == _SUM.findall(problem.steps)
            assert re.sub(r": [\d +*=,-]+\.", ".", problem.told) == problem.text[: problem.text.rindex(". ") + 1]
            steps = _SUM.findall(problem.steps)
            assert len(steps) == operations
            for a, sign, b, result in steps:
                assert calculate(int(a), sign, int(b)) == int(result)
            assert int(steps[-1][3]) == problem.answer
            known = set(numbers)
            for a, _, b, result in steps:
                assert {int(a), int(b)} <= known
                known.add(int(result))
            assert problem.text.endswith("?")
            assert "{" not in problem.text + problem.worked


def test_training_problems_show_three_ways() -> None:
    told = by_kind()["problems"]
    stepwise, again = (sum(mark in text for text in told) / len(told) for mark in (" Step by step: ", " Once more: "))
    assert 0.12 < stepwise < 0.18
    assert 0.6 < again < 0.7
    test = {pocket.problem(seed, n).key for n in (2, 3, 4) for seed in range(100)}
    train = {pocket.problem(seed, n, "train").key for n in (2, 3, 4) for seed in range(1000)}
    assert not test & train


def test_letters_are_right_and_held_out_words_untouched() -> None:
    count = re.compile(r"letter (\w) occur in (\w+)\? (?:Step by step: ([\w ]+)\. )?(?:Answer|Assistant): (\d+)\.")
    length = re.compile(
        r"How many letters does (\w+) have\? (?:Step by step: ([\w ]+)\. )?(?:Answer|Assistant): (\d+)\."
    )
    spell = re.compile(r"(?:The word (\w+) is spelled|How do you spell (\w+)\? (?:Answer|Assistant):) ([a-z ]+)\.")
    end = re.compile(r"What is the (first|last) letter of (\w+)\? (?:Answer|Assistant): (\w)\.")
    touched: set[str] = set()
    for text in by_kind()["words"] + by_kind()["conversations"]:
        for letter, word, steps, answer in count.findall(text):
            touched.add(word)
            assert word.count(letter) == int(answer)
            assert not steps or re.sub(r"[\d ]", "", steps) == word
        for word, steps, answer in length.findall(text):
            touched.add(word)
            assert len(word) == int(answer)
            assert not steps or re.sub(r"[\d ]", "", steps) == word
        for one, two, letters in spell.findall(text):
            touched.add(one or two)
            assert letters == " ".join(one or two)
        for which, word, letter in end.findall(text):
            touched.add(word)
            assert word[0 if which == "first" else -1] == letter
    assert len(touched) > 400
    assert not any(held_out(word) for word in touched)
    held = pocket.words("test")
    assert 30 <= len(held) <= 70
    for task in ("count", "length", "first", "last", "spell"):
        for seed in range(50):
            prompt, answer = pocket.word_question(seed, "test", task)
            assert prompt.endswith(" Answer:")
            assert any(re.search(rf"\b{word}\b", prompt) for word in held)
            stepwise, same = pocket.word_question(seed, "test", task, steps=True)
            assert same == answer
            assert pocket.word_solution(stepwise).endswith(f". Answer: {answer}.")


def test_decimals_are_right() -> None:
    asked = re.compile(r"larger, ([\d.]+) or ([\d.]+)\? Answer: ([\d.]+)\.(?= |$)")
    for text in by_kind()["decimals"]:
        for a, b, answer in asked.findall(text):
            assert float(answer) == max(float(a), float(b)) > min(float(a), float(b))
            assert answer in (a, b)
        for a, sign, b in re.findall(r"([\d.]+) ([<>]) ([\d.]+)\.(?= |$)", text):
            assert float(a) > float(b) if sign == ">" else float(a) < float(b)
            assert not held_out(f"{max(a, b, key=float)}>{min(a, b, key=float)}")
    first = 0
    for pair in pocket.PAIRS:
        for seed in range(100):
            prompt, answer = pocket.decimal_question(seed, "test", pair)
            a, b = re.findall(r"\d+\.\d+", prompt)
            first += a == answer
            assert float(answer) == max(float(a), float(b))
            same, longer = len(a) == len(b), max((a, b), key=len)
            if pair == "same length":
                assert same or a.split(".")[0] != b.split(".")[0]
            if pair == "longer smaller":
                assert longer != answer
                assert not same
            if pair == "longer larger":
                assert longer == answer
                assert not same
            assert (a.split(".")[0] != b.split(".")[0]) == (pair == "different whole")
    assert 140 < first < 260


def test_verses_are_in_order() -> None:
    clashes = 0
    for text in by_kind()["verses"]:
        numbers = [tuple(map(int, n.split("."))) for n in re.findall(r"\d+\.\d+", text)]
        if text.startswith(("Version", "Verse")):
            for later, earlier in zip(numbers[::2], numbers[1::2], strict=True):
                assert later > earlier
                clashes += float(f"{later[0]}.{later[1]}") < float(f"{earlier[0]}.{earlier[1]}")
        elif text.startswith("After"):
            for one, two in zip(numbers[::2], numbers[1::2], strict=True):
                assert two == (one[0], one[1] + 1)
        else:
            assert numbers == sorted(numbers)
    assert clashes > 200


def test_echoes_say_again_what_they_said() -> None:
    """The last three words or more stood there before, in this order."""
    for seed in range(200):
        words = re.split(r", | |\n", pocket.document("echoes", seed).text)
        pairs = list(pairwise(words))
        assert {pairs[-1], pairs[-2]} <= set(pairs[:-2]), words


def test_mappings_follow_their_rule_and_hold_out_theirs() -> None:
    for rule in pocket.RULES:
        for seed in range(30):
            test, train = pocket.mapping(seed, "test", rule), pocket.mapping(seed, "train", rule)
            assert held_out(test.key)
            assert train.parts == ("",) or not held_out(train.key)
            prompt, answer = test.prompt(4)
            assert prompt.endswith(f" {test.arrow}")
            shown = dict(test.examples(4))
            assert all(f"{item} {test.arrow} {out}" in prompt for item, out in shown.items())
            query = prompt.split(test.separator)[-1].removesuffix(f" {test.arrow}")
            assert query not in shown
            assert test.apply(query) == answer
            assert "  " not in prompt + answer
    assert pocket.mapping(1, rule="suffix").apply("tor") == "tor" + pocket.mapping(1, rule="suffix").parts[0]
    members = [word for words in CATEGORIES.values() for word in words]
    assert len(members) == len(set(members))


def test_reading_is_answered_from_its_passage() -> None:
    for seed in range(300):
        for one in pocket.reading(seed, questions=2):
            assert one.prompt.endswith(" Answer:")
            assert re.search(rf"\b{one.answer}\b", one.passage)
            assert one.prompt.startswith(f"Passage: {one.passage} Question:")


# --- games and jokes --------------------------------------------------------------------------------------------------


def test_games_are_legal_and_end_as_they_say() -> None:
    ends: Counter[str] = Counter()
    for text in by_kind()["games"]:
        found = re.fullmatch(r"Game: ([1-9 ]+)\. (X wins|O wins|Draw)\.", text)
        assert found, text
        moves, end = found.groups()
        board = EMPTY
        for move in map(int, moves.split()):
            assert move in legal_moves(board)
            board = play(board, move)
        side = winner(board)
        assert end == (f"{side} wins" if side else "Draw")
        assert bool(side) == any(
            len({board[i] for i in line} - {" "}) == 1
            and board[line[0]] != " "
            and board[line[0]] == board[line[1]] == board[line[2]]
            for line in LINES
        )
        assert not legal_moves(board)
        ends[end] += 1
    assert min(ends.values()) > 0.1 * len(by_kind()["games"])


def test_the_perfect_player() -> None:
    assert value(EMPTY) == 0
    # X threatens 3; O must block, X then takes the win it is given.
    board = EMPTY
    for move in (1, 5, 2):
        board = play(board, move)
    assert best_moves(board) == (3,)
    assert 3 in best_moves(play(board, 9))
    assert value(play(board, 9)) == 1
    with pytest.raises(ValueError, match="legal"):
        play(board, 1)


def test_joke_prompts_are_many_and_split() -> None:
    train, test = set(pocket.joke_prompts("train")), set(pocket.joke_prompts("test"))
    assert len(train | test) >= 1_000
    assert len({pocket.joke_prompt(seed, "train") for seed in range(6000)}) >= 1_000
    assert all(held_out(prompt) for prompt in test)
    assert all(prompt.endswith(":") for prompt in train | test)
    shown = {text[: text.index(":") + 1] for text in by_kind()["jokes"]}
    assert shown <= train
    asked = {p + ":" for text in by_kind()["conversations"] for p in re.findall(r"Tell an? \w+ joke [\w ]+", text)}
    assert asked
    assert asked <= train


def test_the_gold_judge_spreads_and_cannot_be_filled_with_noise() -> None:
    jokes = [pocket.joke(seed) for seed in range(1500)]
    scores = [gold(*pair) for pair in jokes]
    assert 0.6 < statistics.pstdev(scores) < 1.6
    middle, best = statistics.mean(scores), max(scores)
    assert best > middle + statistics.pstdev(scores)
    prompt = "Tell a dry joke about a pelican at the bank:"
    funny = gold(prompt, "The pelican lost a banana at the bank, and now the banana is happy.")
    assert funny > gold(prompt, "The pelican lost a hammer at the bank, and now the hammer is happy.")
    assert funny > gold(prompt, "The goat lost a banana at the bank, and now the banana is happy.")
    assert funny > gold(prompt, "The pelican lost a banana at the bank, and now the banana is happy")
    for noise in ("the the the the the the the", "", "pelican banana pelican banana pelican banana", "banana " * 30):
        assert gold(prompt, noise) < middle - 1
    # A judge that only knows the grammar could not tell the good from the bad.
    assert statistics.mean(score > middle + 1 for score in scores) > 0.03


def test_only_judges_know_the_gold_judge() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import) and path.name != "gold.py":
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not any("gold" in name for name in names), path
    code = (
        "import sys, recipes.pocket as p; p.document('jokes', 1);"
        "print([m for m in sys.modules if 'gold' in m or 'mlx' in m or m.split('.')[0] == 'lab'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
