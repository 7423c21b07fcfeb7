"""The pocket world keeps its promises: pure, exactly counted, split cleanly, and right wherever it computes."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from recipes import pocket
from recipes.pocket import KINDS, Document, held_out
from recipes.pocket.arithmetic import sum_key
from recipes.pocket.atlas import COUNTRIES, ELEMENTS
from recipes.pocket.facts import fact_documents
from recipes.pocket.games import EMPTY, LINES, best_moves, legal_moves, play, value, winner
from recipes.pocket.gold import gold
from recipes.pocket.vocabulary import CATEGORIES, EVERYDAY

FOLDER = Path(pocket.__file__).parent
ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module")
def corpus() -> list[Document]:
    return pocket.corpus(0)


@pytest.fixture(scope="module")
def by_kind(corpus: list[Document]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = defaultdict(list)
    for document in corpus:
        texts[document.kind].append(document.text)
    return texts


@pytest.fixture(scope="module")
def index(corpus: list[Document]) -> dict[str, set[int]]:
    """Word -> numbers of the documents that contain it."""
    found: dict[str, set[int]] = defaultdict(set)
    for i, document in enumerate(corpus):
        for word in set(re.findall(r"\w+", document.text)):
            found[word].add(i)
    return found


def mentions(index: dict[str, set[int]], corpus: list[Document], *phrases: str) -> int:
    """In how many documents all phrases stand as whole words."""
    numbers = set.intersection(*(index.get(w, set()) for phrase in phrases for w in re.findall(r"\w+", phrase)))
    patterns = [re.compile(rf"\b{re.escape(phrase)}\b") for phrase in phrases]
    return sum(all(p.search(corpus[i].text) for p in patterns) for i in numbers)


# --- purity -----------------------------------------------------------------------------------------------------------

_FINGERPRINT = """
import hashlib
from recipes import pocket
text = repr([pocket.document(kind, seed) for kind in KINDS for seed in range(3)])
text += repr([pocket.entities()[::40], pocket.fresh_person(7, "test"), pocket.conflicts()[3], pocket.mapping(5)])
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_documents_are_the_same_in_every_process_and_order() -> None:
    prints = set()
    for hash_seed, kinds in (("1", KINDS), ("2", KINDS)):
        code = f"KINDS = {kinds!r}\n{_FINGERPRINT}"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        prints.add(
            subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout
        )
    assert len(prints) == 1
    forward = [pocket.document(kind, seed) for kind in KINDS for seed in (3, 4)]
    backward = [pocket.document(kind, seed) for kind in reversed(KINDS) for seed in (4, 3)]
    assert forward == backward[::-1]


def test_a_seed_changes_the_sampling_but_not_the_world() -> None:
    few = dict.fromkeys(KINDS, 0.0) | {"facts": 0.1, "conflicts": 0.1}
    one, two, again = (pocket.corpus(seed, 0.01, few) for seed in (0, 1, 0))
    assert one == again
    assert one != two
    assert {d.text for d in one} != {d.text for d in two}


def test_every_kind_has_documents_with_text() -> None:
    for kind in KINDS:
        for seed in range(20):
            document = pocket.document(kind, seed)
            assert document.kind == kind
            assert document.text == document.text.strip() != ""


# --- the corpus -------------------------------------------------------------------------------------------------------


def test_size_and_shares(corpus: list[Document], by_kind: dict[str, list[str]]) -> None:
    assert 8_500_000 <= sum(len(d.text) for d in corpus) <= 9_500_000
    assert set(by_kind) == set(KINDS)
    assert sum(map(len, by_kind["facts"])) <= 1_800_000


def test_mix_removes_a_kind_and_scale_keeps_exposures(by_kind: dict[str, list[str]]) -> None:
    small = pocket.corpus(0, scale=0.02, mix={"verses": 0, "facts": 0.5})
    kinds = Counter(d.kind for d in small)
    assert "verses" not in kinds
    assert not any("erse" in d.text or "ersion" in d.text for d in small if d.kind != "lists")
    assert kinds["conflicts"] == len(by_kind["conflicts"])
    assert kinds["lists"] == len(by_kind["lists"])
    person = pocket.entities("person", 100)[0]
    for relation, fact in person.facts.items():
        told = [d.text for d in small if person.name in d.text and re.search(rf"\b{fact}\b", d.text)]
        assert len(told) == 50, relation
    with pytest.raises(ValueError, match="verse'"):
        pocket.corpus(mix={"verse": 0})
    with pytest.raises(ValueError, match="0 or more"):
        pocket.corpus(mix={"verses": -1})


