"""See how tokenizers cut text into tokens, compare them side by side, train one.

Examples:
  lab tokens "The cat sat on the mat."                            with the pocket model's tokenizer
  lab tokens "naïve 東京" --model pocket-base --model ~/models/Qwen3-0.6B
  lab tokens "unbelievable" --trees                               the merges that built each token
  lab tokens --train book.txt --vocab-size 1024 --out my-tokens   train one; table of lengths by vocabulary size
  lab tokens "one day" --train book.txt --vocab-size 512          train one and show a text with it
  cat book.txt | lab tokens -                                     text from standard input
"""

import math
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction

from lab import data
from lab.errors import UserError, expand
from lab.explain import Merge, Token, explain, lengths, merge_tree, open_tokenizer, visible
from lab.runs import root, runs
from lab.tokenizer import Tokenizer

COLOURS = ("#8dd3c7", "#ffe08a", "#bebada", "#fb9a8f", "#80b1d3", "#fdb462", "#b3de69", "#fccde5")
SIZES = (320, 512, 1024, 2048, 4096)
TRAIN_ON, MEASURE_ON = 4_000_000, 500_000  # characters: enough for these sizes, and a table in seconds
SHOW = 2_000  # tokens; nobody reads more


@dataclass(frozen=True)
class Config:
    text: Positional[str] = ""
    """What to cut into tokens; - reads standard input."""
    model: UseAppendAction[tuple[str, ...]] = ()
    """A run, a folder, run@step, a hub id or a .gguf file; give it again to compare. Without it pocket-base, else the
    newest model."""
    train: str = ""
    """Train a tokenizer on this file or folder (.txt, .jsonl, .gz)."""
    vocab_size: int = 1024
    """Size of the vocabulary to train, bytes and special tokens included."""
    out: str = ""
    """Save the trained tokenizer in this folder."""
    table: Annotated[bool, FlagCreatePairsOff] = False
    """With --train: the lengths of the text, in bits, bytes and tokens, for growing vocabularies."""
    trees: Annotated[bool, FlagCreatePairsOff] = False
    """Show for each token which pairs were merged into it, and when."""


def run(config: Config) -> int:
    console = Console()
    text = config.text
    if text == "-":
        from recipes.commands.generate import from_stdin  # loads MLX: only here

        text = from_stdin("as an argument: lab tokens TEXT")
    if not config.train and (config.table or config.out):
        raise UserError(f"--{'table' if config.table else 'out'} needs --train FILE: there is no tokenizer to train")
    if not config.train and not text:
        raise UserError('give a text: lab tokens "The cat sat." (or - to read standard input, or --train FILE)')
    tokenizers = [open_tokenizer(name) for name in config.model]
    if config.train:
        out = expand(config.out)
        if config.out:
            _free(out)
        source = data.source(config.train)
        corpus = list(data.beginning(source.train(), TRAIN_ON))
        trained = data.learn(source, corpus, config.vocab_size)
        tokenizers.append(trained)
        if config.out:
            trained.save(out)
            console.print(f"Saved in {out}", highlight=False, markup=False)
        if config.table or not text:
            held_out = list(data.beginning(source.held_out(), MEASURE_ON))
            what, measured = ("the text", [text]) if text else ("text that was not trained on", held_out)
            if not measured:
                what, measured = "the text trained on (too short to hold some out)", corpus
            console.print(_growing(what, corpus, measured, {*SIZES, config.vocab_size}))
    if text:
        _show(console, tokenizers or [_default()], text, config.trees)
    return 0


def _free(folder: Path) -> None:
    """UserError where a tokenizer or model lives in the folder."""
    taken = [name for name in ("config.json", "tokenizer.json", "tokenizer.model") if (folder / name).exists()]
    if taken:
        raise UserError(f"--out {folder}: holds {taken[0]} already, which this would replace; name another folder")


def _default() -> Tokenizer:
    """The pocket model's tokenizer, or the newest model's."""
    found = [info.folder for info in runs() if (info.folder / "tokenizer.json").exists()]
    for folder in sorted(found, key=lambda folder: folder.name != "pocket-base"):
        return Tokenizer.load(folder)
    raise UserError(f"no model in {root()} has a tokenizer; name one with --model, or train one with --train FILE")


