"""Few-shot: a rule the model has never seen, shown by examples in the prompt (Brown et al. 2020, arXiv:2005.14165).

The same mappings and the same open question with 0, 1, 4 and 8 examples before it; no weight changes in between.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.batch import complete
from recipes import pocket
from recipes.probing.figures import percent, share, shorten
from recipes.probing.subject import Found, Said, Subject

SHOTS = (0, 1, 4, 8)


@dataclass(frozen=True)
class Case:
    """One open question with its examples before it: the prompt, its answer, and what a lazy model would say."""

    prompt: str
    truth: str
    query: str
    shown: tuple[str, ...]  # outputs of the examples, in order
    separator: str
    rule: str


def case(mapping: pocket.Mapping, shots: int) -> Case:
    """The mapping's question with so many examples; the question does not depend on their number."""
    query = mapping.items(max(SHOTS) + 1)[-1]
    prompt, truth = mapping.prompt(shots, query)
    shown = tuple(out for _, out in mapping.examples(shots))
    return Case(prompt, truth, query, shown, mapping.separator, mapping.rule)


def answer(said: str, separator: str) -> str:
    """What a continuation answers: up to the separator, the line's end, or a full stop (which ends the last example)."""
    marks = {"\n", ".", separator.strip() or "\n"}
    return re.split("|".join(map(re.escape, sorted(marks))), said.strip(" "))[0].strip()


def judge(one: Case, said: str) -> str:
    """'right', 'copied an output', 'copied the input' or 'other'."""
    reply = answer(said, one.separator)
    if reply == one.truth:
        return "right"
    if reply in one.shown:
        return "copied an output"
    return "copied the input" if reply == one.query else "other"


def score(cases: Sequence[Case], said: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its interval, by rule, how often a wrong answer was a copy, and what blind copying would score."""
    verdicts = [judge(one, text) for one, text in zip(cases, said, strict=True)]
    counts, rules = Counter(verdicts), defaultdict[str, list[bool]](list)
    for one, verdict in zip(cases, verdicts, strict=True):
        rules[one.rule].append(verdict == "right")
    lazy = sum(bool(one.shown) and one.shown[-1] == one.truth for one in cases)
    return {
        "right": share(counts["right"], len(cases)),
        "copied_output": counts["copied an output"] / max(1, len(cases)),
        "copied_input": counts["copied the input"] / max(1, len(cases)),
        "last_output": lazy / max(1, len(cases)),
        "rules": {rule: {"right": sum(rights), "of": len(rights)} for rule, rights in sorted(rules.items())},
    }


def parts(subject: Subject) -> dict[str, list[Case]]:
    """The same mappings at every number of examples; those whose longest prompt leaves no room are left out."""
    mappings = [pocket.mapping(i, "test") for i in range(subject.sizes.mappings)]
    longest = subject.prompts([case(m, max(SHOTS)).prompt for m in mappings])
    fit = [m for m, ids in zip(mappings, longest, strict=True) if len(ids) + _room(subject, m) <= subject.context]
    return {f"shots_{shots}": [case(m, shots) for m in fit] for shots in SHOTS} if fit else {}


def _room(subject: Subject, mapping: pocket.Mapping) -> int:
    """Tokens of the answer and what ends it."""
    one = case(mapping, 0)
    return len(subject.tokenizer.encode(f" {one.truth}{one.separator}")) + 2


def measure(subject: Subject, cases: list[Case]) -> Found:
    """Greedy answers to all cases."""
    prompts = subject.prompts([one.prompt for one in cases])
    room = max(len(ids) for ids in subject.tokenizer.encode_batch([f" {c.truth}{c.separator}" for c in cases])) + 2
    room = min(room, subject.context - max(map(len, prompts)))
    replies = complete(subject.network, prompts, room, subject.tokenizer.ends)
    said = [subject.tokenizer.decode(ids) for ids in replies]
    numbers = score(cases, said)
    inside = [i for i, ids in enumerate(prompts) if len(ids) + room <= subject.trained_length]
    numbers["in_window"] = share(sum(judge(cases[i], said[i]) == "right" for i in inside), len(inside))
    shown = [
        Said(one.prompt, f" {answer(text, one.separator)} [{judge(one, text)}]", ids)
        for one, text, ids in list(zip(cases, said, replies, strict=True))[:4]
    ]
    return Found(numbers, shown)


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table, its reading, and a few prompts with their answers."""
    numbers = {key: found.numbers for key, found in parts.items()}
    lines = ["examples  right [95 %]        copied an output  copied the input  blind copying of the last would score"]
    for key, n in numbers.items():
        lines.append(
            f"{key.removeprefix('shots_'):>8}  {percent(n['right']):17}  {n['copied_output']:16.2f}"
            f"  {n['copied_input']:16.2f}  {n['last_output']:21.2f}"
        )
    keys = list(numbers)
    none, many = numbers[keys[0]]["right"], numbers[keys[-1]]["right"]
    lines.append("by rule, right of asked:  " + "  ".join(f"{key.removeprefix('shots_'):>6}" for key in keys))
    for rule in numbers[keys[-1]]["rules"]:
        row = (numbers[key]["rules"][rule] for key in keys)
        lines.append(f"  {rule:22}  " + "  ".join(f"{n['right']:3}/{n['of']:<2}" for n in row))
    inside = numbers[keys[-1]]["in_window"]
    if 0 < inside["of"] < many["of"]:
        lines.append(
            f"{keys[-1].removeprefix('shots_')} examples, prompts within its training window of {subject.trained_length} "
            f"tokens only: {percent(inside)} of {inside['of']}"
        )
    said = f"{keys[-1].removeprefix('shots_')} examples instead of {keys[0].removeprefix('shots_')}: "
    said += f"{100 * none['share']:.0f} % -> {100 * many['share']:.0f} %"
    if many["low"] > max(none["high"], numbers[keys[-1]]["last_output"]):
        said += ": it takes the rule from the prompt, no weight changes."
    elif many["low"] > none["high"]:
        said += ": better, but no better than copying the last example's output would be."
    else:
        said += ": the examples make no difference that chance would not make."
    shown = [f"  {shorten(s.prompt, 400)}{shorten(s.text)}" for s in parts[keys[-1]].said[:2]]
    return "\n".join([*lines, said, *shown])
