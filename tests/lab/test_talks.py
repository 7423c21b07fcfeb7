"""Rows of files as Samples: what cannot be one is counted by its reason and named; orders that resume; lessons that fit."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import device, talks
from lab.errors import UserError
from lab.loss import nll
from lab.model import Transformer
from lab.samples import bucketed
from lab.talks import Bad, load
from lab.tokenizer import Tokenizer
from tests.lab.test_chat import CHATML, build, talk


def said(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


GOOD: list[dict[str, Any]] = [
    said(("user", "Ada?"), ("assistant", "A kite.")),
    said(("system", "Be brief."), ("user", "Ada?"), ("assistant", "Yes."), ("user", "Bo?"), ("assistant", "No.")),
    said(("user", "Ada?"), ("assistant", "A kite."), ("user", "what nobody answers")),
    {"prompt": "Ada?", "completion": "A drum."},
    {"prompt": said(("system", "x"), ("user", "Ada?"))["messages"], "completion": said(("assistant", "y"))["messages"]},
    {"conversations": [{"from": "human", "value": "Ada?"}, {"from": "gpt", "value": "Bo."}]},
    {"text": "Ada took a kite.", "messages": None},
    said(("user", "Ada?"), ("assistant", [{"type": "think", "text": "hm"}, {"type": "text", "text": "Bo."}])),
    {"messages": [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "code", "arguments": '{"code": "1 + 1"}'}}]},
        {"role": "tool", "tool_call_id": "a", "content": "2"}, {"role": "assistant", "content": "2."},
    ]},
]  # fmt: skip
# reason -> rows that have it; a string is a line as it stands.
BAD: dict[str, list[Any]] = {
    "broken JSON": ["{broken", '{"messages": [}', "[" * 100_000],
    "no JSON object": ["[1]", "3", "null", '"text"'],
    "no messages, no prompt with completion, no text": [{}, {"a": 1}, {"prompt": "x"}, {"messages": None}, {"text": 3}],
    "messages that are no list": [{"messages": "x"}, {"messages": {}}],
    "empty conversation": [{"messages": []}],
    "empty text": [{"text": ""}, {"text": " \n"}],
    "no assistant turn": [said(("user", "x")), said(("system", "x")), said(("system", "x"), ("user", "y"))],
    "role order": [
        said(("assistant", "x")), said(("user", "x"), ("user", "y"), ("assistant", "z")),
        said(("user", "x"), ("assistant", "y"), ("assistant", "z")),
        said(("user", "x"), ("system", "y"), ("assistant", "z")),
        said(("system", "x"), ("assistant", "y")),
    ],
    "empty user turn": [said(("user", " "), ("assistant", "x")), said(("user", None), ("assistant", "x"))],
    "empty assistant turn": [
        said(("user", "x"), ("assistant", "")), said(("user", "x"), ("assistant", [])),
        said(("user", "x"), ("assistant", "\t")),
    ],
    "unknown role, part or tool": [
        said(("user", "x"), ("robot", "y")), said(("user", [{"type": "image"}]), ("assistant", "y")), {"messages": [1]},
        said(("user", 3), ("assistant", "y")),
        said(("user", "x"), ("assistant", [{"type": "call", "tool": "rm", "text": "y"}])),
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"function": {"name": "fly"}}]}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": 3}]},
        {"messages": [{"content": "x"}, {"value": "y"}]}, {"prompt": 3, "completion": 4},
    ],
    "half of a surrogate pair": [said(("user", "x"), ("assistant", "\ud83d")), {"text": "\udc00"}],
    "over 400,000 characters": [said(("user", "word " * 100_000), ("assistant", "x"))],
    "longer than 64 tokens": [said(("user", "Ada " * 500), ("assistant", "x")), said(("user", "x"), ("assistant", "Bo " * 70))],
}  # fmt: skip


def write(path: Path, rows: list[Any]) -> Path:
    """Rows as lines; an empty line is none."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return path


def test_every_kind_of_bad_row_is_counted_and_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows, first = [*GOOD], {}
    for reason, bad in BAD.items():
        first[reason] = len(rows) + 1
        rows += bad
    path = write(tmp_path / "talks.jsonl", rows)
    found = load(str(path), tokenizer, 64)
    told = {reason.partition(" (first ")[0]: (count, reason) for reason, count in found.bad.items()}
    assert {reason: count for reason, (count, _) in told.items()} == {reason: len(bad) for reason, bad in BAD.items()}
    for reason, (_, words) in told.items():
        assert f"(first talks.jsonl:{first[reason]}" in words
        assert "\n" not in words
        assert len(words) < 400
    assert (found.total or 0) + len(found.valid) == len(GOOD)
    assert all(s.trained and len(s.ids) <= 64 for s in [*found.valid, *found.draw(0, 1, 8)])


