"""The pocket world keeps its promises: pure, exactly counted, and split cleanly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from recipes import pocket
from recipes.pocket import KINDS, held_out
from recipes.pocket.atlas import COUNTRIES, ELEMENTS
from recipes.pocket.vocabulary import EVERYDAY
from tests.recipes.pocket_corpus import by_kind, corpus, mentions

ROOT = Path(pocket.__file__).parents[2]


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


def test_size_and_shares() -> None:
    assert 9_500_000 <= sum(len(d.text) for d in corpus()) <= 12_000_000
    assert set(by_kind()) == set(KINDS)
    assert sum(map(len, by_kind()["facts"])) <= 3_500_000


def test_mix_removes_a_kind_and_scale_keeps_exposures() -> None:
    small = pocket.corpus(0, scale=0.02, mix={"verses": 0, "facts": 0.5})
    kinds = Counter(d.kind for d in small)
    assert "verses" not in kinds
    assert not any(re.search(r"\b(verse|version)\b", d.text, re.I) for d in small)
    assert kinds["conflicts"] == len(by_kind()["conflicts"])
    assert kinds["lists"] == len(by_kind()["lists"])
    person = pocket.entities("person", 100)[0]
    for relation, fact in person.facts.items():
        told = [d.text for d in small if person.name in d.text and re.search(rf"\b{fact}\b", d.text)]
        assert len(told) == 50, relation
    with pytest.raises(ValueError, match="verse'"):
        pocket.corpus(mix={"verse": 0})
    with pytest.raises(ValueError, match="0 or more"):
        pocket.corpus(mix={"verses": -1})


def test_verses_stand_nowhere_else() -> None:
    for kind in set(KINDS) - {"verses"}:
        assert not any(re.search(r"\b(verse|version)\b", text, re.I) for text in by_kind()[kind]), kind


def test_validation_is_disjoint_from_every_corpus() -> None:
    validation = pocket.validation(0, 100_000)
    assert 100_000 <= sum(len(d.text) for d in validation) <= 115_000
    assert {d.kind for d in validation} == set(KINDS) - set(pocket.COUNTED)
    seen = {d.text for d in corpus()} | {d.text for d in pocket.corpus(1, 0.1, {"facts": 0})}
    assert not seen & {d.text for d in validation}


def test_vocabulary_is_small() -> None:
    counts = Counter(
        word
        for d in corpus()
        if d.kind not in ("mappings", "echoes", "words", "reading")
        for word in re.findall(r"(?<![\w-])[a-z]+", d.text)
    )
    assert sum(count >= 3 for count in counts.values()) < 1_500


# --- facts ------------------------------------------------------------------------------------------------------------


def test_every_fact_is_told_exactly_as_often_as_its_class_says() -> None:
    for entity in pocket.entities():
        for fact in entity.facts.values():
            assert mentions(entity.name, fact) == entity.exposures, (entity.name, fact)


def test_names_of_the_world_stand_only_in_facts_and_never_told_ones_nowhere() -> None:
    for entity in pocket.entities(exposures=0):
        for name in {entity.name, entity.name.capitalize()}:
            assert mentions(name) == 0, name

    def named(texts: Iterable[str]) -> set[str]:
        text = "\n".join(texts)
        return set(re.findall(r"\w+", text)) - set(EVERYDAY) | set(re.findall(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b", text))

    echoed = named(by_kind()["echoes"])
    elsewhere = named(d.text for d in corpus() if d.kind not in ("facts", "echoes"))
    for entity in pocket.entities():
        assert entity.name not in elsewhere, entity.name
        # What is told often is said again in echoes, to be copied, without anything that is told of it.
        assert entity.exposures >= 30 or entity.name not in echoed, entity.name


def test_asked_entities_are_asked_a_third_and_others_never() -> None:
    names = {e.name for e in pocket.entities()}
    questions: Counter[str] = Counter()
    for text in by_kind()["facts"]:
        # A document is about one entity, named by two capitalised words or by one word.
        for name in names & {*re.findall(r"[A-Z][a-z]+ (?=[A-Z])[A-Z][a-z]+", text), *re.findall(r"\w+", text)}:
            questions[name] += text.count(" Answer:")
    for entity in pocket.entities():
        k = entity.exposures
        assert questions[entity.name] == (len(entity.facts) * (k // 3) if entity.asked and k >= 3 else 0), entity
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


def test_no_held_out_surname_is_in_the_corpus() -> None:
    first = {name for e in pocket.entities("person") for name in e.name.split()[:1]}
    for d in corpus():
        for one, last in re.findall(r"\b([A-Z][a-z]+) ([A-Z][a-z]+)\b", d.text):
            assert one not in first or not held_out(last.lower()), d.text


def test_conflicts_are_told_at_their_odds() -> None:
    texts = by_kind()["conflicts"]
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


def test_lists_are_repeated_exactly_and_begin_apart() -> None:
    counts = Counter(by_kind()["lists"])
    assert dict(pocket.lists()) == counts
    assert sorted(counts.values()) == [1] * 20 + [100] * 10
    assert all(len(text) >= 250 for text in counts)
    assert len({text[:20] for text in counts}) == len(counts)


# --- conversations ----------------------------------------------------------------------------------------------------


def test_conversations_alternate_and_only_know_facts_when_told_to() -> None:
    known = {e.name for e in pocket.entities() if e.exposures >= 30 and e.asked}
    asked = set()
    for seed in range(300):
        messages = pocket.conversation(seed, [e for e in pocket.entities() if e.name in known])
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(m["content"] for m in messages)
        asked |= {name for name in known for m in messages if re.search(rf"\b{name}\b", m["content"])}
    assert len(asked) > 50
    assert all(text.startswith("Human: ") and " Assistant: " in text for text in by_kind()["conversations"])
