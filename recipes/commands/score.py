"""Score replies with a reward model, best first. 0 is what the policy it was trained on says on average, 1 a standard
deviation above.

Rows are {"prompt", "reply"}, {"messages"} whose last message is the assistant's, or {"prompt", "options"} (lab rank), each of
whose options is scored. --against FIELD compares with a number in the rows: their correlation. `--against gold` is the
hidden judge of the pocket world's jokes.

Examples:
  lab score --model reward-model-1 replies.jsonl
  lab score --model reward-model-1 jokes.jsonl --against gold --top 5
  lab score --model reward-model-1 replies.jsonl --out scored.jsonl
  echo '{"prompt": "Tell a dry joke about a pelican at the bank.", "reply": "The pelican went home."}' | lab score -
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional

from lab import read, reward
from lab.display import CONTROLS, bar
from lab.errors import UserError, expand
from lab.rankings import Prompt, ranking, text_of
from lab.reward import RewardModel
from lab.runs import runs, write_atomic
from lab.talks import Bad, Tally, fields
from recipes.commands.generate import from_stdin

SHOWN = 200  # characters of a reply in the table


@dataclass(frozen=True)
class Config:
    file: Positional[str] = ""
    """Rows to score, .jsonl or .parquet; - reads standard input."""
    model: str | None = None
    """A run of lab reward-model, run@step, or its folder; without it the newest one."""
    out: str | None = None
    """Write the rows, best first, with "score" to this new .jsonl."""
    against: str | None = None
    """A field with numbers to compare with, or `gold`."""
    top: int = 20
    """Rows to show; 0 = all."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the figures as JSON."""


class Row(NamedTuple):
    """A reply that can be scored, and what to write of it."""

    prompt: Prompt
    reply: str
    row: dict[str, Any]


def run(config: Config) -> int:
    if not config.file:
        raise UserError("give a file of rows: lab score replies.jsonl (lab score --help shows their form)")
    if config.top < 0:
        raise UserError(f"--top {config.top}: must be 0 or more")
    out = expand(config.out).resolve() if config.out else None
    if out is not None and out.exists():
        raise UserError(f"--out {config.out}: is there already; name a new file")
    tally = Tally()
    rows = list(good(config.file, tally))
    rm = reward.load(config.model or newest())
    fit, ids = [], []
    for i, row in enumerate(rows, 1):
        try:
            ids.append(rm.encode(row.prompt, row.reply))
            fit.append(row)
        except UserError as error:
            tally.add(f"reply {i}", Bad("it does not fit", str(error)))
    if not fit:
        why = "; ".join(f"{count} x {reason}" for reason, count in tally.bad.most_common(3))
        raise UserError(f"{config.file}: no reply to score{': ' + why if why else ''}")
    known = compared(config, fit)
    with bar(rm.model.name, "scores", len(ids) * 1_000_000, "replies") as tell:
        raw = rm.raw(ids, lambda done: tell(done * 1_000_000))
    each = np.array(rm.gains)[:, None] * raw + np.array(rm.biases)[:, None]
    found = figures(config, rm, known, each, tally)
    order = np.argsort(-each.mean(0), kind="stable")
    scored = [fit[i].row | {"score": round(float(each[:, i].mean()), 4)} | spread(each[:, i]) for i in order]
    if out is not None:
        write_atomic(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in scored))
    if config.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return 0
    show(found, [(fit[i], scored[at]) for at, i in enumerate(order)][: config.top or None], config)
    if out is not None:
        print(f"Written to {out}")
    return 0


def newest() -> str:
    """The newest run of lab reward-model."""
    for info in runs():
        if (info.folder / reward.TOLD).is_file():
            return info.name
    raise UserError("no reward model yet; make one with `lab rank` and `lab reward-model`, or name one with --model")


def good(file: str, tally: Tally) -> Iterator[Row]:
    """The replies of a file; rows that hold none are counted."""
    if file == "-":
        lines: Iterator[tuple[int, Any]] = (
            (i, _parsed(line)) for i, line in enumerate(from_stdin("as a file").splitlines(), 1) if line.strip()
        )
    else:
        lines = read.objects(expand(file))
    for number, row in lines:
        try:
            yield from replies(row)
        except Bad as error:
            tally.add(f"{'line' if file == '-' else expand(file).name}:{number}", error)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(f"broken JSON ({error})")