def _show(console: Console, tokenizers: list[Tokenizer], text: str, trees: bool) -> None:
    """The coloured tokens of each tokenizer, side by side where there is room, and their lengths."""
    across = max(1, min(len(tokenizers), console.width // 36))
    width = console.width // across - 2
    for at in range(0, len(tokenizers), across):
        grid = Table.grid(padding=(0, 2, 1, 0))
        row: list[RenderableType] = []
        for tokenizer in tokenizers[at : at + across]:
            row.append(_tokens(tokenizer, explain(tokenizer, text), width, titled=len(tokenizers) > 1))
        grid.add_row(*row)
        console.print(grid)
    console.print(_lengths(tokenizers, text))
    if trees:
        for tokenizer in tokenizers:
            _trees(console, tokenizer, text, titled=len(tokenizers) > 1)


def _tokens(tokenizer: Tokenizer, tokens: list[Token], width: int, titled: bool) -> Text:
    """Lines of pieces with their ids below."""
    block = Text(f"{tokenizer.name} ({tokenizer.vocab_size})\n" if titled else "", style="bold", no_wrap=True, end="")
    pieces, ids = Text(), Text()
    for token, colour in zip(tokens[:SHOW], cycle(COLOURS), strict=False):
        piece, number = visible(token.bytes), str(token.id)
        piece = piece if cell_len(piece) <= width else piece[: width // 2 - 1] + "…"
        room = max(cell_len(piece), len(number))
        if pieces and cell_len(pieces.plain) + room > width:
            block.append_text(pieces).append("\n").append_text(ids).append("\n")
            pieces, ids = Text(), Text()
        pieces.append(piece, style=f"not bold black on {colour}").append(" " * (room - cell_len(piece) + 1))
        ids.append(number.ljust(room + 1), style="not bold dim")
    block.append_text(pieces).append("\n").append_text(ids)
    if len(tokens) > SHOW:
        block.append(f"\n… and {len(tokens) - SHOW:,} more tokens")
    return block


def _lengths(tokenizers: list[Tokenizer], text: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("tokenizer", "vocabulary", "tokens", "chars", "bytes", "bits", "chars/token"):
        table.add_column(column, justify="left" if column == "tokenizer" else "right", overflow="fold")
    for tokenizer in tokenizers:
        n = lengths(tokenizer, text)
        counts = [f"{v:,}" for v in (tokenizer.vocab_size, n.tokens, n.characters, n.bytes, round(n.bits))]
        table.add_row(tokenizer.name, *counts, f"{n.characters_per_token:.2f}")
    return table


def _growing(what: str, corpus: list[str], texts: list[str], sizes: set[int]) -> Table:
    """How the same text gets shorter as the vocabulary grows: in bits, in bytes, in tokens of trained vocabularies."""
    size = sum(len(text.encode()) for text in texts)
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="")
    table.title = f"Length of {what}, {size:,} bytes"
    for column in ("symbols", "vocabulary", "length", "bytes each", "bits in all"):
        table.add_column(column, justify="left" if column == "symbols" else "right")
    table.add_row("bits", "2", f"{8 * size:,}", "0.125", f"{8 * size:,}")
    table.add_row("bytes", "256", f"{size:,}", "1.000", f"{8 * size:,}")
    for vocabulary in sorted(sizes):
        try:
            tokenizer = Tokenizer.train(corpus, vocabulary)
        except UserError as too_large:
            table.add_row("tokens", f"{vocabulary:,}", "-", "-", str(too_large).split("; mend")[0].split(": ")[-1])
            continue
        count = sum(map(len, tokenizer.encode_batch(texts)))
        bits = round(count * math.log2(vocabulary))
        table.add_row("tokens", f"{vocabulary:,}", f"{count:,}", f"{size / max(1, count):.3f}", f"{bits:,}")
    return table


def _trees(console: Console, tokenizer: Tokenizer, text: str, titled: bool) -> None:
    """For each different token, the merges that built it; single characters and bytes have none."""
    if titled:
        console.print(Text(f"\n{tokenizer.name}", style="bold"))
    for token in dict.fromkeys(tokenizer.encode(text)):
        merge = merge_tree(tokenizer, token)
        if merge.parts:
            console.print(_tree(merge))


def _tree(merge: Merge, parent: Tree | None = None) -> Tree:
    label = Text(visible(merge.spelling), style="bold" if merge.parts else "")
    if merge.rank is not None:
        label.append(f"  merge {merge.rank:,}", style="not bold dim")
    node = Tree(label, guide_style="dim") if parent is None else parent.add(label)
    for part in merge.parts:
        _tree(part, node)
    return node
