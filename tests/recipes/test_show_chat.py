"""`lab show-chat`: what is trained, in colours, without, for scripts; figures over all rows."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import talks
from lab.tokenizer import Tokenizer
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused

ROWS: list[Any] = [
    {"messages": [
        {"role": "user", "content": "Ada <|end|>\n\n9 * 9?"},
        {"role": "assistant", "content": [
            {"type": "think", "text": "a product"}, {"type": "call", "tool": "code", "text": "9 * 9"},
            {"type": "result", "text": "81"}, {"type": "text", "text": "It is\n81."},
        ]},
        {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."},
    ]},
    {"prompt": "Ada?", "completion": "A kite."}, {"messages": [{"role": "user", "content": "x"}]}, "{broken",
    {"prompt": "Bo?", "completion": "A \u001b[31mdrum."}, {"text": "Ada took a kite."},
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, tiny_run: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in ROWS) + "\n")
    return path


PLAIN = """\
talks.jsonl:1  {0} tokens, {1} trained
  [<|bos|>][<|user|>] Ada <|end|>

  9 * 9?
  [<|assistant|>]
> [<|think|>] a product[<|/think|>][<|code|>] 9 * 9[<|/code|>]
  [<|result|>] 81[<|/result|>]
>  It is
> 81.[<|end|>]
  [<|user|>] Sure?
  [<|assistant|>]
