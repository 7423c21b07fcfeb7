"""An assistant by prompting: a base model continues text, and the text of a conversation goes on with an answer.

The same questions bare, as the first line of a transcript, and after one and three example turns (the prompt of Askell
et al. 2021, arXiv:2112.00861, in small).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.batch import complete
from recipes import pocket
from recipes.pocket.seeds import generator
from recipes.probing.figures import percent, says, share, shorten
from recipes.probing.passages import QUESTIONS, TALK, TURNS
from recipes.probing.subject import Found, Said, Subject

LONGEST = 24  # tokens of a reply
NEXT = "Human:"  # how the model opens the next turn, once it has ended its own


@dataclass(frozen=True)
class Asked:
    """One question: what kind it is of, its words, and the answers that are right."""

    kind: str
    question: str
    answers: tuple[str, ...]


def transcript(turns: Sequence[tuple[str, str]], question: str, joint: str) -> str:
    """A conversation up to the point where the assistant answers."""
    told = "".join(f"Human: {q}{joint}Assistant: {a}{joint}" for q, a in turns)
    return f"{told}Human: {question}{joint}Assistant:"


def known(count: int, seed: int) -> tuple[list[Asked], list[tuple[str, str]]]:
    """(what a model of the pocket world should know: facts told 100 times, small talk; example turns about others)."""
    r = generator("assistant probe", seed)
    world = [e for e in pocket.entities(exposures=100) if e.asked]
    picked = r.sample([(e, relation) for e in world for relation in e.facts], count + 2)
    asked = [Asked("facts", pocket.ask(e, relation), (e.facts[relation],)) for e, relation in picked[:count]]
    asked += [Asked("talk", question, answers) for question, answers in TALK]
    one, other = ((pocket.ask(e, relation), f"{e.facts[relation]}.") for e, relation in picked[count:])
    return asked, [one, ("Good morning.", "Good morning! How can I help you?"), other]


def parts(subject: Subject) -> dict[str, list[tuple[Asked, str]]]:
    """The same questions with their prompts in every form. The pocket world writes conversations on one line, other
    people do not."""
    if subject.told is None:
        questions, turns, joint = [Asked(*q) for q in QUESTIONS], TURNS, "\n"
    else:
        (questions, turns), joint = known(subject.sizes.questions, subject.seed), " "
    longest = subject.prompts([transcript(turns, q.question, joint) for q in questions])
    questions = [q for q, ids in zip(questions, longest, strict=True) if len(ids) + LONGEST <= subject.context]
    if not questions:
        return {}
    forms = {"bare": [(q, q.question) for q in questions]}
    if joint == "\n":  # tuned models end the text right after a question; a line break makes them say something
        forms["line"] = [(q, f"{q.question}\n") for q in questions]
    for count in (0, 1, len(turns)):
        forms[f"turns_{count}"] = [(q, transcript(turns[:count], q.question, joint)) for q in questions]
    return forms


def reply(said: str) -> tuple[str, bool]:
    """(the reply itself, whether the model went on to write the human's next turn)."""
    own, mark, _ = said.partition(NEXT)
    return own.strip(), bool(mark)


def measure(subject: Subject, asked: list[tuple[Asked, str]]) -> Found:
    """Replies of at most LONGEST tokens: right where an answer stands in them as whole words, ended where the model
    ends the text or begins the human's next turn."""
    tokenizer = subject.tokenizer
    replies = complete(subject.network, subject.prompts([prompt for _, prompt in asked]), LONGEST, tokenizer.ends)
    rows, kinds, said = list[tuple[bool, bool]](), dict[str, list[bool]](), list[Said]()
    for (one, prompt), ids in zip(asked, replies, strict=True):
        text = tokenizer.decode(ids)
        own, next_turn = reply(text)
        rows.append((says(own, one.answers), len(ids) < LONGEST or next_turn))
        kinds.setdefault(one.kind, []).append(all(rows[-1]))
        if len(kinds[one.kind]) <= 2:
            said.append(Said(prompt, text, ids))
    numbers = {
        "answers": share(sum(right for right, _ in rows), len(rows)),
        "ends": share(sum(end for _, end in rows), len(rows)),
        "both": share(sum(right and end for right, end in rows), len(rows)),
        "empty": sum(not ids for ids in replies),
        "kinds": {kind: share(sum(good), len(good)) for kind, good in kinds.items()},
    }
    return Found(numbers, said)


NAMES = {
    "bare": "the question alone",
    "line": "and a line break",
    "turns_0": "Human: ... Assistant:",
    "turns_1": "after 1 example turn",
}


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table, its reading, and one question in its barest and its longest form."""
    numbers = {key: found.numbers for key, found in parts.items()}
    keys = list(numbers)
    plain = max((key for key in keys if not key.startswith("turns_")), key=lambda key: numbers[key]["both"]["share"])
    bare, last = numbers[plain], numbers[keys[-1]]
    lines = ["prompt                   answers [95 %]     ends its turn      both               both, by kind"]
    for key, n in numbers.items():
        name = NAMES.get(key, f"after {key.removeprefix('turns_')} example turns")
        kinds = "  ".join(f"{kind} {100 * part['share']:.0f} %" for kind, part in n["kinds"].items())
        lines.append(
            f"{name:23}  {percent(n['answers']):17}  {percent(n['ends']):17}  {percent(n['both']):17}  {kinds}"
        )
    if numbers["bare"]["empty"]:
        lines.append(f"(to {numbers['bare']['empty']} of the bare questions it says nothing: it ends the text)")
    said = (
        f"Answers and stops: {100 * bare['both']['share']:.0f} % when just asked, "
        f"{100 * last['both']['share']:.0f} % in a transcript with examples"
    )
    if last["both"]["low"] > bare["both"]["high"]:
        said += ": the prompt alone makes it an assistant."
    else:
        better = [k for k in last["kinds"] if last["kinds"][k]["low"] > bare["kinds"][k]["high"]]
        said += f": the prompt makes it an assistant in {', '.join(better) or 'nothing that is asked here'}."
    shown = [
        f"  {shorten(s.prompt, 300)} ->{shorten(s.text)}" for key in (plain, keys[-1]) for s in parts[key].said[-1:]
    ]
    return "\n".join([*lines, said, *shown])
