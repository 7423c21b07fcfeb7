"""Tools through the worker's pipes: a real process, a real little model that calls, a real index."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import calls, chat, weights
from lab.calls import Toolbox
from lab.chat import Message
from lab.index import build
from lab.reply import Shown
from lab.sample import Sampling
from lab.stream import Stream
from lab.tools import BROKEN, Search
from lab.weights import Model
from tests.callers import asks, counts
from tests.lab.test_tools import _alive, _children
from tests.lab.test_worker import COLD, Said, Worker

Talk = list[dict[str, Any]]
GREEDY = COLD | {"max_tokens": 60}


@pytest.fixture(scope="module")
def model(caller: Path) -> Model:
    return weights.load(caller / "caller")


@pytest.fixture(scope="module")
def worker(caller: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    process = Worker(LAB_CACHE=str(tmp_path_factory.mktemp("cache")))
    assert process.load("a", caller / "caller")["event"] == "loaded"
    yield process
    process.kill()


def user(*said: str) -> Talk:
    return [{"role": "user", "content": text} for text in said]


def shape(said: Said) -> list[tuple[str, str]]:
    """(kind, text) of the stretches of a reply."""
    found: list[tuple[str, str]] = []
    for token in [*said.begin["prefix"], *said.tokens]:
        if token["kind"] == "special":
            found.append(("", ""))
        elif found and found[-1][0] == token["kind"]:
            found[-1] = (token["kind"], found[-1][1] + token["text"])
        else:
            found.append((token["kind"], token["text"]))
    return [one for one in found if one[0]]


def test_a_reply_with_a_search(worker: Worker, model: Model, caller: Path) -> None:
    index = str(caller / "metals.db")
    said = worker.say("a", messages=user(asks("Tin")), sampling=GREEDY, tools={"search": index})
    result = "Tin is a metal. Its symbol is Sn."
    assert shape(said) == [("call", "Tin"), ("result", result), ("text", "It is Sn.")]
    assert said.end["stop"] == "end"
    with Toolbox(model.tokenizer, [Search(index)]) as tools:
        alone = Stream(model.network, model.tokenizer, model.context, tools.after, tools.banned)
        want = list(alone(said.begin["ids"], Sampling(**GREEDY), 0, top=5))
    assert said.ids == [t.id for t in want]
    assert [t.get("forced", False) for t in said.tokens] == [t.forced for t in want]
    for got, t in zip(said.tokens, want, strict=True):
        assert got["p"] == pytest.approx(t.p, rel=1e-3, abs=1e-6)
        assert [i for i, _, _ in got["top"]][:1] == [t.top[0][0]]
    assert all(t["logp"] == 0 for t in said.tokens if t.get("forced"))
    assert [t["kind"] for t in said.tokens if t.get("forced")][1:-1] == ["result"] * len(
        model.tokenizer.encode_part(result)
    )


def test_thoughts_and_code(worker: Worker) -> None:
    said = worker.say("a", messages=user(counts("letter")), sampling=GREEDY, tools={"search": None, "code": True})
    assert shape(said) == [
        ("think", "I count."), ("call", "'letter'.count('e')"), ("result", "2"), ("text", "There are 2."),
    ]  # fmt: skip


def test_without_tools_nothing_is_called(worker: Worker, model: Model) -> None:
    said = worker.say("a", messages=user(asks("Tin")), sampling=GREEDY)
    assert not {"call", "result"} & {token["kind"] for token in said.tokens}
    assert not set(said.ids) & calls.banned(model.tokenizer)
    assert not any("forced" in token for token in said.tokens)
    with_code = worker.say("a", messages=user(asks("Tin")), sampling=GREEDY, tools={"code": True})
    assert model.tokenizer.special["<|search|>"] not in with_code.ids


def test_a_reply_goes_on_from_any_place_of_it(worker: Worker, caller: Path) -> None:
    """In the midst of the call, and of its result; what a tool puts in is told as forced, in the prefix too."""
    more: dict[str, Any] = {"messages": user(asks("Lead")), "tools": {"search": str(caller / "metals.db")}}
    whole = worker.say("a", sampling=GREEDY, **more)
    forced = [t.get("forced", False) for t in whole.tokens]
    assert sum(forced) > 5
    for at in range(len(whole.ids) + 1):
        rest = worker.say("a", sampling=GREEDY, prefix=whole.ids[:at], **more)
        assert [*whole.ids[:at], *rest.ids] == whole.ids
        assert shape(rest) == shape(whole)
        assert [t.get("forced", False) for t in (*rest.begin["prefix"], *rest.tokens)] == forced
        assert rest.end["stop"] == "end"


def test_a_later_turn_sees_the_very_ids(worker: Worker, model: Model, caller: Path) -> None:
    tools = {"search": str(caller / "metals.db")}
    first = worker.say("a", messages=user(asks("Gold")), sampling=GREEDY, tools=tools)
    told = chat.parse(model.tokenizer, first.ids)
    talk = [*user(asks("Gold")), dict(told) | {"ids": first.ids}, *user(asks("Iron"))]
    second = worker.say("a", messages=talk, sampling=GREEDY, tools=tools)
    assert second.begin["ids"][: len(first.begin["ids"]) + len(first.ids)] == [*first.begin["ids"], *first.ids]
    assert second.end["prefilled"] <= len(second.begin["ids"]) - len(first.begin["ids"]) - len(first.ids) + 1
    assert shape(second)[-1] == ("text", "It is Fe.")
    typed = worker.say("a", messages=[talk[0], dict(told), talk[2]], sampling=GREEDY, tools=tools)
    assert typed.begin["ids"] == second.begin["ids"]  # these are encoded as they were said
    changed = [talk[0], {"role": "assistant", "content": "It is Pb."}, talk[2]]
    other = worker.say("a", messages=changed, sampling=GREEDY, tools=tools)
    want = [Message(role=m["role"], content=m["content"]) for m in changed]
    assert other.begin["ids"] == chat.prompt(model.tokenizer, want)


def test_an_index_that_is_made_anew_is_opened_anew(worker: Worker, tmp_path: Path) -> None:
    index = tmp_path / "some.db"
    ask: dict[str, Any] = {"messages": user(asks("Tin")), "sampling": GREEDY, "tools": {"search": str(index)}}
    build(index, [("Tin", "Tin is old.")])
    assert shape(worker.say("a", **ask))[1] == ("result", "Tin is old.")
    build(index, [("Tin", "Tin is new.")])
    assert shape(worker.say("a", **ask))[1] == ("result", "Tin is new.")
    index.unlink()
    worker.start("a", **ask)
    assert "no such index; make one with lab index" in worker.until("failed")[-1]["message"]
    build(index, [("Tin", "Tin is newer.")])
    assert shape(worker.say("a", **ask))[1] == ("result", "Tin is newer.")
    with open(index, "r+b") as file:  # the same file, broken in its place
        file.seek(4096)
        file.write(b"\xa5" * (index.stat().st_size - 4096))
    worker.start("a", **ask)
    last = worker.until("failed", "end")[-1]
    assert last["event"] == "end" or "make one with lab index" in last["message"]
    assert BROKEN not in [text for _, text in shape(worker.say("a", messages=user("Hello!"), sampling=GREEDY))]


def test_max_tokens_and_the_context_end_a_reply(worker: Worker, caller: Path) -> None:
    more: dict[str, Any] = {"messages": user(asks("Gold")), "tools": {"search": str(caller / "metals.db")}}
    whole = worker.say("a", sampling=GREEDY, **more)
    drawn = sum("forced" not in t for t in whole.tokens)
    for most in (2, 3, drawn - 1):
        said = worker.say("a", sampling=COLD | {"max_tokens": most}, **more)
        assert said.end["stop"] == "length"
        assert sum("forced" not in t for t in said.tokens) == most
        assert said.ids == whole.ids[: len(said.ids)]
    stopped = worker.say("a", sampling=GREEDY, stop=["metal"], **more)  # only the result says it
    assert stopped.ids == whole.ids
    assert worker.say("a", sampling=GREEDY, stop=["Au."], **more).end["stop"] == "stop"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tools": []}, "tools: give"),
    ({"tools": {"browse": True}}, "tools: give"),
    ({"tools": {"search": 7}}, '"search" is the path of an index or null'),
    ({"tools": {"code": "yes"}}, '"code" true or false'),
    ({"tools": {"search": "nosuch.db"}}, "nosuch.db: no such index; make one with lab index"),
    ({"tools": {"search": "a\0b"}}, "no such index"),
    ({"tools": {"code": True}, "messages": None, "text": "x"}, "completes text here, and calls no tools"),
    ({"messages": [{"role": "user", "content": 5}]}, "is no text and no list of parts"),
    ({"messages": [{"content": "x"}]}, "each needs a role"),
    ({"messages": [{"role": "king", "content": "x"}]}, "role 'king'"),
    (
        {"messages": [{"role": "user", "content": [{"type": "call", "tool": "search", "text": "x"}]}]},
        "a call part of the user",
    ),
    ({"messages": [{"role": "assistant", "content": [{"type": "song", "text": "x"}]}]}, "a part of type 'song'"),
    ({"messages": [{"role": "assistant", "content": "x", "ids": ["a"]}]}, "ids: give a list of token ids"),
    ({"messages": [{"role": "assistant", "content": "x", "ids": [10**9]}]}, "not of caller's vocabulary"),
]


def test_bad_requests_are_told_in_one_line(worker: Worker) -> None:
    for more, says in BAD:
        request = {"do": "say", "id": 1000, "slot": "a", "messages": user("Hello!")} | more
        worker.ask(**request)
        failed = worker.until("failed", "end")[-1]
        assert failed["event"] == "failed", more
        assert says in failed["message"], (more, failed)
        assert "\n" not in failed["message"]
    assert not any(b"Traceback" in line for line in worker.words)


def test_the_sandbox_ends_with_the_worker(caller: Path, tmp_path: Path) -> None:
    process = Worker(LAB_CACHE=str(tmp_path / "cache"))
    try:
        process.load("a", caller / "caller")
        assert (
            shape(process.say("a", messages=user(counts("kettle")), sampling=GREEDY, tools={"code": True}))[2][1] == "2"
        )
        held = [int(pid) for pid in _children(process.process.pid)]
        assert held
        assert all(_alive(pid) for pid in held)
        process.process.send_signal(signal.SIGKILL)
        process.process.wait()
        deadline = time.monotonic() + 5
        while any(_alive(pid) for pid in held) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_alive(pid) for pid in held)
    finally:
        process.kill()


def test_what_is_shown_is_what_a_parser_reads(model: Model) -> None:
    """Part by part, wherever marks stand; the space that each begins with is not told."""
    tokenizer = model.tokenizer
    texts = (
        " It is.", "<|think|> so <|search|> Tin<|/search|><|result|> a  b<|/result|> and on<|/think|> well", "<|search|> a",
        "<|search|> a<|/code|> b<|/search|> c", "<|/think|> x", "<|code|><|/code|><|result|><|/result|>",
        "<|think|>a<|think|> b", " a<|end|> b",
    )  # fmt: skip
    for text in texts:
        ids = tokenizer.encode_template(text)
        shown = Shown(tokenizer, [], False, [])
        told, stretch = dict[int, str](), 0
        for n, i in enumerate(ids):
            before = shown.part
            text_of = shown.push(i, n == len(ids) - 1)["text"]
            stretch += bool(shown.opens(i)) or shown.part != before
            told[stretch] = told.get(stretch, "") + text_of
            if shown.over:
                break
        want = [part["text"] for part in chat.parts(chat.parse(tokenizer, ids)) if part["text"]]
        assert [said for said in told.values() if said] == want, text
