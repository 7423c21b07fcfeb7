"""A local model judges replies: does each say what its answer says, or which of two is better?

Rows {"question", "reply", "answer"} (one answer, or a list of good ones) are first compared as text, then the judge says
how probable it is that the reply says the same. With "right": true or false in the rows, the judge is judged: how often it
agrees, and its AUROC. Rows {"prompt", "chosen", "rejected"} are pairs, asked in both orders: how often does the judge
prefer what was chosen, and how often does the order decide?

Look at "mass" first: how much probability the two words of the answer had. Far below 1, the model does not understand how
it is to answer. A judgement is kept and never computed twice, so a run that was stopped goes on where it was.

Measured with SmolLM2-135M-Instruct, far too small to be trusted: of 120 questions about elements and countries, half with a
wrong answer of the right kind, AUROC .74 [.64, .82] with --plain, .77 [.68, .84] with --calibrated too, and it agrees with
the label in 64 % [55, 72] (51 % uncalibrated); plain match in 100 %. Of 60 pairs it takes the one shown first in all 60.

Examples:
  lab judge replies.jsonl --model HuggingFaceTB/SmolLM2-1.7B-Instruct
  lab judge replies.jsonl --out scored.jsonl        each row with its p, mass and plain match
  lab judge pairs.jsonl --limit 100                 {"prompt", "chosen", "rejected"}
  lab judge replies.jsonl --calibrated --json
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional

from lab import read
from lab.display import bar
from lab.errors import UserError, expand
from lab.judge import Claim, Judge, Pair, Preference, Verdict, flips, matches
from lab.runs import write_atomic
from recipes.commands.generate import newest_model, open_model
from recipes.probing.figures import percent
from recipes.probing.figures import share as shared
from recipes.probing.neurons import auroc, interval

CHUNK = 2000  # rows whose prompts are held at once


@dataclass(frozen=True)
class Config:
    file: Positional[str] = ""
    """Rows to judge, .jsonl or .parquet."""
    model: str | None = None
    """The judge: a run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    calibrated: Annotated[bool, FlagCreatePairsOff] = False
    """Subtract what the judge says of a reply that says nothing: a small model leans towards one word. Twice the time."""
    plain: Annotated[bool, FlagCreatePairsOff] = False
    """Ask a chat model in plain text with examples, as a base model: better for the smallest."""
    limit: int = 0
    """Rows at most; 0 = all."""
    out: str | None = None
    """Write the rows with their scores to this new .jsonl."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the figures as JSON."""


class Row(NamedTuple):
    """A row that can be judged: where it stands, as it was, and what it asks."""

    number: int
    row: dict[str, Any]
    asked: Claim | Pair


def run(config: Config) -> int:
    if not config.file:
        raise UserError("give a file of rows: lab judge replies.jsonl (lab judge --help shows their form)")
    if config.limit < 0:
        raise UserError(f"--limit {config.limit}: must be 0 or more")
    out = expand(config.out).resolve() if config.out else None
    if out is not None and out.exists():
        raise UserError(f"--out {config.out}: is there already; name a new file")
    bad: Counter[str] = Counter()
    rows = list(islice(good(expand(config.file), bad), config.limit or None))
    if not rows:
        told = "; ".join(f"{count} x {reason}" for reason, count in bad.most_common(3))
        raise UserError(f"{config.file}: no row to judge{': ' + told if told else ''}")
    judge = Judge(open_model(config.model or newest_model(), None), config.calibrated, config.plain)
    found = decide(judge, rows)
    scored = [(row, one) for row, one in zip(rows, found, strict=True) if one is not None]
    if missing := len(rows) - len(scored):
        bad[f"does not fit into the judge's context of {judge.model.context} tokens"] += missing
    facts = {
        "judge": judge.model.name,
        "calibrated": config.calibrated,
        "rows": len(scored),
        "bad": dict(bad.most_common()),
    }
    facts |= {"prompts": judge.asked, "tokens": judge.computed}
    facts |= {"claims": claims([(r, v) for r, v in scored if isinstance(v, Verdict)])}
    facts |= {"pairs": pairs([v for _, v in scored if isinstance(v, Preference)])}
    if out is not None:
        text = "".join(json.dumps(row.row | added(row, one), ensure_ascii=False) + "\n" for row, one in scored)
        write_atomic(out, text)
    if config.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(facts, out)
    return 0


