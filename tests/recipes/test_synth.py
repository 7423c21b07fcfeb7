"""`lab synth`: what is checked, what is kept on disk, and a tiny model that learns to write before it is asked to."""

import json
import signal
from pathlib import Path

import pytest

from lab import chat, talks, weights
from lab.forms import ANSWERABLE, SUPPORTED
from lab.judge import Judge
from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Shape, Transformer
from lab.passages import Passage
from lab.samples import bucketed, sample
from lab.template import OURS
from lab.tokenizer import Tokenizer
from recipes.commands.synth import digest, opened
from recipes.synthesis import (
    ASK,
    EXAMPLE,
    FORMS,
    MARGIN,
    MORE,
    SENTENCE,
    WORDS,
    Writer,
    Written,
    tidy,
    unanswered,
    unasked,
)
from tests.conftest import REPO, stories
from tests.recipes.conftest import Here, Refused, Start, until

HYDROGEN = "Hydrogen is a chemical element with symbol H and atomic number 1, discovered by Henry Cavendish in 1766."


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Who discovered hydrogen?", ""),
        ("Hydrogen.", "no question"),
        ("?", "no question"),
        ("Who is it?", "no question"),
        ("What does the text say about hydrogen?", "speaks of the text"),
        ("What does this short passage say about hydrogen?", "speaks of the text"),
        ("Can you write a multiple-choice question about hydrogen?", "speaks of the text"),
        ("What has the Lukasz system to do with Saturn?", "question not about the passage"),
        ("What element is it?", "question does not say about what"),
        ("Who discovered hydrogen " + "x" * 200 + "?", "no question"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_used(question: str, reason: str) -> None:
    assert unasked(question, HYDROGEN) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Henry Cavendish discovered it.", ""),
        ("It was discovered by Henry Cavendish in 1766.", ""),
        ("It was discovered by Henry Cavendish in 1767.", "answer has a number the passage has not"),
        ("The text states that Henry Cavendish did.", "speaks of the text"),
        ("Hydrogen was discovered.", "answer repeats the question"),
        ("It was Marie Curie of Poland.", "answer has words the passage has not"),
        ("", "no answer"),
        ("It is.", "no answer"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_used(answer: str, reason: str) -> None:
    assert unanswered("Who discovered hydrogen?", answer, HYDROGEN) == reason


@pytest.mark.parametrize(
    ("said", "tidied"),
    [
        ('\n Question: "Who was it?"\nAnswer: x', "Who was it?"),
        ("1. Who was it?", "Who was it?"),
        ("- **Who was it?**", "Who was it?"),
        ("Q1: Who?", "Q1: Who?".removeprefix("Q1: ")),
        ("Answers were given.", "Answers were given."),
        ("1766", "1766"),
        ("A man.", "A man."),
        ("", ""),
    ],
)  # fmt: skip
def test_what_stands_around_an_answer_is_left_out(said: str, tidied: str) -> None:
    assert tidy(said) == tidied


def test_a_base_model_is_refused_in_one_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(HYDROGEN)
    base, out = REPO / "weights" / "pocket-base", tmp_path / "new" / "talks.jsonl"
    refused(
        "synth", tmp_path / "notes.txt", "--out", out, "--model", base, says="pocket-base is a base model.*chat model"
    )
    assert not list((tmp_path / "new").iterdir())
    refused("synth", says="give documents and --out")
    refused("synth", tmp_path / "notes.txt", "--out", "talks.txt", says=r"name a \.jsonl")
    refused("synth", tmp_path, "--out", tmp_path / "t.jsonl", says="lies inside the data")
    refused("synth", tmp_path / "none.txt", "--out", out, says="no such file")
    refused("synth", tmp_path / "notes.txt", "--out", out, "--turns", "0", says="--turns 0: must be 1 or more")
    refused("synth", tmp_path / "notes.txt", "--out", out, "--turns", "2", "--as", "questions", says="--per-passage")
    refused("synth", tmp_path / "notes.txt", "--out", out, "--threshold", "1", says="--threshold")
    (tmp_path / "other.jsonl").write_text('{"text": "mine"}\n')
    refused("synth", tmp_path / "notes.txt", "--out", tmp_path / "other.jsonl", says="not made by lab synth")
    (tmp_path / "short.txt").write_text("Too short.")
    refused("synth", tmp_path / "short.txt", "--out", out, says="no passage in these files")


def test_what_a_model_babbles_is_dropped_and_counted(here: Here, chat_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("\n\n".join([HYDROGEN, HYDROGEN, *stories(2)]))
    out = tmp_path / "new" / "talks.jsonl"
    told = []
    for _ in range(2):
        said = here(
            "synth", tmp_path / "notes.txt", "--out", out, "--model", chat_model, "--passage-size", "120", "--json"
        )
        assert said.code == 0, said.err
        told.append(json.loads(said.out))
    assert told[0]["passages"] == told[0]["new"] == sum(told[0]["dropped"].values())
    assert told[0]["repeated"] == 1
    assert (told[1]["new"], told[1]["dropped"], told[1]["rows"]) == (0, told[0]["dropped"], 0)


def row(i: int) -> Written:
    passage = Passage(f"Passage {i} of some words.", f"n.txt:{i}")
    messages = [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": "It is."}]
    return Written(passage, [{"messages": messages, "source": passage.source, "passage": passage.text}], [("bad", "x")])


def test_every_byte_at_which_a_power_cut_may_come(tmp_path: Path) -> None:
    """Whatever is left of both files, what is whole is kept, and no passage is lost or told twice."""
    out = tmp_path / "talks.jsonl"
    log = tmp_path / ".talks.jsonl.synth"
    with opened(out, "messages") as store:
        for i in range(3):
            store.add(row(i))
    rows, lines = out.read_bytes(), log.read_bytes()
    ends = [at + 1 for at, byte in enumerate(rows) if byte == ord("\n")]
    for cut in range(len(rows)):
        out.write_bytes(rows[:cut])
        whole = sum(end <= cut for end in ends)
        log.write_bytes(b"".join(lines.splitlines(keepends=True)[:whole]) + (b'{"passa' if cut % 2 else b""))
        with opened(out, "messages") as store:
            assert store.rows == whole
            assert store.done == {digest(row(i).passage.text) for i in range(whole)}
            assert store.questions == {f"what is {i}" for i in range(whole)}
            for i in range(whole, 3):
                store.add(row(i))
        assert out.read_bytes() == rows
        assert log.read_bytes() == lines


def test_one_file_holds_one_kind_and_one_writer(tmp_path: Path) -> None:
    from lab.errors import UserError

    out = tmp_path / "talks.jsonl"
    with opened(out, "messages") as store:
        store.add(row(0))
        with pytest.raises(UserError, match="another lab synth is writing it"), opened(out, "messages"):
            pass
    with pytest.raises(UserError, match="holds messages, and --as is questions"), opened(out, "questions"):
        pass


STEPS = 150

# -- a model that writes -----------------------------------------------------------------------------------------------

FACTS = {
    "Ada took a red kite to the lake on Monday, and her brother Bo came along with a drum.": (
        ("Who took a red kite to the lake?", "Ada took a red kite to the lake.", "Ada"),
        ("Who came along with a drum?", "Her brother Bo came along with a drum.", "brother Bo"),
    ),
    "Cleo has an old boat in the barn, which she paints blue every spring with her friend Dan.": (
        ("What does Cleo paint every spring?", "She paints an old boat blue every spring.", "an old boat"),
        ("Who has a boat in the barn?", "Cleo has an old boat in the barn.", "Cleo"),
    ),
}  # fmt: skip


def taught() -> list[tuple[list[chat.Message], str]]:
    """(messages, the reply to learn) for all that is asked about the two passages."""
    out: list[tuple[list[chat.Message], str]] = []
    for passage, turns in FACTS.items():
        talk = [*EXAMPLE, chat.Message(role="user", content=ASK.format(passage=passage))]
        for question, answer, short in turns:
            out.append((talk, question))
            talk = [*talk, *(chat.Message(role=r, content=c) for r, c in (("assistant", question), ("user", MORE)))]
            for form, said in ((SENTENCE, answer), (WORDS, short)):
                out.append(([chat.Message(role="user", content=form.format(passage=passage, question=question))], said))
    return out


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model that has learnt by heart what to write about two passages: 15 s of one core."""
    pairs = taught()
    spoken = [str(message["content"]) for talk, _ in pairs for message in talk]
    tokenizer = Tokenizer.train([*spoken, *(said for _, said in pairs), *stories(50)], 640)
    tokenizer.chat_template = OURS
    network = Transformer(Shape(tokenizer.vocab_size, 96, 2, 4, 4, 24, 256, max_position_embeddings=1024))
    network.initialise(0)
    samples = []
    for talk, said in pairs:
        before = chat.prompt(tokenizer, talk)
        reply = [*tokenizer.encode(said), tokenizer.end]
        samples.append(sample([*before, *reply], [0.0] * len(before) + [1.0] * len(reply)))
    learner = Learner(network, Schedule(0.02, STEPS, warmup=5))
    for step in range(1, STEPS + 1):
        loss = learner.step(step, bucketed(samples, tokenizer.pad or 0), nll).loss
        if loss < 0.003:
            break
    assert loss < 0.05, (step, loss)
    folder = tmp_path_factory.mktemp("writer") / "writer"
    weights.save(folder, network, tokenizer)
    return folder


def conversation(passage: str) -> list[str]:
    return [said for question, answer, _ in FACTS[passage] for said in (question, answer)]


@pytest.mark.slow
def test_conversations_are_written_kept_and_read_by_sft(writer: Path, here: Here, tmp_path: Path) -> None:
    one, two = FACTS
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text(f"\n{one}\n")
    out = tmp_path / "talks.jsonl"
    flags = ["--out", out, "--model", writer, "--threshold", "0", "--temp", "0", "--turns", "2", "--json"]
    first = here("synth", tmp_path / "notes", *flags)
    assert first.code == 0, first.err
    assert json.loads(first.out)["new_rows"] == 1
    (tmp_path / "notes" / "b.txt").write_text(two)  # what is new is read, and nothing else
    second = json.loads(here("synth", tmp_path / "notes", *flags).out)
    assert (second["passages"], second["new"], second["rows"], second["dropped"]) == (2, 1, 2, {})
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [[m["content"] for m in row["messages"]] for row in rows] == [conversation(one), conversation(two)]
    assert [(row["source"], row["passage"]) for row in rows] == [("a.txt:2", one), ("b.txt:1", two)]
    for row in rows:
        assert talks.conversation(row) == row["messages"]
    found = talks.load(str(out), Tokenizer.load(writer), 512)
    assert (len(found.valid) + len(found.draw(0, 1, 1)), found.bad) == (2, {})


@pytest.mark.slow
def test_short_questions_for_interrogate_and_none_twice(writer: Path, here: Here, tmp_path: Path) -> None:
    one = next(iter(FACTS))
    (tmp_path / "a.txt").write_text(one)
    out = tmp_path / "asked.jsonl"
    said = here("synth", tmp_path / "a.txt", "--out", out, "--model", writer, "--threshold", "0", "--temp", "0",
                "--as", "questions", "--per-passage", "3", "--show", "1", "--examples", "1")  # fmt: skip
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    question, _, short = FACTS[one][0]
    assert [(row["question"], row["answer"], row["source"]) for row in rows] == [(question, short, "a.txt:1")]
    assert "dropped: asked before" in said.out
    assert question in said.out


@pytest.mark.slow
def test_the_judge_decides_by_its_threshold(writer: Path, home: Path) -> None:
    model = weights.load(writer)
    passages = [Passage(text, f"a:{i}") for i, text in enumerate(FACTS)]
    judge = Judge(model)
    kept = Writer(model, judge, temp=0, threshold=1e-9).write(passages)
    for one, (passage, turns) in zip(kept, FACTS.items(), strict=True):
        case = {"passage": passage, "question": turns[0][0], "answer": turns[0][1]}
        for name, form in (("answerable", ANSWERABLE), ("supported", SUPPORTED)):
            verdict = judge.ask(form, [case])[0]
            assert verdict is not None
            assert one.rows[0][name] == round(verdict.p, 4)
    strict = Writer(model, judge, temp=0, threshold=0.9999999)
    assert strict.margins == {name: judge.margin(form) for name, form in FORMS.items()}
    assert all(margin < MARGIN for margin in strict.margins.values())  # it was never taught to judge
    assert all(one.rows for one in strict.write(passages))
    strict = Writer(model, judge, temp=0, threshold=0.9999999)
    strict.margins = dict.fromkeys(strict.margins, MARGIN)
    found = strict.write(passages)
    assert [reason for one in found for reason, _ in one.dropped] == ["judge: not answerable"] * 2
    assert not any(one.rows for one in found)


@pytest.mark.slow
def test_progress_is_told_as_the_work_goes(writer: Path) -> None:
    """Not only when replies are whole: written side by side they end together, and the time left was reckoned from
    nearly nothing done."""
    passages = [Passage(text, f"a:{i}") for i, text in enumerate([*FACTS, *stories(6)])]
    model = weights.load(writer)
    for judge, asking in ((None, 0.35 / 0.58), (Judge(model), 0.35)):
        told: list[float] = []
        Writer(model, judge, temp=0, threshold=0.5 if judge else 0).write(passages, told.append)
        assert told == sorted(told)
        assert told[-1] <= 1
        # Once all passages are read, most of what asking takes is done: a question is far shorter than what is before it.
        assert 0.7 * asking < told[len(passages) - 1] < asking
        assert max(b - a for a, b in zip([0.0, *told], told, strict=False)) < 0.3


@pytest.mark.slow
def test_a_judge_that_cannot_judge_is_told_of(writer: Path, here: Here, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(next(iter(FACTS)))
    said = here("synth", tmp_path / "a.txt", "--out", tmp_path / "t.jsonl", "--model", writer, "--temp", "0", "--json")
    assert said.code == 0, said.err
    assert "does not tell right from wrong examples (answerable, supported)" in said.err
    row = json.loads((tmp_path / "t.jsonl").read_text())
    assert 0 <= row["supported"] <= 1


@pytest.mark.slow
def test_a_passage_is_written_about_alike_whatever_it_is_worked_on_with(writer: Path) -> None:
    model = weights.load(writer)
    passages = [Passage(text, f"a:{i}") for i, text in enumerate([*FACTS, *stories(3)])]
    together = Writer(model, None, each=2, temp=1.0).write(passages)
    for one in together:
        assert Writer(model, None, each=2, temp=1.0).write([one.passage])[0].rows == one.rows


@pytest.mark.slow
def test_ctrl_c_loses_no_row(writer: Path, start: Start, tmp_path: Path) -> None:
    one, two = FACTS
    texts = [one, two, *(f"{story} Number {i} of them all." for i, story in enumerate(stories(300)))]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    out, log = tmp_path / "talks.jsonl", tmp_path / ".talks.jsonl.synth"
    args = ["synth", tmp_path / "a.txt", "--out", out, "--model", writer, "--threshold", "0", "--temp", "0"]
    args += ["--batch-size", "1"]
    process = start(*args)
    until(lambda: log.exists() and log.read_text().count("\n") > 3, 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "2 rows are in" in err
    assert len(err.splitlines()) <= 4, err
    before = out.read_text()
    assert before.count("\n") == 2
    done = log.read_text().count("\n")
    assert done < len(texts)
    process = start(*args, "--limit", str(done + 5), "--json")
    said, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    facts = json.loads(said)
    assert facts["new"] <= 5
    assert out.read_text().startswith(before)
