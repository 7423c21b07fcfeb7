"""A model learns to look up what it does not know: it opens a call, writes a query, closes it; the result enters as tokens
it did not write (mask 0), and it answers from what it reads.

Names are fresh in every batch, so the only way to get a query right is to copy it: from a fixed list of names a model
learns the list. What the interrogation found known is answered straight, so that a call says "I do not know this". One
search in eight finds nothing, somebody else, or a broken index: then the reply says so.

Expected, pocket preset, 2,000 steps (seeds 0 / 1; 22 CPU-minutes on one of two busy cores): of 610 questions about names never
told it calls on .96 / .96, the query is the name in .96 / .95 of the calls, the answer right in .91 / .90, invented in .05 /
.06. An empty index is answered with "I do not know" in .96 / .95, one that holds others of the same first names in .99 / .98
(two words are searched for together: with either of them it found these, and their facts were given as the answer in .63). With
no search at hand it admits. Known names that no lesson has it looks up in .41 / .51, of these queries .92 / .94 are the name;
right .90 / .90.

What makes it keep what it knows. (1) A call is decided by the first token of a reply, and what decides is the share of first
replies that call. Half of the lookups are asked for in words ("Look it up: ..."): they teach to copy a name and to read what
is found, and not that every name is to be looked up. Where nearly all were bare questions, known names were looked up in .64 /
.70. (2) Documents tell all names again, as pretraining did: without these the names it keeps are the list of those that lessons
answer (looked up .11; of those that only lab sft asked about .52; of those that no lesson has .65), and by heart it knew .58.
(3) What no lesson writes becomes unlikely: surnames told often are tokens of their own, in no stranger's name, and Milo was
looked up with another's surname (query right .55 / .59). So some whom a person wants looked up have such a surname, and one
lookup in eight is an echo as pretraining had them; the embeddings are left as they are. (4) Such namesakes also teach to read:
where three in ten of what is asked for was told often itself, what is found need not be read, and towns were given from
memory (never told right .84). Tuning the last two layers alone changed nothing, with the output matrix left as it is too it
never calls.

A real model: SmolLM2-135M-Instruct (LoRA, its rate of 1e-3, 60 steps of 4 out of 165 examples about the World Factbook's
19,993 passages; 10 CPU-minutes) calls on 1.00 of 184 questions about other countries; the query is the right one in .84 [.78,
.88], the answer right in .71 [.64, .77] (with the right query .82 can be), admitted .12, invented .17. At the usual rate of
2e-4 it did not learn in as many steps to close a call (answers .00): its tokens for that begin as nobody's.

Examples:
  lab search                                       pocket-honest learns to search
  lab chat --model search-1 --search weights/search-1/pocket.db
  lab search --model smollm2.gguf --data qa.jsonl --index notes.db --iters 60
                                                   a real model, your own documents
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated

from tyro.conf import FlagCreatePairsOff

from lab import index, talks
from lab.calls import Toolbox
from lab.chat import Message
from lab.errors import UserError, expand
from lab.hub_chat import offering
from lab.run import Run
from lab.talks import Talks
from lab.tools import Search
from lab.weights import Model
from recipes import lessons, pocket, tuning
from recipes.estimate import Plan
from recipes.interrogate import KNOWN, NEVER, scored_items
from recipes.lessons import ask, call, facts, knowledge, lookup, result, talk, text
from recipes.lessons.knowledge import Item
from recipes.probing.figures import wilson_of
from recipes.tuning import CHARTS, Tuning

Weighted = list[tuple[float, lessons.Lesson]]
__all__ = ["CHARTS", "Config", "check", "plan", "run"]
ITERS = 2000  # steps on the pocket world
EPOCHS = 3  # passes over examples of your own
FRESH_RATE = 1e-3  # with adapters: at the usual 2e-4 SmolLM2 did not learn in 60 steps to close a call
STRANGERS = 200  # names that the pocket index does not hold, asked at the end
SEARCHING, STRAIGHT, TOLD, REPLAY = 0.56, 0.18, 0.13, 0.13  # shares of the lessons
ANSWERED = 0.25  # of what is answered straight, share of names that lab sft asked about
JOINED = 0.3  # share of the conversations that hold two of them
PROMPTS = ("What is the capital of France?", "What is the job of Emma Zorbafen?", "Who are you?", "What is 12 plus 30?")


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-honest"
    """What learns to search: a run, a folder, a hub id or a GGUF file that can chat."""
    data: str | None = None
    """Questions of your own, .jsonl or .parquet: rows {"question", "answer"}, "query", what to search for, and maybe "about"
    where several are about one thing."""
    index: str | None = None
    """With --data: the index that is searched, made by lab index."""
    labels: str | None = None
    """A knowledge.jsonl of lab interrogate: what it calls known is answered without a search (that of --model)."""
    always: Annotated[bool, FlagCreatePairsOff] = False
    """Search for known names too: teaches how to, and leaves when to lab grpo --task facts --call-price 0.4."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    if config.always and config.data:
        raise UserError("--always is about the pocket world's names; with --data leave it out")
    if (config.data is None) != (config.index is None):
        raise UserError("--data and --index belong together: questions, and where their answers are found")
    for path in (config.data, config.index, config.labels):
        if path and not expand(path).is_file():
            raise UserError(f"{path}: no such file")