# -- rows --------------------------------------------------------------------------------------------------------------


def good(path: Path, bad: Counter[str]) -> Iterator[Row]:
    """The rows that can be judged; of the others the reason is counted."""
    first: dict[str, int] = {}
    for number, row in read.objects(path):
        try:
            yield Row(number, row, asked(row))
        except ValueError as error:
            reason = " ".join(str(error).split())[:120]
            first.setdefault(reason, number)
            bad[f"{reason} (first in row {first[reason]})"] += 1


def asked(row: Any) -> Claim | Pair:
    """What a row asks; ValueError with the reason where it cannot be judged."""
    if isinstance(row, ValueError):
        raise ValueError("broken JSON")
    if not isinstance(row, dict):
        raise ValueError(f"a row is {type(row).__name__}, not an object")
    if "chosen" in row and "rejected" in row:
        pair = Pair(*(said(row, name) for name in ("prompt", "chosen", "rejected")))
        if pair.a.strip() == pair.b.strip():
            raise ValueError("chosen and rejected are the same")
        return pair
    if "reply" not in row:
        raise ValueError('neither "reply" nor "chosen" and "rejected"')
    answers = row.get("answer", row.get("answers"))
    answers = answers if isinstance(answers, list) else [answers]
    told = [str(a) if isinstance(a, int | float) and not isinstance(a, bool) else a for a in answers]
    if not told or not all(isinstance(a, str) and a.strip() and not read.SURROGATE.search(a) for a in told):
        raise ValueError('"answer" is no text, and no list of texts')
    if not isinstance(row.get("right", True), bool):
        raise ValueError('"right" is neither true nor false')
    return Claim(said(row, "question"), said(row, "reply", empty=True), told)


def said(row: dict[str, Any], name: str, empty: bool = False) -> str:
    """A field as text: a string, or messages, whose contents are joined."""
    value = row.get(name)
    if isinstance(value, list) and value and all(isinstance(m, dict) for m in value):
        spoken = [m for m in value if m.get("role") == "assistant"] if name != "prompt" else value
        value = "\n\n".join(str(m.get("content") or "") for m in spoken[-1 if name != "prompt" else 0 :])
    if not isinstance(value, str) or read.SURROGATE.search(value):
        raise ValueError(f'"{name}" is no text')
    if not value.strip() and not empty:
        raise ValueError(f'"{name}" is empty')
    return value


# -- judging and figures -----------------------------------------------------------------------------------------------


def decide(judge: Judge, rows: Sequence[Row]) -> list[Verdict | Preference | None]:
    """A judgement for every row, with progress. The bar counts in millions."""
    found: dict[int, Verdict | Preference | None] = {}
    with bar(judge.model.name, "judges", len(rows) * 1_000_000, "rows") as tell:
        for start in range(0, len(rows), CHUNK):
            some = range(start, min(start + CHUNK, len(rows)))
            after = start + sum(isinstance(rows[i].asked, Claim) for i in some)
            single = [i for i in some if isinstance(rows[i].asked, Claim)]
            double = [i for i in some if isinstance(rows[i].asked, Pair)]
            verdicts = judge.verdicts(
                [c for i in single if isinstance(c := rows[i].asked, Claim)],
                lambda done, start=start: tell((start + done) * 1_000_000),  # type: ignore[misc]
            )
            found |= zip(single, verdicts, strict=True)
            preferences = judge.preferences(
                [p for i in double if isinstance(p := rows[i].asked, Pair)],
                lambda done, start=after: tell((start + done) * 1_000_000),  # type: ignore[misc]
            )
            found |= zip(double, preferences, strict=True)
    return [found[i] for i in range(len(rows))]