@pytest.mark.parametrize("reason", BAD)
def test_strict_names_the_file_and_the_line(tmp_path: Path, tokenizer: Tokenizer, reason: str) -> None:
    for bad in BAD[reason]:
        path = write(tmp_path / "talks.jsonl", [*GOOD[:3], "", bad, *GOOD])
        with pytest.raises(UserError) as error:
            load(str(path), tokenizer, 64, strict=True)
        assert str(error.value).startswith(f"talks.jsonl:5: {reason}")
        assert str(error.value).endswith("; mend the row, or leave out --strict")
        assert "\n" not in str(error.value)
        path = write(path, [bad])
        with pytest.raises(UserError) as error:
            load(str(path), tokenizer, 64)
        assert f"no conversation to train on: 1 x {reason} (first talks.jsonl:1" in str(error.value)
    load(str(write(path, GOOD)), tokenizer, 64, strict=True)


def test_no_loss_of_what_is_left_is_nan(tmp_path: Path, tiny: Transformer, tokenizer: Tokenizer) -> None:
    rows = [*GOOD, *(row for bad in BAD.values() for row in bad)]
    found = load(str(write(tmp_path / "talks.jsonl", rows)), tokenizer, 64)
    for batch in bucketed([*found.draw(0, 1, 20), *found.valid], tokenizer.pad or 0):
        loss, weight = nll(tiny, batch)
        assert device.number(weight) > 0
        assert np.isfinite(device.number(loss))


def test_rows_become_what_they_say(tmp_path: Path, tokenizer: Tokenizer) -> None:
    found = load(str(write(tmp_path / "talks.jsonl", GOOD)), tokenizer, 64, every=1000)
    texts = {tokenizer.decode(s.ids.tolist(), specials=True) for s in [*found.draw(0, 1, len(GOOD) - 1), *found.valid]}
    ada = "<|bos|><|user|> Ada?<|assistant|>"
    assert texts == {
        f"{ada} A kite.<|end|>", f"{ada} A drum.<|end|>", f"{ada} Bo.<|end|>", f"{ada}<|think|> hm<|/think|> Bo.<|end|>",
        "<|bos|><|system|> Be brief.<|user|> Ada?<|assistant|> Yes.<|end|><|user|> Bo?<|assistant|> No.<|end|>",
        "<|bos|><|system|> x<|user|> Ada?<|assistant|> y<|end|>", "<|bos|>Ada took a kite.<|end|>",
        "<|bos|><|user|> 1 + 1?<|assistant|><|code|> 1 + 1<|/code|><|result|> 2<|/result|> 2.<|end|>",
    }  # fmt: skip
    assert len(GOOD) == 9
    text = next(s for s in [*found.draw(0, 1, 8), *found.valid] if "kite.<" in tokenizer.decode(s.ids, specials=True))
    assert text.weight[-1] == 1


