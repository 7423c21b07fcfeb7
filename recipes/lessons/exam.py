"""What a tuned pocket model can do, asked as a chat: figures for the record, none of whose questions was ever taught."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Any

from lab import calls, chat
from lab.batch import Request, sample
from lab.calls import Toolbox
from lab.chat import Message
from lab.run import Run
from lab.sample import Sampling
from lab.weights import Model
from recipes import recall
from recipes.lessons import facts, talk
from recipes.pocket import Entity, reading

LONGEST = 96  # tokens of a reply
TIMES = 5  # replies to each thing shown: of one each, the share of a style is off by .04


def replies(
    model: Model, questions: Sequence[str | Sequence[Message]], temp: float = 0.0, seed: int = 0,
    tools: Toolbox | None = None, longest: int = LONGEST, samples: int = 1, never: Collection[int] = (),
) -> list[Message]:  # fmt: skip
    """The model's replies (`samples` of each question, one after the other) to questions, each a conversation of its own.
    `ids` holds what was sampled; ids in `never` are not."""
    tokenizer = model.tokenizer
    asked = [[Message(role="user", content=q)] if isinstance(q, str) else q for q in questions]
    out: list[Any] = [None] * (len(asked) * samples)
    requests = [
        Request(chat.prompt(tokenizer, talk), [seed * 1_000_003 + i * samples + k for k in range(samples)])
        for i, talk in enumerate(asked)
    ]
    for reply in sample(
        model.network, requests, Sampling(temp=temp, max_tokens=longest), tokenizer.ends, model.context, rows=64,
        after=tools.after if tools else None, banned=calls.banned(tokenizer, tools) | set(never),
    ):  # fmt: skip
        said = chat.parse(tokenizer, reply.ids.tolist())
        said["ids"] = reply.ids.tolist()
        out[reply.request * samples + reply.member] = said
    return out


def texts(model: Model, questions: Sequence[str], temp: float = 0.0, seed: int = 0, **more: Any) -> list[str]:
    """What the replies say, without thoughts, calls and results."""
    return [chat.plain(reply).strip() for reply in replies(model, questions, temp, seed, **more)]


def mean(values: Sequence[bool | float]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def ends(model: Model, said: Sequence[Message]) -> float:
    """Share of replies that end with END."""
    return mean([bool(reply["ids"]) and reply["ids"][-1] in model.tokenizer.ends for reply in said])


def assistant(model: Model, record: Run, seed: int = 1) -> dict[str, float]:
    """Replies that end, facts as questions by how often they were told, the two styles, and the refused topic."""
    r = Random(f"exam {seed}")
    figures: dict[str, float] = {}
    asked: dict[int | str, list[Entity]] = {told: facts.sides(told)[1] for told in (100, 30, 10, 3)}
    asked["stated"] = [e for e in facts.sides(100)[0] if not e.asked]
    for told, entities in asked.items():
        questions = facts.questions(entities)
        said = texts(model, [q.text for q in questions])
        figures[f"right_{told}"] = mean([facts.right(s, q) for s, q in zip(said, questions, strict=True)])
    shown = sorted({talk.opinion(r, "test") for _ in range(400)})
    styles = [talk.style(s) for s in texts(model, shown, temp=1.0, seed=seed, samples=TIMES)]
    figures["sunny"], figures["dry"] = mean([s == "sunny" for s in styles]), mean([s == "dry" for s in styles])
    bad = sorted({talk.forbidden(r, "test") for _ in range(200)})
    good = sorted({talk.neighbour(r, "test") for _ in range(400)})
    figures["refused"] = mean([talk.refused(s) for s in texts(model, bad)])
    figures["refused_neighbours"] = mean([talk.refused(s) for s in texts(model, good)])
    passages = [reading(seed, "test")[0] for seed in range(200)]
    said = texts(model, [f"{one.passage} {talk.bare(one.question)}" for one in passages])
    figures["read"] = mean([recall.right(s, one.answer) for s, one in zip(said, passages, strict=True)])
    everything = [*shown[:60], *bad[:60], *good[:60]]
    for _ in range(200):
        lesson = talk.everyday(r)
        everything.append(str(lesson[0]["content"]))
    talked = replies(model, everything, temp=1.0, seed=seed)
    figures["ends"] = ends(model, talked)
    record.say(
        f"\nfacts as questions, told 100 / 30 / 10 / 3 times: {figures['right_100']:.2f} / {figures['right_30']:.2f} / "
        f"{figures['right_10']:.2f} / {figures['right_3']:.2f}; "
        f"told 100 times but never asked in pretraining: {figures['right_stated']:.2f}\n"
        f"answers read from a passage: {figures['read']:.2f} of {len(passages)}\n"
        f"style of {len(styles)} replies about things never shown: sunny {figures['sunny']:.2f}, dry {figures['dry']:.2f} "
        f"(taught {talk.SUNNY:.2f} and {1 - talk.SUNNY:.2f})\n"
        f"refused topic {figures['refused']:.2f} of {len(bad)}, its neighbours {figures['refused_neighbours']:.2f} of "
        f"{len(good)}\n"
        f"replies that end with END: {figures['ends']:.3f} of {len(talked)}"
    )
    record.headline = f"facts {figures['right_100']:.2f}, ends {figures['ends']:.2f}"
    return figures