def replies(row: Any) -> list[Row]:
    """The replies of a row; Bad names what is wrong with it."""
    row = fields(row)
    if isinstance(row.get("undo"), str):
        return []  # a line of rankings.jsonl that takes another back
    prompt, said = row.get("prompt"), row.get("reply")
    if isinstance(row.get("options"), list):
        said = row["options"]
    elif isinstance(row.get("messages"), list) and said is None:
        prompt, said = row["messages"][:-1], row["messages"][-1:]
    if said is None:
        raise Bad('no "reply", no "messages", no "options"', f"it has: {', '.join(map(str, row))}")
    many = said if isinstance(row.get("options"), list) else [said]
    # Read as rankings are: the same prompts and replies are good, and the same complaints come.
    one = ranking({"prompt": prompt, "options": [*many, "-"], "order": []})
    kept = {key: value for key, value in row.items() if key not in ("options", "order", "ties")}
    return [
        Row(one.prompt, text, kept | ({"reply": text} if "messages" not in row else {})) for text in one.options[:-1]
    ]


def spread(each: np.ndarray) -> dict[str, float]:
    """Of an ensemble also how far its members differ."""
    return {"spread": round(float(each.std()), 4)} if len(each) > 1 else {}


def compared(config: Config, rows: Sequence[Row]) -> np.ndarray | None:
    """The numbers [N] of --against, NaN where a row has none; None without the flag."""
    if config.against is None:
        return None
    known = np.array([math.nan if (v := number(config.against, row)) is None else v for row in rows])
    if np.isfinite(known).sum() < 4:
        raise UserError(f"--against {config.against}: fewer than four rows hold such a number; name another field")
    return known


def figures(
    config: Config, rm: RewardModel, known: np.ndarray | None, each: np.ndarray, tally: Tally
) -> dict[str, Any]:
    """What there is to say of all of them."""
    scores = each.mean(0)
    found: dict[str, Any] = {
        "model": rm.model.name, "members": len(rm.members), "replies": len(scores), "bad": dict(tally.bad),
        "mean": float(scores.mean()), "std": float(scores.std()),
    }  # fmt: skip
    if known is None:
        return found
    from recipes import gold_judge

    have = np.isfinite(known)
    r, low, high = gold_judge.correlation(scores[have], known[have])
    return found | {"correlation": r, "low": low, "high": high, "of": int(have.sum()), "against": config.against}


def number(name: str, row: Row) -> float | None:
    """What a row's score is compared with; None where it has no such number."""
    value = row.row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    if name != "gold":
        return None
    from recipes import gold_judge

    try:
        return float(gold_judge.scores(row.prompt, [row.reply])[0])
    except ValueError:
        return None  # asks for no joke


def show(found: dict[str, Any], rows: Sequence[tuple[Row, dict[str, Any]]], config: Config) -> None:
    """A table a person reads, best first."""
    console = Console()
    for reason, count in found["bad"].items():
        console.print(f"left out: {count:,} x {reason}", markup=False, highlight=False)
    table = Table(box=None, header_style="bold", show_edge=False)
    table.add_column("score", justify="right")
    if found["members"] > 1:
        table.add_column("±", justify="right")
    table.add_column("prompt")
    table.add_column("reply")
    for row, scored in rows:
        cells = [f"{scored['score']:+.2f}", *([f"{scored['spread']:.2f}"] if found["members"] > 1 else [])]
        table.add_row(*cells, *(escape(short(text)) for text in (text_of(row.prompt), row.reply)))
    console.print(table)
    if len(rows) < found["replies"]:
        console.print(f"... and {found['replies'] - len(rows):,} below; --top 0 shows all", highlight=False)
    console.print(
        f"{found['model']}: {found['replies']:,} replies, mean {found['mean']:+.2f}, standard deviation {found['std']:.2f}",
        markup=False, highlight=False,
    )  # fmt: skip
    if "correlation" in found:
        console.print(
            f"correlation with {found['against']}: {found['correlation']:.3f} [{found['low']:.3f}, {found['high']:.3f}] "
            f"of {found['of']:,}",
            markup=False, highlight=False,
        )  # fmt: skip
    sys.stdout.flush()


def short(text: str) -> str:
    """One line of a text."""
    line = " ".join(text.split()).translate(CONTROLS)
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