def test_the_last_turns_of_a_long_one_go(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """At a turn's edge, as few as must, and it is counted."""
    turns = [(role, f"{what} {i}.") for i in range(40) for role, what in (("user", "Ada"), ("assistant", "a kite"))]
    long = said(("system", "Be brief."), *turns)
    sizes = [
        len(talks.to_sample(tokenizer, talks.conversation(said(*turns[: 2 * n])), 10_000).ids) for n in range(1, 41)
    ]
    for limit in (sizes[0], sizes[0] + 1, sizes[6] - 1, sizes[6], sizes[38], sizes[39] - 1, sizes[39]):
        found = talks.to_sample(tokenizer, talks.conversation(said(*turns)), limit)
        assert len(found.ids) == max(size for size in sizes if size <= limit)
        assert found.ids[-1] == tokenizer.end
        assert found.weight[-1] == 1
    with pytest.raises(Bad, match=r"longer than 5 tokens"):
        talks.to_sample(tokenizer, talks.conversation(long), 5)
    path = write(tmp_path / "t.jsonl", [*[long] * 3, GOOD[0], {"text": "Ada took a kite. " * 50}])
    found_ = load(str(path), tokenizer, 100)
    assert (found_.cut, found_.total, len(found_.valid), found_.bad) == (4, 4, 1, Counter())


def test_files_folders_and_what_is_held_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [said(("user", f"Ada {i}?"), ("assistant", f"{i}.")) for i in range(100)]
    one = load(str(write(tmp_path / "one.jsonl", rows)), tokenizer, 64)
    assert (one.total, len(one.valid)) == (95, 5)
    assert {tokenizer.decode(s.ids) for s in one.valid}.isdisjoint(tokenizer.decode(s.ids) for s in one.draw(0, 1, 95))
    twice = load(str(write(tmp_path / "twice.jsonl", [*rows, *rows[:40]])), tokenizer, 64)
    trained = {s.ids.tobytes() for s in twice.draw(0, 1, 137)}
    assert (twice.total, len(twice.valid)) == (137, 3)
    assert not trained & {s.ids.tobytes() for s in twice.valid}
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.jsonl", rows[:30])
    write(folder / "valid.jsonl", [*rows[30:34], "{"])
    told = list[tuple[int, int]]()
    both = load(str(folder), tokenizer, 64, tell=lambda done, total: told.append((done, total)))
    assert (both.total, len(both.valid)) == (30, 4)
    assert [reason.partition(" (")[2].partition(":")[0] for reason in both.bad] == ["first valid.jsonl"]
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == sum(talks.size(talks.conversation(row)) for row in rows[:34])
    with gzip.open(tmp_path / "p.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    assert load(str(tmp_path / "p.jsonl.gz"), tokenizer, 64).total == 95
    alone = load(str(write(tmp_path / "alone.jsonl", rows[:1])), tokenizer, 64)
    assert (alone.total, alone.valid) == (1, [])
    (tmp_path / "notes.txt").write_text("Ada")
    with pytest.raises(UserError, match=r"notes\.txt: rows come as \.jsonl or \.parquet"):
        load(str(tmp_path / "notes.txt"), tokenizer, 64)
    keys = {one.key, both.key, load(str(tmp_path / "one.jsonl"), tokenizer, 65).key}
    assert len(keys) == 3
    assert load(str(tmp_path / "one.jsonl"), tokenizer, 64).key == one.key


def test_parquet(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Columns that a row does not use are null there."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [GOOD[0] | {"text": None}, *GOOD[1:3], GOOD[8], {"text": "Ada."}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = load(str(tmp_path / "t.parquet"), tokenizer, 64, strict=True)
    assert (found.total, len(found.valid)) == (4, 1)


def test_an_epoch_is_a_permutation_and_resumes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [said(("user", f"Ada {i}?"), ("assistant", f"{i}.")) for i in range(50)]
    path = str(write(tmp_path / "one.jsonl", rows))
    found, again = load(path, tokenizer, 64), load(path, tokenizer, 64)
    assert found.total == 47

    def text(step: int, seed: int = 0, whose: talks.Talks = found) -> list[str]:
        return [tokenizer.decode(s.ids) for s in whose.draw(seed, step, 8)]

    drawn = [t for step in range(1, 48) for t in text(step)]  # 376 = 8 epochs
    epochs = [drawn[i * 47 : (i + 1) * 47] for i in range(8)]
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 47 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8
    # Any step alone, in another process' order of asking, is the same; another seed is another order.
    assert [text(step, whose=again) for step in (31, 2, 17)] == [drawn[(s - 1) * 8 : s * 8] for s in (31, 2, 17)]
    assert text(1, seed=1) != text(1)


def test_lessons_never_end_and_are_never_those_held_out(tokenizer: Tokenizer) -> None:
    told = list[int]()

    def lesson(seed: int) -> Any:
        told.append(seed)
        return talk(("user", f"Ada {seed}?"), ("assistant", "Bo " * (40 if seed % 6 == 0 else 1)))

    school = talks.endless("school", lesson, tokenizer, 64, valid=20)
    assert all(seed % 2 for seed in told)
    first = [s.ids.tolist() for s in school.draw(3, 5, 12)]
    assert not any(seed % 2 for seed in told[-12:])
    assert [s.ids.tolist() for s in school.draw(3, 5, 12)] == first
    assert (
        len({tuple(ids) for step in range(1, 30) for s in school.draw(3, step, 12) for ids in [s.ids.tolist()]})
        == 29 * 12
    )
    assert all(len(s.ids) <= 64 for s in school.draw(0, 1, 60))  # a lesson that is too long gives way to another
    with pytest.raises(UserError, match="the lessons do not fit: longer than 6 tokens; raise --max-seq-length"):
        talks.endless("school", lesson, tokenizer, 6)


def test_a_hub_model_gets_tokens_for_calls_where_rows_hold_some(tmp_path: Path) -> None:
    path = str(write(tmp_path / "t.jsonl", GOOD))
    hub = Tokenizer.load(build(tmp_path / "m", CHATML, spares=8))
    load(str(write(tmp_path / "plain.jsonl", GOOD[:6])), hub, 200)
    assert not hub.reserved
    key = load(path, hub, 200, strict=True).key
    assert hub.reserved
    hub.save(tmp_path / "kept")
    assert Tokenizer.load(tmp_path / "kept").marks == hub.marks
    assert load(path, Tokenizer.load(tmp_path / "kept"), 200).key == key
    hub.chat_template = CHATML.replace("helpful", "helpless")
    assert load(path, hub, 200).key != key
    bare = load(path, Tokenizer.load(build(tmp_path / "bare", CHATML)), 200)
    assert [why.partition(" (")[0] for why in bare.bad] == ["it cannot be told in this vocabulary"]
    assert "lab import --tool-tokens" in next(iter(bare.bad))
    base = Tokenizer.load(build(tmp_path / "base", CHATML))
    base.chat_template = None
    with pytest.raises(UserError, match="base has no chat template; tune a chat model, or give rows of text"):
        load(path, base, 200)
    assert load(str(write(tmp_path / "x.jsonl", [{"text": "Ada."}, {"text": "Bo."}])), base, 200).total == 1