>  Yes.[<|end|>]
"""


def test_a_pipe_shows_what_is_trained_without_colours(here: Here, file: Path) -> None:
    said = here("show-chat", file, "--model", "tiny", "--show", "1")
    assert said.code == 0, said.err
    tokenizer = Tokenizer.load(file.parent / "weights" / "tiny")
    made = [s for _, s, _, _ in talks.samples(tokenizer, talks.rows([file]), 2048) if not isinstance(s, talks.Bad)]
    assert said.out.startswith(PLAIN.format(len(made[0].ids), made[0].trained))
    tokens, trained = sum(len(s.ids) for s in made), sum(s.trained for s in made)
    wrong = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    assert said.out.splitlines()[-3:] == [
        f"4 conversations: {tokens:,} tokens, {trained:,} trained ({trained / tokens:.0%}), the longest {len(made[0].ids)}",
        "left out 1 row: no assistant turn (first talks.jsonl:3)",
        "left out 1 row: broken JSON (first talks.jsonl:4: " + wrong + ")",
    ]  # fmt: skip
    # What is marked > is what is trained, to the last character.
    marked = "".join(line.removeprefix("> ") + "\n" for line in said.out.splitlines() if line.startswith("> "))
    ids = [i for i, weight in zip(made[0].ids.tolist(), made[0].weight.tolist(), strict=True) if weight]
    assert re.sub(r"[\[\]\n]", "", marked) == tokenizer.decode(ids, specials=True).replace("\n", "")
    every = here("show-chat", file, "--model", "tiny").out
    assert every.count(" trained\n") == 3
    assert "\u241b[31mdrum." in every  # no escape of another's file reaches the terminal
    assert "\x1b" not in every
    none = here("show-chat", file, "--model", "tiny", "--show", "0").out
    assert len(none.splitlines()) == 3


def test_raw_is_a_token_a_line(here: Here, file: Path) -> None:
    out = here("show-chat", file, "--model", "tiny", "--show", "2", "--raw").out
    tokenizer = Tokenizer.load(file.parent / "weights" / "tiny")
    block = out.split("talks.jsonl:2")[1].split("\n\n")[0].splitlines()[1:]
    ids = [int(line[2:].split()[0]) for line in block]
    said = tokenizer.encode(" A kite.")
    assert tokenizer.decode(ids, specials=True) == "<|bos|><|user|> Ada?<|assistant|> A kite.<|end|>"
    assert ids[-len(said) - 1 :] == [*said, tokenizer.end]
    assert [line[0] for line in block] == [" "] * (len(ids) - len(said) - 1) + [">"] * (len(said) + 1)


def test_json_is_an_object_a_row(here: Here, file: Path) -> None:
    lines = [json.loads(line) for line in here("show-chat", file, "--model", "tiny", "--json").out.splitlines()]
    *rows, totals = lines
    assert [row["where"] for row in rows] == [f"talks.jsonl:{i}" for i in range(1, 7)]
    assert [row.get("bad") for row in rows] == [None, None, "no assistant turn", "broken JSON", None, None]
    first = rows[0]
    assert "".join(p["text"] for p in first["pieces"] if p["trained"]) == (
        "<|think|> a product<|/think|><|code|> 9 * 9<|/code|> It is\n81.<|end|> Yes.<|end|>"
    )
    assert sum(p["tokens"] for p in first["pieces"]) == first["tokens"]
    assert (totals["conversations"], totals["cut"]) == (4, 0)
    assert totals["trained"] == sum(row.get("trained", 0) for row in rows)
    assert list(totals["bad"].values()) == [1, 1]
    cut = here(
        "show-chat", file, "--model", "tiny", "--json", "--max-seq-length", str(first["tokens"] - 1), "--show", "1"
    )
    row, totals = (json.loads(line) for line in cut.out.splitlines())
    assert (row["cut"], totals["cut"]) == (True, 1)
    assert row["pieces"][-2]["text"].endswith("81.")


@pytest.mark.slow
def test_a_terminal_shows_colours_unless_no_color_asks_for_none(file: Path, home: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}

    def shown(**env: str) -> str:
        up, down = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "recipes", "show-chat", str(file), "--model", "tiny", "--show", "1"],
            cwd=REPO, env=clean | {"LAB_HOME": str(home), "TERM": "xterm-256color"} | env,
            stdout=down, stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            os.close(down)
            text = b""
            try:
                while more := os.read(up, 4096):
                    text += more
            except OSError:  # the other end has closed
                pass
            assert process.wait() == 0
        os.close(up)
        return text.decode().replace("\r\n", "\n")

    coloured = shown()
    assert "".join(re.findall(r"\x1b\[32m([^\x1b]*)\x1b\[0m", coloured)) == " a product 9 * 9 It is81. Yes."
    assert re.search(r"\x1b\[1;30;42m<\|think\|>\x1b\[0m", coloured)
    assert re.search(r"\x1b\[2m 81\x1b\[0m", coloured)  # the result is only read
    assert "\n>  It is\n> 81.[<|end|>]\n" in shown(NO_COLOR="1")


def test_hub_models_and_figures(here: Here, file: Path, chat_model: Path) -> None:
    """Of a model without tokens for calls, what it cannot be told is counted."""
    said = here("show-chat", file, "--model", chat_model, "--show", "9")
    assert said.code == 0, said.err
    assert "> A kite.[<|im_end|>]" in said.out
    assert (
        "left out 1 row: it cannot be told in this vocabulary (first talks.jsonl:1: chatty: its vocabulary has no"
        in said.out
    )
    assert "  Ada\n>  took a kite.[<|im_end|>]\n" in said.out  # of a text all is trained but its first token


def test_what_is_refused(refused: Refused, file: Path, tmp_path: Path) -> None:
    refused("show-chat", says="name a file of conversations: lab show-chat talks.jsonl")
    refused("show-chat", "nowhere.jsonl", says="nowhere.jsonl: no such file")
    refused("show-chat", file, "--model", "nosuch", says="nosuch")
    refused("show-chat", file, "--model", "tiny", "--show", "-1", says="must be 0 or more")
    refused("show-chat", file, "--model", "tiny", "--max-seq-length", "0", says="must be at least 1")
    refused("show-chat", file, "--model", "tiny", "--raw", "--json", says="two ways to print")
    (tmp_path / "a.txt").write_text("Ada")
    refused("show-chat", "a.txt", "--model", "tiny", says=r"a\.txt: rows come as \.jsonl or \.parquet")