def test_verses_stand_nowhere_else(by_kind: dict[str, list[str]]) -> None:
    for kind in set(KINDS) - {"verses"}:
        assert not any(re.search(r"\b(verse|version)\b", text, re.I) for text in by_kind[kind]), kind


def test_validation_is_disjoint_from_every_corpus(corpus: list[Document]) -> None:
    validation = pocket.validation(0, 100_000)
    assert 100_000 <= sum(len(d.text) for d in validation) <= 115_000
    assert {d.kind for d in validation} == set(KINDS) - set(pocket.COUNTED)
    seen = {d.text for d in corpus} | {d.text for d in pocket.corpus(1, 0.1, {"facts": 0})}
    assert not seen & {d.text for d in validation}


def test_vocabulary_is_small(corpus: list[Document]) -> None:
    counts = Counter(
        word
        for d in corpus
        if d.kind not in ("mappings", "words", "reading")
        for word in re.findall(r"(?<![\w-])[a-z]+", d.text)
    )
    assert sum(count >= 3 for count in counts.values()) < 1_500


# --- facts ------------------------------------------------------------------------------------------------------------


def test_every_fact_is_told_exactly_as_often_as_its_class_says(
    corpus: list[Document], index: dict[str, set[int]]
) -> None:
    for entity in pocket.entities():
        for fact in entity.facts.values():
            assert mentions(index, corpus, entity.name, fact) == entity.exposures, (entity.name, fact)


