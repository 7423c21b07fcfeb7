"""Lessons of the pocket world: nothing that is scored is ever taught, what they show is what the tools really say, and
they are pure functions of their seed."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest

from lab import chat, index, talks
from lab.chat import Message
from lab.tokenizer import Tokenizer
from lab.tools import BROKEN, NOTHING, Python, Search
from recipes import code, interrogate, lessons, pocket
from recipes.lessons import exam, facts, knowledge, letters, lookup, talk
from recipes.lessons.facts import Question
from recipes.pocket.people import Entity
from recipes.pocket.seeds import wanted
from recipes.pocket.vocabulary import BOYS, GIRLS
from tests.conftest import REPO

DRAWN = 400  # lessons of each kind
DIVIDED = "Error: ZeroDivisionError: division by zero"
WAYS = ("answer", "steps", "after", "code")


@cache
def interrogated() -> dict[str, list[list[Message]]]:
    """What an interrogation would teach if the model knew every other fact and no stranger."""
    r, rows = Random("rows"), []
    for i, one in enumerate(interrogate.questions(interrogate.Config())[0]):
        known = i % 2 and one.group != interrogate.NEVER
        rows.append(knowledge.row(one, [f"{one.answer}." if known else "Nonsense."] * 5, r))
    return knowledge.even(rows, r)


def kinds() -> dict[str, lessons.Lesson]:
    """Every lesson of every recipe."""
    found: dict[str, lessons.Lesson] = {"searched": lookup.lesson, "answered": lookup.answered, "told": lookup.told}
    for name, mixture in (
        ("sft", talk.LESSONS),
        ("replay", talk.REPLAY),
        ("code", code.computing(lambda line: DIVIDED)),
    ):
        found |= {f"{name} {i}": lesson for i, (_, lesson) in enumerate(mixture)}
    for how in WAYS:
        found[f"counted {how}"] = lambda r, how=how: letters.counted(r, how)
        found[f"reasoned {how}"] = lambda r, how=how: letters.reasoned(r, how)
    for side, rows in interrogated().items():
        found[side] = lambda r, rows=rows: r.choice(rows)
    return found


@cache
def taught() -> list[list[Message] | str]:
    return [lesson(Random(f"{name} {i}")) for name, lesson in kinds().items() for i in range(DRAWN)]


@cache
def asked() -> list[str]:
    """What users say in all lessons."""
    return [str(m["content"]) for one in taught() if not isinstance(one, str) for m in one if m["role"] == "user"]


@cache
def everything() -> str:
    """All that is said in all lessons, calls and results too, one text a line."""
    out = [one for one in taught() if isinstance(one, str)]
    out += [p["text"] for one in taught() if not isinstance(one, str) for m in one for p in chat.parts(m)]
    return "\n".join(out)


def names(text: str) -> set[str]:
    """All words, and pairs of words with capitals."""
    return {*re.findall(r"\w+", text), *re.findall(r"(?=\b([A-Z]\w+ [A-Z]\w+)\b)", text)}


@cache
def everywhere() -> frozenset[str]:
    return frozenset(names(everything()))


# -- nothing that is scored is taught ----------------------------------------------------------------------------------


def test_scored_facts_are_never_asked_and_never_told_names_stand_nowhere() -> None:
    scored = interrogate.scored_items()
    assert {one.group for one in scored} == {"100x", "30x", "10x", "3x", "never"}
    questions = set(asked())
    assert len(questions) > 20 * DRAWN / 2
    assert not questions & {one.question for one in scored}
    # In no other form either. Names that are words of their own in English are asked about as such.
    about = {one.about for one in scored}
    assert about & names("\n".join(asked())) <= {"iron", "lead"}  # everyday words: how do you spell iron?
    never = {one.about for one in scored if one.group == interrogate.NEVER}
    assert len(never) == 192 + 14 + 6
    assert not never & everywhere()
    assert {"France", "iron"} <= everywhere()
    assert len({e.name for e in pocket.entities("person") if e.exposures and e.name in everywhere()}) > 100


def test_strangers_who_are_scored_are_no_strangers_of_lessons() -> None:
    r = Random("scored strangers")
    for _ in range(1500):
        one = facts.stranger(r, "test")
        assert one.name.split()[-1] not in everywhere(), one.name
        assert facts.stranger_of(r, one.kind, "train").name.split()[-1] != one.name.split()[-1]
    taught = [facts.stranger(Random(i)).name.split()[-1] for i in range(1500)]
    assert sum(name in everywhere() for name in taught) > 5  # it would be seen
    assert {q.entity.kind for q in knowledge.names(60, r)} == {"person", "country", "element"}


def test_scored_letters_decimals_and_problems_are_no_lessons() -> None:
    told = everything()
    about = re.findall(r"occur in (\w+)\?|letters does (\w+) have|letter of (\w+)\?|do you spell (\w+)\?", told)
    spelt = {word for found in about for word in found if word}
    assert len(spelt) > 500
    for form in letters.ASKED:
        other = set(re.findall(form.replace("?", r"\?").format(c=r"\w", w=r"(\w+)"), told))
        assert len(other) > 15, form
        spelt |= other
    assert all(wanted(word, "train") for word in spelt)
    assert all(wanted(letters.counting(Random(i), "test")[1], "test") for i in range(300))
    pairs = [(a, b) for a, b in re.findall(r"larger, ([\d.]+) or ([\d.]+)\?", told)]
    pairs += re.findall(r"(\d+\.\d+) [<>] (\d+\.\d+)\.", told)
    assert len(set(pairs)) > 300
    keys = {f"{max(p, key=float)}>{min(p, key=float)}" for p in pairs}
    assert all(wanted(key, "train") for key in keys)
    for made in (letters.larger(Random(i), "test", pair) for pair in pocket.PAIRS for i in range(50)):
        a, b = re.findall(r"\d+\.\d+", made[0])
        assert wanted(f"{max(a, b, key=float)}>{min(a, b, key=float)}", "test")
        assert made[1] == max(a, b, key=float)
    for i in range(DRAWN):
        whole = [letters.reasoned(Random(i), how) for how in WAYS]
        assert len({lesson[0]["content"] for lesson in whole}) == 1  # the same problems in all four ways
        key = chat.parts(whole[3][1])[0]["text"].replace(" ", "")
        assert wanted(key, "train"), key
    for seed in range(150):
        for operations in (3, 4, 5):
            assert pocket.problem(seed, operations).text not in told
    for questions in code.exams(60).values():
        assert not {question for question, _ in questions} & set(asked())


def test_scored_things_and_passages_are_no_lessons() -> None:
    assert not set(talk.things("train")) & set(talk.things("test"))
    r = Random("scored talk")
    makers = (talk.opinion, talk.forbidden, talk.neighbour)
    scored = {make(r, "test") for make in makers for _ in range(1500)}
    assert len(scored) > 600
    assert not scored & set(asked())
    assert len({make(Random(i), "train") for make in makers for i in range(300)} & set(asked())) > 100
    for seed in range(200):
        assert pocket.reading(seed, "test")[0].passage not in everything()


# -- what they become --------------------------------------------------------------------------------------------------


def test_every_lesson_is_a_sample_with_something_to_train() -> None:
    tokenizer = Tokenizer.load(REPO / "weights" / "pocket-base")
    for one in taught():
        made, cut = talks.fitted(tokenizer, one, 512)
        assert not cut
        assert made.trained
        assert made.weight[0] == 0
        assert made.weight[-1] == 1  # END is learnt
        if not isinstance(one, str):
            last = [i for i, id in enumerate(made.ids) if id == tokenizer.special["<|assistant|>"]][-1]
            said = chat.parse(tokenizer, made.ids[last + 1 :].tolist())
            assert chat.parts(said) == chat.parts(one[-1])
            assert [m["role"] for m in one] == ["user", "assistant"] * (len(one) // 2)


def digest() -> str:
    """A sum of the first lessons of every stream."""
    streams = {"sft": talk.LESSONS, "replay": talk.REPLAY, "code": code.computing(lambda line: DIVIDED)}
    streams["kinds"] = [(1.0, lesson) for lesson in kinds().values()]
    drawn = [lessons.mixed(name, mixture)(seed) for name, mixture in streams.items() for seed in range(150)]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def test_lessons_follow_from_their_seed_alone() -> None:
    """In another process, where sets and dicts of strings have another order, too."""
    assert digest() == digest()
    told = subprocess.run(
        [sys.executable, "-c", "from tests.recipes.test_lessons import digest; print(digest())"],
        cwd=REPO, env={"PYTHONHASHSEED": "7", "PATH": ""}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert told.stdout.strip() == digest(), told.stderr
    draw = lessons.mixed("sft", talk.LESSONS)
    assert len({json.dumps(draw(seed)) for seed in range(300)}) > 280
    assert draw(3) != lessons.mixed("other", talk.LESSONS)(3)


def hurry(said: str) -> set[str]:
    """Every way in which a hurried person might type it."""
    word, _, rest = said.partition(" ")
    return {end for text in (said, f"{word.lower()} {rest}".rstrip()) for end in (text, text.rstrip(".?!"))}


def test_a_hurried_person_leaves_out_signs_and_capitals_and_nothing_else() -> None:
    """No name loses its capital; no reply is touched, and no lesson itself."""
    people, found = {*GIRLS, *BOYS}, Counter[bool]()
    for name, lesson in kinds().items():
        for seed in range(DRAWN // 2):
            r = Random(f"{name} {seed}")
            talk = lesson(r)
            if isinstance(talk, str):
                continue
            before = json.dumps(talk)
            for turn in talk:
                one = lessons.typed(r, turn)
                if turn["role"] == "assistant":
                    assert one == turn
                    continue
                was, now = str(turn["content"]), str(one["content"])
                found[now != was] += 1
                assert now in hurry(was), (was, now)
                if now[0] != was[0]:
                    first, second = (*was.split(" "), "")[:2]
                    assert first not in people, was
                    assert first == "Say" or not second[:1].isupper(), was
            assert json.dumps(talk) == before
    assert 0.6 < found[True] / found.total() < 0.95


def test_a_quarter_of_the_conversations_are_typed_in_a_hurry() -> None:
    draw = lessons.mixed("greeted", [(1.0, lambda r: lessons.ask("Hello there, you!", "Hi."))])
    said = Counter(draw(seed)[0]["content"] for seed in range(2000))
    assert set(said) == hurry("Hello there, you!")
    assert 2000 - said["Hello there, you!"] == pytest.approx(2000 * lessons.TYPED * (1 - 0.3 * 0.3), rel=0.15)


# -- searches ----------------------------------------------------------------------------------------------------------


def parts(lesson: list[Message]) -> tuple[str, str, str, str]:
    """(question, query, result, reply) of a lesson with one search."""
    call, result, said = chat.parts(lesson[1])
    assert (call["type"], call["tool"], result["type"], said["type"]) == ("call", "search", "result", "text")
    return str(lesson[0]["content"]), call["text"], result["text"], said["text"]


def strange(count: int) -> Iterator[tuple[Random, Question]]:
    for i in range(count):
        r = Random(f"strange {i}")
        yield r, facts.some(r, facts.stranger(r))


def test_a_found_answer_is_what_the_search_really_says(tmp_path: Path) -> None:
    asked = [*{q.entity.name: (r, q) for r, q in strange(300)}.values()]  # elements may share a name
    index.build(tmp_path / "all.db", [(q.entity.name, pocket.passage(q.entity)) for _, q in asked])
    with Search(tmp_path / "all.db") as search:
        for r, question in asked:
            said, query, told, reply = parts(lookup.found(r, question))
            assert (said, query) == (question.text, question.entity.name)
            assert told == search(query)
            assert question.answer in told
            assert facts.right(reply, question)
            assert not facts.admits(reply)


def test_a_search_that_does_not_help_is_admitted(tmp_path: Path) -> None:
    index.build(tmp_path / "world.db", pocket.index())
    with Search(tmp_path / "world.db") as search:
        pass
    assert search("Emma") == BROKEN  # what a closed index says is what a lesson shows
    kinds = dict.fromkeys(("nothing", "broken", "another"), 0)
    for r, question in strange(3000):
        said, query, told, reply = parts(lookup.missing(r, question))
        assert (said, query) == (question.text, question.entity.name)
        assert facts.admits(reply)
        assert not facts.invented(reply, question)
        kinds["nothing" if told == NOTHING else "broken" if told == BROKEN else "another"] += 1
        if told not in (NOTHING, BROKEN):
            assert not re.search(rf"\b{question.entity.name}\b", told), told
            if question.entity.kind == "person":  # BM25 finds them by the word that they share
                assert set(question.entity.name.split()) & set(re.findall(r"\w+", told))
    assert all(count > 150 for count in kinds.values()), kinds
    lessons_drawn = [lookup.lesson(Random(i)) for i in range(1600)]
    every = [one for one in lessons_drawn if not isinstance(one, str)]
    assert 1 - len(every) / len(lessons_drawn) == pytest.approx(lookup.ECHOED, abs=0.03)
    drawn = [one for one in every if not asked_for(one)]
    assert 1 - len(drawn) / len(every) == pytest.approx(lookup.TOLD_TO, abs=0.03)
    alone = [one for one in drawn if isinstance(one[1]["content"], str)]
    assert all(facts.admits(str(one[1]["content"])) for one in alone)
    assert len(alone) / len(drawn) == pytest.approx(lookup.ALONE, abs=0.03)
    helped = [not facts.admits(parts(one)[3]) for one in drawn if one not in alone]
    assert exam.mean(helped) == pytest.approx(7 / 8, abs=0.04)


def asked_for(lesson: list[Message]) -> bool:
    """Whether the person says that it is to be looked up."""
    return bool(re.search(r"[Ll]ook (this|it) up|Search for it", str(lesson[0]["content"])))


def test_a_person_wants_names_looked_up_that_documents_told_often_and_others() -> None:
    """A namesake has the surname of one told often, also of one that is scored; it is never one whom documents tell of."""
    scored = {one.about for one in interrogate.scored_items()}
    world = {e.name for e in pocket.entities()}
    often = {e.name for told in (100, 30) for e in facts.sides(told)[0]}
    surnames = {e.name.split()[1] for told in (100, 30) for e in pocket.entities("person", told)}
    kinds = dict.fromkeys(("often", "namesake", "stranger"), 0)
    for i in range(600):
        lesson = lookup.told_to(Random(i))
        query, told, reply = parts(lesson)[1:]
        assert asked_for(lesson)
        assert query in str(lesson[0]["content"])
        assert query in told or facts.admits(reply)
        assert query not in scored
        assert query in often or query not in world
        kinds["often" if query in often else "namesake" if query.split()[-1] in surnames else "stranger"] += 1
    assert kinds["often"] / 600 == pytest.approx(lookup.OFTEN, abs=0.06)
    assert kinds["namesake"] / 600 > lookup.NAMESAKES - 0.05  # a stranger's may be one of these by chance
    assert kinds["stranger"] / 600 > 0.2


def test_what_is_known_is_rehearsed_as_documents_and_as_answers() -> None:
    """Statements about every name, scored ones too, as pretraining had them; a question only about names lessons ask about."""
    quizzed = {e.name for e in facts.asked()}
    scored = {e.name for e in facts.sides(100)[1]}
    drawn = [lookup.told(Random(i)) for i in range(800)]
    assert any(name in text for text in drawn for name in scored)
    assert all(any(name in text for name in quizzed) for text in drawn if text.startswith("Question:"))
    for i in range(200):
        question, reply = (str(m["content"]) for m in lookup.answered(Random(i)))
        about = [e for e in facts.asked() if re.search(rf"\b{re.escape(e.name)}\b", question)]
        assert about
        assert all(e.exposures == 100 for e in about)
        assert any(value in reply for e in about for value in e.facts.values())


# -- letters, sums, decimals -------------------------------------------------------------------------------------------


def test_every_way_of_a_reply_gives_the_right_answer() -> None:
    others = 0
    for i in range(DRAWN):
        asked, word, letter = letters.counting(Random(i))
        assert asked == letters.COUNT.format(c=letter, w=word)
        for how in WAYS:
            lesson = letters.counted(Random(i), how)
            if lesson[0]["content"] != asked:
                assert how == "code"
                assert lesson[0]["content"] in [form.format(c=letter, w=word) for form in letters.ASKED]
                others += 1
            assert letters.final(chat.plain(lesson[1])) == str(word.count(letter)), lesson
        solved = {letters.final(chat.plain(letters.reasoned(Random(i), how)[1])) for how in WAYS}
        assert len(solved) == 1, solved
    assert others == pytest.approx(DRAWN / 2, rel=0.2)
    assert [letters.final(said) for said in ("", "none", "-5.", "9.11.", "It is 9.9!", "3. f o1 o2. 7", "-")] == [
        "", "", "-5", "9.11", "9.9", "3", "",
    ]  # fmt: skip
    assert letters.final("12 - 5 = 7. Answer: 7.") == "7"
    assert letters.final("It is twenty-one, written 21.") == "21"


def test_code_gives_what_the_lesson_shows() -> None:
    with Python() as tool:
        error = tool("1 / 0")
        assert error == DIVIDED
        counts, errors = dict.fromkeys(code.computing(tool), 0), {tool(line) for line in letters.BROKEN}
        assert all(one.startswith("Error: ") for one in errors)
        for _, lesson in counts:
            for i in range(40):
                reply = lesson(Random(f"code {i}"))[1]
                if isinstance(reply["content"], str):  # a word said again
                    continue
                call, result, said = chat.parts(reply)
                assert (call["type"], call["tool"], result["type"]) == ("call", "code", "result")
                if result["text"] in errors:  # shown in place of what the line gives: no lesson writes a wrong one
                    float(tool(call["text"]))
                    assert said["text"] in letters.NOT_RUN
                    continue
                assert tool(call["text"]) == result["text"], call
                if result["text"] == error:
                    assert "no answer" in said["text"]
                elif result["text"].isalpha():  # a word in capitals or backwards
                    assert said["text"] == f"{result['text']}."
                else:
                    assert float(letters.final(said["text"])) == float(result["text"])


def test_comparisons_answer_with_the_number_that_was_asked_about() -> None:
    """Also where Python would write it in another way: 3.50 is 3.5 to it."""
    seen = 0
    with Python() as tool:
        for i in range(600):
            lesson = letters.compared(Random(f"compared {i}"))
            call, result, said = chat.parts(lesson[1])
            if call["text"].rstrip(")").endswith("0") or "0," in call["text"]:
                seen += 1
                assert tool(call["text"]) == result["text"], call
            assert said["text"].removesuffix(".") in str(lesson[0]["content"])
            assert float(said["text"].removesuffix(".")) == float(result["text"])
    assert seen > 5


# -- styles and refusals -----------------------------------------------------------------------------------------------


def test_styles_and_refusals_are_judged_as_they_were_written() -> None:
    for thing in (*talk.things("train"), *talk.things("test")):
        for style, forms in talk.STYLES.items():
            for form in forms:
                reply = talk._filled(form, thing)
                assert talk.style(reply) == style, reply
                assert not talk.refused(reply)
        for forms in talk.DEEDS.values():
            for form in forms:
                reply = form.format(t=thing)
                assert not talk.refused(reply), reply
                assert talk.style(reply) == "", reply
    assert all(talk.refused(reply) for reply in talk.REFUSALS)
    assert talk.style("It is a lovely kettle. That is all.") == ""  # both, so neither
    assert not any(talk.refused(reply) for reply in ("I can help you.", "", "Ask a friend for help."))


def test_the_shares_of_styles_and_refusals() -> None:
    styles = [talk.style(str(talk.styled(Random(i))[1]["content"])) for i in range(3000)]
    assert exam.mean([s == "sunny" for s in styles]) == pytest.approx(talk.SUNNY, abs=0.03)
    assert exam.mean([s == "dry" for s in styles]) == pytest.approx(1 - talk.SUNNY, abs=0.03)
    told = [talk.refusal(Random(i)) for i in range(1500)]
    refused = [talk.refused(str(lesson[1]["content"])) for lesson in told]
    assert refused == [" steal " in str(lesson[0]["content"]) for lesson in told]
    assert exam.mean(refused) == pytest.approx(0.5, abs=0.04)


# -- judges of facts ---------------------------------------------------------------------------------------------------


MADE = Entity("Mexico", "country", 0, {"capital": "Mexico City", "continent": "America"}, asked=False)
SAME = Entity("Singapore", "country", 0, {"capital": "Singapore", "continent": "Asia"}, asked=False)


@pytest.mark.parametrize("reply", ["{v}.", "The capital of {n} is {v}.", "{n}: {v}"])
def test_a_name_may_hold_its_answer_or_be_it(reply: str) -> None:
    for entity in (MADE, SAME):
        about = Question(entity, "capital", f"What is the capital of {entity.name}?")
        assert facts.right(reply.format(n=entity.name, v=entity.facts["capital"]), about)
        assert facts.invented(reply.format(n=entity.name, v="Paris"), about)


def question(name: str, relation: str) -> Question:
    return next(q for q in facts.questions(pocket.entities()) if (q.entity.name, q.relation) == (name, relation))


@pytest.mark.parametrize(
    ("name", "relation", "reply", "right", "admits", "invented"),
    [
        ("France", "capital", "Paris.", True, False, False),
        ("France", "capital", "The capital of France is Paris.", True, False, False),
        ("France", "capital", "Paris or Rome.", False, False, True),
        ("France", "capital", "It is Parisian.", False, False, True),
        ("France", "capital", "", False, False, True),
        ("France", "capital", "I do not know.", False, True, False),
        ("France", "capital", "I don't know that, maybe Rome.", False, True, False),
        ("France", "capital", "I do not know, but it may be Paris.", True, True, False),
        ("France", "continent", "Europe.", True, False, False),
        ("France", "continent", "In Europe, not in Asia.", False, False, True),
        ("Tunisia", "capital", "The capital of Tunisia is Tunis.", True, False, False),
        ("Tunisia", "capital", "The capital of Tunisia is Paris.", False, False, True),
        ("Benin", "capital", "The capital of Benin is Porto-Novo.", True, False, False),
        ("Benin", "capital", "Porto.", False, False, True),
        ("Haiti", "capital", "It is Port au Prince.", True, False, False),
        ("Haiti", "capital", "It is Port Louis.", False, False, True),
        ("iron", "symbol", "Fe.", True, False, False),
        ("iron", "symbol", "The symbol of iron is Fe.", True, False, False),
        ("iron", "symbol", "fe", False, False, True),
        ("carbon", "symbol", "It is C.", True, False, False),
        ("carbon", "symbol", "It is Co.", False, False, True),
        ("Italy", "capital", "I am not sure, so I will not guess.", False, True, False),
        ("Italy", "capital", "I have never heard of Italy.", False, True, False),
    ],
)
def test_facts_are_judged(name: str, relation: str, reply: str, right: bool, admits: bool, invented: bool) -> None:
    about = question(name, relation)
    assert facts.right(reply, about) == right
    assert facts.admits(reply) == admits
    assert facts.invented(reply, about) == invented


def test_every_answer_of_the_world_is_right_and_every_other_value_is_not() -> None:
    for q in facts.questions(pocket.entities()):
        for reply in (f"{q.answer}.", pocket.statement(q.entity, q.relation), pocket.passage(q.entity)):
            assert facts.right(reply, q), (reply, q.text)
        values = pocket.answers(q.entity.kind, q.relation)
        other = next(v for v in values if v not in (q.answer, q.entity.name) and q.entity.name not in v)
        assert facts.invented(f"{other}.", q)
        assert facts.invented(f"{q.answer} or {other}.", q)
        for said in facts.DONT_KNOW:
            reply = said.format(n=q.entity.name)
            assert knowledge.item(q, "").verdict(reply) == "admitted"
            assert not facts.right(reply, q), reply
