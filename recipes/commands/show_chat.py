"""See what of your conversations is trained, before you train: the very ids that lab sft takes, weight by weight.

What the model learns is green, what it only reads is dim, special tokens stand out. Where there are no colours, lines that
begin with > are learned. A bad row is counted by what is wrong with it.

Examples:
  lab show-chat talks.jsonl                              the first three, as pocket-base reads them
  lab show-chat talks.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct --show 10
  lab show-chat owner/name --show 0                      only the figures of a data set of the hub
  lab show-chat talks.jsonl --show 1 --raw               one token a line
  lab show-chat talks.jsonl --json | jq .trained         one JSON object a row, the totals last
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from rich.console import Console
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional

from lab import display, read, talks
from lab.display import CONTROLS
from lab.errors import UserError
from lab.explain import open_tokenizer, visible
from lab.mask import Piece, counts, pieces
from lab.samples import Sample
from lab.talks import Bad, Made
from lab.tokenizer import Tokenizer

LONG = 2_000_000  # characters that take longer than two seconds
STYLES = {
    (True, False): "green",
    (True, True): "bold black on green",
    (False, False): "dim",
    (False, True): "bold reverse dim",
}


@dataclass(frozen=True)
class Config:
    file: Positional[str] = ""
    """A .jsonl or .parquet, a folder with train.jsonl and valid.jsonl, or a hub data set (owner/name)."""
    model: str = "pocket-base"
    """Whose tokens and chat template: a run, a folder, a hub id or a GGUF file."""
    show: int | None = None
    """How many conversations to print (3; with --json all)."""
    raw: Annotated[bool, FlagCreatePairsOff] = False
    """One token a line: > where it is trained, its id, its bytes."""
    max_seq_length: int = 2048
    """Longest conversation in tokens, as in lab sft; longer ones lose their last turns."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """One JSON object a row, the totals last."""


def run(config: Config) -> int:
    if not config.file:
        raise UserError("name a file of conversations: lab show-chat talks.jsonl")
    if (config.show or 0) < 0:
        raise UserError(f"--show {config.show}: must be 0 or more")
    if config.max_seq_length < 1:
        raise UserError(f"--max-seq-length {config.max_seq_length}: must be at least 1")
    if config.raw and config.json:
        raise UserError("--raw and --json are two ways to print; give one")
    paths = [path for side in read.files(config.file) for path in side]
    tokenizer = open_tokenizer(config.model)
    found = talks.samples(tokenizer, talks.rows(paths), config.max_seq_length)
    totals = _Totals()
    if config.json:
        for made in totals.over(found):
            if config.show is None or totals.conversations <= config.show:
                print(json.dumps(_object(tokenizer, made), ensure_ascii=False))
        print(json.dumps(totals.facts(), ensure_ascii=False))
        return 0
    console, left = Console(), 3 if config.show is None else config.show
    if left:
        for made in totals.over(found):
            if not isinstance(made.sample, Bad):
                _print(console, tokenizer, made, made.sample, config.raw)
                left -= 1
            if not left:
                break
    with _progress(config.file, talks.characters(paths)) as tell:
        for made in totals.over(found):
            tell(made.done)
    totals.print(console)
    return 0


@contextlib.contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    if total < LONG:
        yield lambda done: None
        return
    with display.bar(title, "tokenising", total, "M characters") as tell:
        yield tell


class _Totals:
    """Figures over all rows."""

    def __init__(self) -> None:
        self.conversations = self.tokens = self.trained = self.cut = self.longest = 0
        self.tally = talks.Tally()

    def over(self, found: Iterator[Made]) -> Iterator[Made]:
        """The rows, counted as they pass."""
        for made in found:
            if isinstance(made.sample, Bad):
                self.tally.add(made.where, made.sample)
            else:
                self.conversations += 1
                self.tokens += len(made.sample.ids)
                self.trained += made.sample.trained
                self.longest = max(self.longest, len(made.sample.ids))
                self.cut += made.cut
            yield made

    def facts(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name) for name in ("conversations", "tokens", "trained", "longest", "cut")}
        return numbers | {"bad": dict(self.tally.bad.most_common())}

    def print(self, console: Console) -> None:
        share = f" ({self.trained / self.tokens:.0%})" if self.tokens else ""
        lines = [
            f"{self.conversations:,} conversation{'s' * (self.conversations != 1)}: {self.tokens:,} tokens, "
            f"{self.trained:,} trained{share}, the longest {self.longest:,}"
        ]
        if self.cut:
            lines.append(f"{self.cut:,} lost their last turns: longer than --max-seq-length")
        lines += [
            f"left out {count:,} row{'s' * (count > 1)}: {reason}" for reason, count in self.tally.bad.most_common()
        ]
        for line in lines:
            console.print(line.translate(CONTROLS), markup=False, highlight=False, soft_wrap=True)


def _object(tokenizer: Tokenizer, made: Made) -> dict[str, Any]:
    if isinstance(made.sample, Bad):
        return {"where": made.where, "bad": made.sample.reason, "detail": made.sample.detail}
    found = pieces(tokenizer, made.sample)
    tokens, trained = counts(found)
    told = {"where": made.where, "tokens": tokens, "trained": trained, "cut": made.cut}
    return told | {"pieces": [asdict(piece) for piece in found]}


def _print(console: Console, tokenizer: Tokenizer, made: Made, sample: Sample, raw: bool) -> None:
    found = pieces(tokenizer, sample)
    tokens, trained = counts(found)
    cut = ", its last turns left out" if made.cut else ""
    plain = console.no_color or not console.is_terminal
    console.print(Text(f"{made.where}  {tokens:,} tokens, {trained:,} trained{cut}", "bold"), soft_wrap=True)
    shown = _raw(tokenizer, sample, plain) if raw else _plain(found) if plain else _coloured(found)
    console.print(shown, soft_wrap=True)


def _coloured(found: Sequence[Piece]) -> Text:
    text = Text()
    for piece in found:
        text.append(piece.text.translate(CONTROLS), STYLES[piece.trained, piece.special])
        if piece.ends:
            text.append("\n")
    return text


def _plain(found: Sequence[Piece]) -> Text:
    """A new line wherever what is trained begins or ends, and after each turn. Specials stand in brackets: a text may spell
    the same name."""
    lines: list[tuple[bool, str]] = []
    fresh = True
    for piece in found:
        first, *more = (f"[{piece.text}]" if piece.special else piece.text).translate(CONTROLS).split("\n")
        if fresh or lines[-1][0] != piece.trained:
            if lines and not lines[-1][1]:
                lines.pop()
            if first or not more:
                lines.append((piece.trained, first))
        else:
            lines[-1] = piece.trained, lines[-1][1] + first
        lines += [(piece.trained, line) for line in more]
        fresh = piece.ends
    while lines and not lines[-1][1]:
        lines.pop()
    return Text("\n".join(f"{'>' if trained else ' '} {line}".rstrip() for trained, line in lines) + "\n")


def _raw(tokenizer: Tokenizer, sample: Sample, plain: bool) -> Text:
    text = Text()
    for i, (token, weight) in enumerate(zip(sample.ids.tolist(), sample.weight.tolist(), strict=True)):
        trained = weight != 0 and i > 0
        line = f"{'>' if trained else ' '} {token:>7}  {visible(tokenizer.token_bytes(token))}\n"
        text.append(line, None if plain else STYLES[trained, False])
    return text
