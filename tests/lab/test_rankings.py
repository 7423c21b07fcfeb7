"""Rankings on disk: pairs, letters, undo, torn lines, sets of other programs."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from lab import rankings
from lab.errors import UserError
from lab.letters import from_letters, to_letters
from lab.rankings import Ranking, Writer, append, key_of, load, ranking, read_file, row_of
from lab.talks import Bad, Tally
from tests.conftest import REPO


def made(prompt: str = "Say it.", order: list[int] | None = None, id: str = "x", **more: Any) -> dict[str, Any]:
    options = ["one", "two", "three", "four", "five"]
    return row_of(Ranking(prompt, options, [2, 0, 1, 4, 3] if order is None else order, id=id, **more))


def test_five_without_ties_are_ten_pairs_in_order() -> None:
    found = ranking(made()).pairs
    assert len(found) == len(set(found)) == 10
    assert found[0] == (2, 0)
    place = {option: i for i, option in enumerate([2, 0, 1, 4, 3])}
    assert all(place[better] < place[worse] for better, worse in found)


@pytest.mark.parametrize(
    ("ties", "count"), [([[0, 1]], 9), ([[2, 0, 1]], 7), ([[2, 0], [4, 3]], 8), ([[2, 0, 1, 4, 3]], 0)]
)
def test_pairs_of_ties_are_dropped_and_no_others(ties: list[list[int]], count: int) -> None:
    found = ranking(made() | {"ties": ties}).pairs
    assert len(found) == count
    assert not any(a in tied and b in tied for a, b in found for tied in ties)


def test_letters() -> None:
    assert from_letters("b d a=c e", 5) == ([1, 3, 0, 2, 4], [[0, 2]])
    assert from_letters("BDA=CE", 5) == from_letters("b > d, a = c > e", 5) == from_letters("b d a=c e", 5)
    assert from_letters("a=b=c", 3) == ([0, 1, 2], [[0, 1, 2]])
    assert from_letters("a=b c=d", 4)[1] == [[0, 1], [2, 3]]
    for order in permutations(range(4)):
        assert from_letters(to_letters(order, []), 4) == (list(order), [])
        ties = [list(order[1:3])]
        assert from_letters(to_letters(order, ties), 4) == (list(order), ties)


@pytest.mark.parametrize(
    ("typed", "says"),
    [("a b", "missing: c"), ("a a b c", "a stands there twice"), ("a b d", "d is no option; letters are a b c"),
     ("= a b c", "= stands between"), ("a = = b c", "= stands between"), ("a b c =", "= stands between"),
     ("", "missing: a b c"), ("a\x1bb c", r"\\x1b is no option")],
)  # fmt: skip
def test_what_is_no_order_is_told_in_words(typed: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_letters(typed, 3)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    chat: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße? 🎈"}]
    some = [
        Ranking(chat, ["ja", "nein \u2028"], [1, 0], id="a", seconds=2.5, model="m", seed=3, by="person", time=1.5),
        Ranking("Say", ["x", "y", "z"], [0, 1, 2], [[1, 2]], "b", by="gold", noise=0.5, ceiling=0.8, split="test"),
    ]
    append(file, [row_of(one) for one in some])
    assert read_file(file) == some
    row = json.loads(file.read_text().splitlines()[0])
    assert list(row) == ["id", "prompt", "options", "order", "ties", "seconds", "model", "seed", "by", "time"]


def test_undo_takes_one_back_and_the_file_only_grows(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made(id="a"), made("Other", id="b")])
    before = file.read_bytes()
    with Writer(file) as writer:
        writer.undo("a")
    assert file.read_bytes().startswith(before)
    assert [one.id for one in read_file(file)] == ["b"]
    append(file, [made(id="c", order=[0, 1, 2, 3, 4])])
    assert [one.id for one in read_file(file)] == ["b", "c"]


def test_one_process_at_a_time_adds_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    code = "import sys; from pathlib import Path; from lab.rankings import append\n"
    code += "append(Path(sys.argv[1]), [{'id': 'b', 'undo': 'a'}])"
    with Writer(file) as writer:
        with pytest.raises(UserError, match="another lab ranks into this file"):
            Writer(file, 0.1)
        other = subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=REPO)  # waits for its turn
        writer.append([made(id="a")])
        time.sleep(0.5)
        assert other.poll() is None
    assert other.wait(20) == 0
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["a", "b"]
    Writer(file).close()


def test_a_writer_that_wrote_nothing_leaves_no_file(tmp_path: Path) -> None:
    Writer(tmp_path / "r.jsonl").close()
    assert not (tmp_path / "r.jsonl").exists()


def test_repeats_are_kept_and_train_nothing(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    rows = [made(f"p{i}", id=f"{i}", split="train" if i else "test") for i in range(4)]
    append(file, [*rows, made("p1", [4, 3, 2, 1, 0], "again", repeat="1")])
    assert [one.repeat for one in read_file(file)] == ["", "", "", "", "1"]
    assert [one.id for one in load(file).train] == ["1", "2", "3"]


@pytest.mark.parametrize("cut", [1, 30, -2])
def test_a_line_cut_in_the_middle_loses_only_itself(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made("ä", id="a")])
    line = json.dumps(made("é ünd 🎈", id="torn"), ensure_ascii=False).encode() + b"\n"  # as other programs write
    with open(file, "ab") as out:
        out.write(line[:cut])
    tally = Tally()
    assert [one.id for one in read_file(file, tally)] == ["a"]
    append(file, [made("b", id="b")])  # the next writer begins a line of its own
    assert [one.id for one in read_file(file, tally)] == ["a", "b"]
    assert sum(tally.bad.values()) == 2  # once a reading


def test_a_cut_inside_of_a_character_spoils_nothing(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made("a", id="a")])
    with open(file, "ab") as out:
        out.write('{"prompt": "é'.encode()[:-1])
    append(file, [made("b", id="b")])
    assert [one.id for one in read_file(file)] == ["a", "b"]


def test_a_writer_that_is_killed_leaves_a_file_to_go_on_with(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    code = (
        "import sys; from pathlib import Path; from lab.rankings import *; n = 0\n"
        "while True:\n"
        "    append(Path(sys.argv[1]), [row_of(Ranking(f'p{n}', ['x' * 5000, 'y'], [0, 1], id=str(n)))]); n += 1\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=REPO)
    end = time.monotonic() + 60
    while (not file.exists() or file.stat().st_size < 50_000) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    tally = Tally()
    found = read_file(file, tally)
    assert [one.id for one in found] == [str(i) for i in range(len(found))]
    assert len(found) >= 9
    assert sum(tally.bad.values()) <= 1
    append(file, [made(id="later")])
    assert [one.id for one in read_file(file)] == [*(one.id for one in found), "later"]


def test_the_same_row_twice_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made(id="a"), made(id="a"), made(id="")])
    assert len(read_file(file)) == 2


# -- sets of other programs --------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi?"}
GOOD, BAD = {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "Go."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Hi?", "chosen": "Hello!", "rejected": "Go."}, "Hi?"),
        ({"prompt": "Hi?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "Hi?"),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, [USER]),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        ({"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi?\n\nAssistant: Go."}, [USER]),
    ],
)
def test_pairs_are_rankings_of_two(row: dict[str, Any], prompt: Any) -> None:
    one = ranking(row)
    assert (one.prompt, one.options, one.order, one.pairs) == (prompt, ["Hello!", "Go."], [0, 1], [(0, 1)])
    assert one.key == key_of("Hi?") == key_of([USER])  # type: ignore[list-item]
    assert ranking(row).id == one.id != ranking(row | {"prompt": "Ho?"}).id


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([], "no JSON object"),
        ({"prompt": "a"}, 'neither "options"'),
        ({"prompt": "a", "options": ["x"], "order": [0]}, "fewer than two"),
        ({"prompt": "a", "options": ["x", "y"], "order": [0, 0]}, "each once"),
        ({"prompt": "a", "options": ["x", "y"], "order": [0, 2]}, "each once"),
        ({"prompt": "a", "options": ["x", "y"], "order": [True, False]}, "each once"),
        ({"prompt": "a", "options": ["x", "y", "z"], "order": [0, 1, 2], "ties": [[0, 2]]}, "neighbours"),
        ({"prompt": "", "options": ["x", "y"], "order": [0, 1]}, "empty prompt"),
        ({"prompt": "a", "options": ["x", " "], "order": [0, 1]}, "empty reply"),
        ({"prompt": "a\ud800", "options": ["x", "y"], "order": [0, 1]}, "surrogate"),
        ({"prompt": "a", "chosen": "x", "rejected": "x "}, "the same"),
        ({"chosen": "x", "rejected": "y"}, 'no "prompt"'),
        ({"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Ho"}, BAD]}, "different prompts"),
        ({"prompt": [GOOD], "chosen": "x", "rejected": "y"}, "not the user's"),
        ({"prompt": [{"role": "wizard", "content": "x"}], "chosen": "x", "rejected": "y"}, "unknown role"),
        ({"prompt": 3, "chosen": "x", "rejected": "y"}, "neither text nor messages"),
    ],
)
def test_what_is_no_ranking_is_named(row: Any, says: str) -> None:
    with pytest.raises(Bad, match=says):
        ranking(row)


def test_no_prompt_is_on_both_sides_and_the_split_of_a_row_counts(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made(f"prompt {i // 2}", id=str(i)) for i in range(400)])  # each prompt twice
    found = load(file)
    assert len(found.train) + len(found.held) == 400
    assert not {one.key for one in found.train} & {one.key for one in found.held}
    assert 16 <= len(found.held) <= 80  # one prompt in ten
    append(file, [made(f"told {i}", id=f"t{i}", split="test" if i < 30 else "train") for i in range(40)])
    more = load(file)
    assert len(more.held) == len(found.held) + 30
    assert more.pairs == (10 * len(more.train), 10 * len(more.held))


def test_a_folder_with_valid_holds_out_that_and_nothing_of_it_is_trained_on(tmp_path: Path) -> None:
    append(tmp_path / "train.jsonl", [made(f"p{i}", id=f"a{i}") for i in range(20)])
    append(tmp_path / "valid.jsonl", [made(f"p{i}", id=f"b{i}") for i in range(15, 25)])
    found = load(tmp_path)
    assert (len(found.train), len(found.held)) == (15, 10)


def test_few_prompts_still_have_some_held_out_and_skips_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, [made(f"a{i}", id=f"{i}", split="train") for i in range(20)] + [made("s", order=[], id="s")])
    found = load(file)
    assert (len(found.train), len(found.held)) == (18, 2)


def test_a_file_without_a_single_ranking_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"prompt": "a", "text": "b"}\n{"broken\n')
    with pytest.raises(UserError, match=r'no ranking to train on: .*neither "options".*lab rank'):
        load(file)
    with pytest.raises(UserError, match="name a file in a folder that is there"):
        append(tmp_path / "no" / "r.jsonl", [made()])


def test_the_prompts_words_decide_not_their_spaces() -> None:
    assert key_of("Tell  a joke.\n") == key_of("Tell a joke.")
    assert key_of("Tell a joke.") != key_of("Tell a Joke.")
    assert rankings.text_of([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a\n\nb"