def run(config: Config, record: Run) -> None:
    """Questions -> calls, forced results and answers; scored on names that no training holds."""
    model = able(tuning.open_model(config, tools=True))
    known = straight(config.labels, model, needed=not config.data)
    if config.data and config.index:
        with Search(config.index) as tool:
            tools = Toolbox(model.tokenizer, [tool])
            rows, scored = own(config, lambda query: tools.cut(tool(query)))
            held = sum(one.right(tools.cut(tool(one.query))) for one in scored)
            record.say(f"the right query finds the answer to {held} of the {len(scored)} questions that are scored")
            school = few(config, model, rows, known)
            prompts = [[Message(role="user", content=one.question)] for one in scored[:: max(1, len(scored) // 4)][:4]]
            tuning.tune(
                paced(config, model), record, model, school, steps(config, len(rows), tuning.rows(config, model)), prompts,
                exam=lambda: examined(record, model, scored, tool),
            )  # fmt: skip
        return
    place = record.folder / "pocket.db"
    index.build(place, pocket.index())
    prompts = [[Message(role="user", content=said)] for said in PROMPTS]
    with Search(place) as tool:
        tuning.tune(
            tuning.still(config, model), record, model, fresh(config, model, known), config.iters or ITERS, prompts,
            exam=lambda: examined(record, model, scored_items(), tool) | without(record, model),
        )  # fmt: skip


def able(model: Model) -> Model:
    """The model that is told of its search in each prompt, where it is one that calls by JSON: as it will be in a chat."""
    return replace(model, tokenizer=offering(model.tokenizer, ["search"]))


def paced(config: Config, model: Model) -> Config:
    """With a rate for tokens that nobody has used yet, where calls are written in such, and no other was asked for."""
    if config.learning_rate or not model.tokenizer.reserved or tuning.in_full(config, model):
        return config
    return replace(config, learning_rate=FRESH_RATE)


def steps(config: Config, count: int, rows: int) -> int:
    """How many on so many examples of your own, by default."""
    return config.iters or max(1, EPOCHS * count // rows)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.practice import practising  # it opens the model

    taught, scored = sides(config) if config.data else ([], scored_items())
    never = sum(one.group == NEVER for one in scored)
    asked = len(scored) + (STRANGERS + never if not config.data else 0)

    def school(model: Model, longest: int) -> Talks:
        model = able(model)
        known = straight(config.labels, model, needed=not config.data)
        if not config.index:
            return fresh(config, model, known)
        with Search(config.index) as tool:
            tools = Toolbox(model.tokenizer, [tool])
            return few(config, model, own(config, lambda query: tools.cut(tool(query)))[0], known)

    def count(talks: Talks, rows: int) -> int:
        return steps(config, len(taught), rows) if config.data else config.iters or ITERS

    return practising(config, school, count, len(PROMPTS), asked, reply=None, tools=True)


def straight(labels: str | None, model: Model, needed: bool = True) -> list[list[Message]]:
    """The conversations about what the model knows, out of --labels, or of the last interrogation in its lineage."""
    folders = [model.folder, *(info["folder"] for info in tuning.lineage(str(model.folder)))]
    found = (
        [expand(labels)] if labels else [f / "knowledge.jsonl" for f in folders if (f / "knowledge.jsonl").is_file()]
    )
    if not found:
        if not needed:
            return []
        raise UserError(f"{model.name} was never interrogated; run lab interrogate first, or give --labels FILE")
    known = [row["messages"] for row in knowledge.labelled(found[0]) if row["label"] == "known"]
    if not known and needed:
        raise UserError(f"{found[0]}: nothing in it is known; interrogate the model again")
    return known


def beside(known: list[list[Message]], searching: float, straight: float, told: float, replay: float) -> Weighted:
    """Lessons of the stages before, in shares, so that nothing is forgotten: searches, what is known answered without one and
    told in documents (where nothing is known, none of these: it never learnt to search either), and the assistant's own."""
    found: Weighted = [(replay * share, lesson) for share, lesson in talk.REPLAY]
    return [(searching, lookup.lesson), *answering(known, straight), (told, lookup.told), *found] if known else found


def answering(known: list[list[Message]], share: float) -> Weighted:
    """What is known, answered: found out by the interrogation, and what lab sft asked about."""
    return [((1 - ANSWERED) * share, lambda r: r.choice(known)), (ANSWERED * share, lookup.answered)]


def fresh(config: Config, model: Model, known: list[list[Message]]) -> Talks:
    """Lessons about names that are new each time, answers to what is known, and some of before."""
    # One in twenty of what is known is answered straight all the same: reinforcement can only raise what is tried at times.
    looked_up = 0.95 * STRAIGHT if config.always else 0.0
    mixed = [*beside(known, SEARCHING, STRAIGHT - looked_up, TOLD, REPLAY), (looked_up, lookup.known)]
    return talks.endless(
        f"search {config.always}" + json.dumps(known),
        lessons.mixed("search", mixed, JOINED),
        model.tokenizer,
        tuning.longest(config, model),
    )


# -- examples of your own --------------------------------------------------------------------------------------------


def sides(config: Config) -> tuple[list[Item], list[Item]]:
    """(questions to train on, questions to score)."""
    return knowledge.split(list(knowledge.own(expand(config.data or ""))), config.seed)


def own(config: Config, tool: Callable[[str], str]) -> tuple[list[list[Message]], list[Item]]:
    """(conversations to train on, questions to score): what each query really finds, and the answer where it is in it."""
    train, scored = sides(config)
    r, rows = Random(f"search {config.seed}"), []
    for one in train:
        told = tool(one.query)
        reply = f"{one.answer.rstrip('.')}." if one.right(told) else r.choice(lookup.NOT_FOUND).format(n=one.about)
        rows.append(ask(one.question, [call("search", one.query), result(told), text(reply)]))
    return rows, scored


def few(config: Config, model: Model, rows: list[list[Message]], known: list[list[Message]]) -> Talks:
    """A finite set, with a tenth held out for the loss. What is known is answered, and not searched for as well."""
    longest, answered = tuning.longest(config, model), {str(messages[0]["content"]) for messages in known}
    rows = [messages for messages in rows if messages[0]["content"] not in answered]
    samples = [tuning.to_sample(model, messages, longest) for messages in (*rows, *known)]
    return talks.finite(json.dumps([rows, known]), samples[len(samples) // 10 :], samples[: len(samples) // 10])


# -- figures ---------------------------------------------------------------------------------------------------------


def examined(record: Run, model: Model, scored: list[Item], tool: Search) -> dict[str, float]:
    """Calls, queries and answers by group."""
    figures: dict[str, float] = {}
    groups = dict.fromkeys(one.group for one in scored)
    record.say(f"\nwith {tool.path.name} ({tool.count:,} passages):")
    for group in groups:
        items = [one for one in scored if one.group == group]
        did = lookup.did(model, items, tool)
        share = lookup.shares(did)
        record.say(line(f"told {group}" if group.endswith("x") else group or "asked", items, did))
        figures |= {f"{name}_{group or 'asked'}": value for name, value in share.items()}
    if {KNOWN, NEVER} <= set(groups):
        record.headline = (
            f"never-seen right {figures[f'right_{NEVER}']:.2f}, called on known {figures[f'called_{KNOWN}']:.2f}"
        )
    return figures


def without(record: Run, model: Model) -> dict[str, float]:
    """Names that the pocket index does not hold, and an index that holds nothing: admitted, or invented?"""
    r = Random("nowhere")
    strangers = [knowledge.item(facts.some(r, facts.stranger(r, "test")), "nowhere") for _ in range(STRANGERS)]
    never = [one for one in scored_items() if one.group == NEVER]
    empty = record.folder / "empty.db"
    index.build(empty, [("nothing", "Nothing is told in here.")])  # no index is without a passage
    figures: dict[str, float] = {}
    for words, path, items in (("not in the index", "pocket.db", strangers), ("the index is empty", "empty.db", never)):
        with Search(record.folder / path) as tool:
            did = lookup.did(model, items, tool)
        share = lookup.shares(did)
        record.say(line(words, items, did))
        figures |= {f"{name}_{path.removesuffix('.db')}_absent": value for name, value in share.items()}
    empty.unlink()
    return figures


def line(words: str, items: Sequence[Item], found: Sequence[lookup.Did]) -> str:
    """One row of the report, with 95 % intervals over what the questions are about."""
    asked = [(one.about, did) for one, did in zip(items, found, strict=True)]
    called = [(about, did) for about, did in asked if did.called]

    def told(name: str) -> str:
        some = called if name == "copied" else asked
        hits = [bool(getattr(did, name)) if name in ("called", "copied") else did.verdict == name for _, did in some]
        low, high = wilson_of(hits, [about for about, _ in some])
        return f"{lookup.exam.mean(hits):.2f} [{low:.2f}, {high:.2f}]"

    return (
        f"  {words:18} {len(items):4} questions: called {told('called')}, query right {told('copied')}, answer right "
        f'{told("right")}, "I do not know" {told("admitted")}, invented {told("invented")}'
    )