def added(row: Row, one: Verdict | Preference) -> dict[str, Any]:
    """What --out adds to a row."""
    if isinstance(one, Preference):
        return {"p_chosen": round(one.p, 4), "mass": round(one.mass, 4), "flips": one.flips}
    assert isinstance(row.asked, Claim)
    return {"p": round(one.p, 4), "mass": round(one.mass, 4), "matches": matches(row.asked.reply, row.asked.answers)}


def claims(scored: Sequence[tuple[Row, Verdict]]) -> dict[str, Any] | None:
    """Figures of the replies with a reference answer."""
    if not scored:
        return None
    p, mass = np.array([v.p for _, v in scored]), np.array([v.mass for _, v in scored])
    plain = np.array([matches(row.asked.reply, row.asked.answers) for row, _ in scored if isinstance(row.asked, Claim)])
    facts: dict[str, Any] = {
        "judged_right": shared(int((p > 0.5).sum()), len(p)),
        "match_right": shared(int(plain.sum()), len(p)),
        "judge_agrees_with_match": shared(int(((p > 0.5) == plain).sum()), len(p)),
        "mean_mass": float(mass.mean()),
    }
    known = np.array(["right" in row.row for row, _ in scored])
    if known.any():
        right = np.array([bool(row.row.get("right")) for row, _ in scored])[known]
        facts["judge_agrees_with_label"] = shared(int(((p[known] > 0.5) == right).sum()), len(right))
        facts["match_agrees_with_label"] = shared(int((plain[known] == right).sum()), len(right))
        if right.any() and not right.all():
            low, high = interval(p[known], right, np.arange(len(right)), 0)
            facts["auroc"] = {"auroc": float(auroc(p[known][:, None], right[None])[0, 0]), "low": low, "high": high}
    return facts


def pairs(found: Sequence[Preference]) -> dict[str, Any] | None:
    """Figures of the pairs; `chosen` is shown first in one order and second in the other."""
    if not found:
        return None
    return {
        "agrees_with_label": shared(sum(one.p > 0.5 for one in found), len(found)),
        "flips_with_the_order": shared(round(flips(found) * len(found)), len(found)),
        "prefers_what_is_first": float(np.mean([(one.first + 1 - one.second) / 2 for one in found])),
        "mean_mass": float(np.mean([one.mass for one in found])),
    }


WORDS = {
    "judged_right": "the judge says right (p > .5)",
    "match_right": "plain match says right",
    "judge_agrees_with_match": "judge and match agree",
    "judge_agrees_with_label": "judge agrees with the label",
    "match_agrees_with_label": "plain match agrees with the label",
    "auroc": "AUROC: a right reply ranks above a wrong one",
    "agrees_with_label": "the judge prefers the chosen reply",
    "flips_with_the_order": "the verdict flips with the order",
    "prefers_what_is_first": "mean p of the reply shown first (no bias: .5)",
    "mean_mass": "probability of the two words (near 1 is good)",
}


def show(facts: dict[str, Any], out: Path | None) -> None:
    """A table a person reads."""
    console = Console()
    for part, title in (("claims", "replies against their answers"), ("pairs", "pairs, in both orders")):
        if not (figures := facts[part]):
            continue
        table = Table("", title, box=None, header_style="bold")
        for name, value in figures.items():
            if name == "auroc":
                text = f"{value['auroc']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
            else:
                text = f"{percent(value)} of {value['of']:,}" if isinstance(value, dict) else f"{value:.2f}"
            table.add_row(WORDS[name], escape(text))
        console.print(table)
    for reason, count in facts["bad"].items():
        console.print(f"left out: {count:,} x {reason}", markup=False, highlight=False)
    console.print(
        f"{facts['judge']}: {facts['rows']:,} rows, {facts['prompts']:,} new prompts, {facts['tokens']:,} tokens",
        markup=False, highlight=False,
    )  # fmt: skip
    if out is not None:
        console.print(f"Written to {out}", markup=False, soft_wrap=True)