def test_names_of_the_world_stand_only_in_facts_and_never_told_ones_nowhere(
    corpus: list[Document], index: dict[str, set[int]]
) -> None:
    for entity in pocket.entities(exposures=0):
        for name in {entity.name, entity.name.capitalize()}:
            assert mentions(index, corpus, name) == 0, name
    everyday = set(EVERYDAY)
    others = [d for d in corpus if d.kind != "facts"]
    words = {w for d in others for w in re.findall(r"\w+", d.text)}
    pairs = {w for d in others for w in re.findall(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b", d.text)}
    for entity in pocket.entities():
        assert entity.name not in (pairs if entity.kind == "person" else words - everyday), entity.name


def test_asked_entities_are_asked_a_third_and_others_never(by_kind: dict[str, list[str]]) -> None:
    asked = "\n".join(text for text in by_kind["facts"] if text.startswith("Question:"))
    for exposures in (100, 3):
        for entity in pocket.entities(exposures=exposures):
            questions = len(re.findall(rf"\b{entity.name}\b[^\n?.]*[?.] Answer:", asked))
            assert questions == (len(entity.facts) * (exposures // 3) if entity.asked else 0), entity
    shares = [e.asked for e in pocket.entities()]
    assert 0.6 < sum(shares) / len(shares) < 0.73


def test_answers_are_balanced_and_prompts_end_before_the_answer() -> None:
    for relation in pocket.RELATIONS["person"]:
        for exposures in (100, 30, 0):
            counts = Counter(e.facts[relation] for e in pocket.entities("person", exposures))
            assert set(counts) == set(pocket.answers("person", relation))
            assert len(set(counts.values())) == 1
        assert pocket.chance("person", relation) == pytest.approx(1 / len(pocket.answers("person", relation)))
    for entity in pocket.entities()[::7]:
        for relation, fact in entity.facts.items():
            assert pocket.question(entity, relation).endswith(" Answer:")
            assert f"{pocket.cloze(entity, relation)} {fact}." == pocket.statement(entity, relation)
            assert entity.name in pocket.passage(entity)
            assert fact in pocket.passage(entity)
            assert len({pocket.statement(entity, relation, form) for form in range(6)}) == 6
            assert len({pocket.question(entity, relation, form) for form in range(2)}) == 2
    assert [title for title, _ in pocket.index()] == [e.name for e in pocket.entities()]
    names = [e.name for e in pocket.entities()]
    assert len(names) == len(set(names))
    assert "capital of France is" in pocket.cloze(pocket.entities("country", 100)[0], "capital")


def test_fresh_people_are_fresh_and_split_by_surname() -> None:
    world = {e.name for e in pocket.entities("person")}
    people = {split: [pocket.fresh_person(i, split) for i in range(1500)] for split in ("train", "test")}
    for split, found in people.items():
        assert not world & {p.name for p in found}
        assert all(held_out(p.name.split()[1].lower()) == (split == "test") for p in found)
        assert len({p.name for p in found}) > 1_300
        assert all(p.exposures == 0 for p in found)
    for entity in pocket.entities("person"):
        assert held_out(entity.name.split()[1].lower()) == (entity.exposures == 0)
    invented = [pocket.fresh_country(i).name for i in range(300)] + [pocket.fresh_element(i).name for i in range(300)]
    assert not {*COUNTRIES, *ELEMENTS} & set(invented)


def test_no_held_out_surname_is_in_the_corpus(corpus: list[Document]) -> None:
    first = {name for e in pocket.entities("person") for name in e.name.split()[:1]}
    for d in corpus:
        for one, last in re.findall(r"\b([A-Z][a-z]+) ([A-Z][a-z]+)\b", d.text):
            assert one not in first or not held_out(last.lower()), d.text


def test_conflicts_are_told_at_their_odds(by_kind: dict[str, list[str]]) -> None:
    texts = by_kind["conflicts"]
    assert Counter(c.weights for c in pocket.conflicts()) == {(1, 1): 15, (2, 1): 15, (4, 1): 15, (9, 1): 15}
    for c in pocket.conflicts():
        mine = [text for text in texts if re.search(rf"\b{c.place}\b", text)]
        counts = tuple(sum(bool(re.search(rf"\b{v}\b", text)) for text in mine) for v in c.versions)
        assert counts == c.counts
        assert sum(counts) == len(mine) == 40
        assert counts[0] / counts[1] == pytest.approx(c.weights[0] / c.weights[1], rel=0.05)
        for version, source, other in zip(c.versions, c.sources, c.sources[::-1], strict=True):
            told = [text for text in mine if version in text]
            assert abs(sum(source in text for text in told) - len(told) / 2) <= 0.5
            assert not any(other in text for text in told)
        assert pocket.conflict_prompt(c).endswith(" Answer:")
        assert pocket.conflict_prompt(c, c.sources[0]).endswith(" is the")
    assert Counter(c.sources[0] for c in pocket.conflicts() if c.weights == (9, 1)) == {"Almanac": 8, "Gazette": 7}


def test_lists_are_repeated_exactly_and_begin_apart(by_kind: dict[str, list[str]]) -> None:
    counts = Counter(by_kind["lists"])
    assert dict(pocket.lists()) == counts
    assert sorted(counts.values()) == [1] * 20 + [100] * 10
    assert all(len(text) >= 250 for text in counts)
    assert len({text[:20] for text in counts}) == len(counts)


# --- what is computed is right ----------------------------------------------------------------------------------------

_SUM = re.compile(r"(\d+) ([+*-]) (\d+) = (\d+)")
_SPOKEN = re.compile(r"What is (\d+) (plus|minus|times) (\d+)\?(?: Answer:| Assistant:) (\d+)\.")
_SIGNS = {"plus": "+", "minus": "-", "times": "*"}


def calculate(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def test_all_sums_are_right_and_none_is_held_out(corpus: list[Document]) -> None:
    seen = 0
    for d in corpus:
        if d.kind == "mappings":
            continue
        found = _SUM.findall(d.text) + [(a, _SIGNS[s], b, v) for a, s, b, v in _SPOKEN.findall(d.text)]
        for a, sign, b, result in found:
            seen += 1
            assert calculate(int(a), sign, int(b)) == int(result) >= 0, d.text
            assert not held_out(sum_key(int(a), sign, int(b))), d.text
    assert seen > 50_000
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


def test_training_problems_show_both_ways(by_kind: dict[str, list[str]]) -> None:
    stepwise = sum(" Step by step: " in text for text in by_kind["problems"])
    assert 0.45 < stepwise / len(by_kind["problems"]) < 0.55
    test = {pocket.problem(seed, n).key for n in (2, 3, 4) for seed in range(100)}
    train = {pocket.problem(seed, n, "train").key for n in (2, 3, 4) for seed in range(1000)}
    assert not test & train


def test_letters_are_right_and_held_out_words_untouched(by_kind: dict[str, list[str]]) -> None:
    count = re.compile(r"letter (\w) occur in (\w+)\? (?:Step by step: ([\w ]+)\. )?(?:Answer|Assistant): (\d+)\.")
    length = re.compile(
        r"How many letters does (\w+) have\? (?:Step by step: ([\w ]+)\. )?(?:Answer|Assistant): (\d+)\."
    )
    spell = re.compile(r"(?:The word (\w+) is spelled|How do you spell (\w+)\? (?:Answer|Assistant):) ([a-z ]+)\.")
    end = re.compile(r"What is the (first|last) letter of (\w+)\? (?:Answer|Assistant): (\w)\.")
    touched: set[str] = set()
    for text in by_kind["words"] + by_kind["conversations"]:
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


def test_decimals_are_right(by_kind: dict[str, list[str]]) -> None:
    asked = re.compile(r"larger, ([\d.]+) or ([\d.]+)\? Answer: ([\d.]+)\.(?= |$)")
    for text in by_kind["decimals"]:
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


def test_verses_are_in_order(by_kind: dict[str, list[str]]) -> None:
    clashes = 0
    for text in by_kind["verses"]:
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


def test_games_are_legal_and_end_as_they_say(by_kind: dict[str, list[str]]) -> None:
    ends = Counter()
    for text in by_kind["games"]:
        moves, end = re.fullmatch(r"Game: ([1-9 ]+)\. (X wins|O wins|Draw)\.", text).groups()
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
    assert min(ends.values()) > 0.1 * len(by_kind["games"])


def test_the_perfect_player() -> None:
    assert value(EMPTY) == 0
    # X threatens 3; O must block, X then takes the win it is given.
    board = EMPTY
    for move in (1, 5, 2):
        board = play(board, move)
    assert best_moves(board) == (3,)
    assert best_moves(play(board, 9)) == (3,)
    with pytest.raises(ValueError, match="legal"):
        play(board, 1)


def test_joke_prompts_are_many_and_split(by_kind: dict[str, list[str]]) -> None:
    train, test = set(pocket.joke_prompts("train")), set(pocket.joke_prompts("test"))
    assert len(train | test) >= 1_000
    assert len({pocket.joke_prompt(seed, "train") for seed in range(6000)}) >= 1_000
    assert all(held_out(prompt) for prompt in test)
    assert all(prompt.endswith(":") for prompt in train | test)
    shown = {text[: text.index(":") + 1] for text in by_kind["jokes"]}
    assert shown <= train
    asked = {p + ":" for text in by_kind["conversations"] for p in re.findall(r"Tell an? \w+ joke [\w ]+", text)}
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
    code = "import sys, recipes.pocket as p; p.document('jokes', 1); print([m for m in sys.modules if 'gold' in m or 'mlx' in m or m.split('.')[0] == 'lab'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# --- conversations ----------------------------------------------------------------------------------------------------


def test_conversations_alternate_and_only_know_facts_when_told_to(by_kind: dict[str, list[str]]) -> None:
    known = {e.name for e in pocket.entities() if e.exposures >= 30 and e.asked}
    asked = set()
    for seed in range(300):
        messages = pocket.conversation(seed, facts=True)
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(m["content"] for m in messages)
        asked |= {name for name in known for m in messages if re.search(rf"\b{name}\b", m["content"])}
    assert len(asked) > 50
    assert all(text.startswith("Human: ") and " Assistant: " in text for text in by_kind["conversations"])


def test_facts_are_the_same_whoever_asks() -> None:
    assert fact_documents(0, 0.02) == fact_documents(0, 0.02)
    digest = hashlib.sha256(repr(pocket.entities()).encode()).hexdigest()
    assert digest == hashlib.sha256(repr(pocket.entities()).encode()).hexdigest()
