"""The model worker as its parent sees it: a real process, requests and events over its pipes."""

import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from lab import device, weights
from lab.chat import prompt
from lab.model import Shape, Transformer
from lab.reply import Shown
from lab.sample import Sampling
from lab.stream import Stream
from lab.tokenizer import Tokenizer
from tests.conftest import REPO
from tests.hub_server import Hub, hub  # noqa: F401
from tests.lab.test_chat import CHATML, THOUGHTS, build

Event = dict[str, Any]


class Worker:
    """A worker process: `ask` writes a request, `until` reads events up to one of a kind."""

    def __init__(self, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab.worker"], cwd=REPO, env=os.environ | env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.words: list[bytes] = []
        assert self.process.stdout
        assert self.process.stderr
        for pipe, put in ((self.process.stdout, self.lines.put), (self.process.stderr, self.words.append)):
            threading.Thread(target=self._read, args=(pipe, put), daemon=True).start()
        self.ids = 0

    def _read(self, pipe: Any, put: Callable[[bytes], None]) -> None:
        for line in pipe:
            put(line)

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, do: str, **more: Any) -> None:
        self.write(json.dumps({"do": do} | more).encode() + b"\n")

    def event(self, seconds: float = 30) -> Event:
        event = json.loads(self.lines.get(timeout=seconds))
        assert isinstance(event, dict)
        return event

    def until(self, *kinds: str, seconds: float = 30) -> list[Event]:
        events = [self.event(seconds)]
        while events[-1]["event"] not in kinds:
            events.append(self.event(seconds))
        return events

    def load(self, slot: str, model: str | Path) -> Event:
        self.ask("load", slot=slot, model=str(model))
        return self.until("loaded", "failed")[-1]

    def start(self, slot: str, **more: Any) -> int:
        self.ids += 1
        self.ask("say", id=self.ids, slot=slot, **more)
        return self.ids

    def say(self, slot: str, **more: Any) -> "Said":
        number = self.start(slot, **more)
        return Said([e for e in self.until("end", "failed") if e.get("id") == number])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Said:
    """The events of one reply."""

    def __init__(self, events: list[Event]) -> None:
        self.begin, self.end = events[0], events[-1]
        assert self.begin["event"] == "begin", self.begin
        assert [e["event"] for e in events[1:-1]] == ["tokens"] * (len(events) - 2)
        assert self.end["event"] == "end", self.end
        self.tokens = [token for e in events[1:-1] for token in e["tokens"]]
        self.ids = [token["id"] for token in self.tokens]
        self.text = "".join(token["text"] for token in self.tokens)


def small(vocab: int, context: int, seed: int = 0) -> Transformer:
    """A network that says different things after different words."""
    network = Transformer(Shape(vocab, 64, 2, 4, 2, 16, 96, max_position_embeddings=context, qk_norm=False))
    network.initialise(seed)
    key, noisy = mx.random.key(seed + 1), []
    for name, value in device.flat(network.parameters()):
        key, draw = mx.random.split(key)
        noisy.append((name, value + 0.1 * mx.random.normal(value.shape, key=draw)))
    network.load_weights(noisy)
    return network


def hub_model(folder: Path, template: str, context: int = 256, **more: Any) -> Path:
    """A chat model as from a hub: a tokenizer with a template, and weights."""
    build(folder, template, **more)
    network = small(Tokenizer.load(folder).vocab_size, context)
    weights.save_arrays(folder / "model.safetensors", dict(device.flat(network.parameters())))
    config = {k: v for k, v in vars(network.shape).items() if k != "qk_norm"}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_act": "silu"} | config))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """base: ours, context 8192. chat: ours with a template. hub, thinks: as from a hub."""
    root = tmp_path_factory.mktemp("models")
    for name in ("base", "chat"):
        weights.save(root / name, small(tokenizer.vocab_size, 8192), tokenizer)
    (root / "chat" / "chat_template.jinja").write_text("ours goes by ids")
    hub_model(root / "hub", CHATML)
    hub_model(root / "thinks", THOUGHTS.replace("assistant\\n' }}{%- endif", "assistant\\n<think>\\n' }}{%- endif"))
    return root


@pytest.fixture(scope="module")
def worker(models: Path) -> Iterator[Worker]:
    """A worker with `base` in slot a."""
    process = Worker()
    loaded = process.load("a", models / "base")
    assert loaded["event"] == "loaded"
    yield process
    process.kill()


def stream(folder: Path) -> Stream:
    """The same model in this process."""
    model = weights.load(folder)
    return Stream(model.network, model.tokenizer, model.context)


TEXT = "Ada took a kite to the"
HOT: dict[str, Any] = {"temp": 1.0, "top_p": 0.95, "max_tokens": 24}
COLD: dict[str, Any] = {"temp": 0, "max_tokens": 24}


def test_what_is_loaded(worker: Worker, models: Path, tokenizer: Tokenizer) -> None:
    loaded = worker.load("other", REPO / "weights" / "pocket-base")
    count = sum(v.size for _, v in device.flat(weights.load(REPO / "weights" / "pocket-base").network.parameters()))
    assert {k: v for k, v in loaded.items() if k != "seconds"} == {
        "event": "loaded", "slot": "other", "name": "pocket-base", "model": str(REPO / "weights" / "pocket-base"),
        "chats": False, "context": 512, "vocabulary": 2560, "parameters": count, "memory": 4 * count,
    }  # fmt: skip
    assert 0 < loaded["seconds"] < 20
    said = worker.say("other", text="The capital of France is", sampling={"temp": 0})
    assert said.text == " Paris."
    worker.ask("unload", slot="other")
    assert worker.until("unloaded")[-1]["slot"] == "other"
    worker.start("other", text="x")
    assert worker.until("failed")[-1]["message"] == "no model is loaded in slot other"


def test_tokens_are_those_of_a_stream(worker: Worker, models: Path) -> None:
    alone = stream(models / "base")
    ids = [*alone.tokenizer.begin, *alone.tokenizer.encode(TEXT)]
    want = list(alone(ids, Sampling(**HOT), 7, top=5))
    said = worker.say("a", text=TEXT, sampling=HOT, seed=7)
    assert said.begin["ids"] == ids
    assert said.begin["pieces"] == [alone.tokenizer.piece(i) for i in ids]
    assert (said.begin["dropped"], said.begin["prefix"]) == (0, [])
    assert said.ids == [t.id for t in want]
    assert said.text == "".join(t.text for t in want) == alone.tokenizer.decode(said.ids)
    for got, t in zip(said.tokens, want, strict=True):
        assert got["piece"] == alone.tokenizer.piece(t.id)
        assert got["p"] == pytest.approx(t.p, rel=1e-4)
        assert got["logp"] == pytest.approx(t.logp, abs=1e-4)
        assert [i for i, _, _ in got["top"]] == [i for i, _ in t.top]
        assert [piece for _, piece, _ in got["top"]] == [alone.tokenizer.piece(i) for i, _ in t.top]
        chances = {i: p for i, _, p in got["top"]}
        assert sum(chances.values()) <= 1 + 1e-5
        assert sorted(chances.values(), reverse=True) == list(chances.values())
        if got["id"] in chances:
            assert chances[got["id"]] == pytest.approx(got["p"], rel=1e-5)
    end = said.end
    assert (end["stop"], end["prefilled"], end["used"]) == ("length", len(ids), len(ids) + 24)
    assert 0 < end["first"] <= end["seconds"]
    assert end["speed"] == pytest.approx(23 / (end["seconds"] - end["first"]), rel=0.05)
    again = worker.say("a", text=TEXT, sampling=HOT, seed=7, top=0)
    assert again.ids == said.ids
    assert again.end["prefilled"] == 1
    assert again.tokens[0]["top"] == []
    longer = worker.say("a", text=TEXT + said.text + " Bo went home.", sampling=HOT)
    assert longer.end["prefilled"] <= len(longer.begin["ids"]) - len(ids)
    assert worker.say("a", text=TEXT, sampling=HOT, seed=8).ids != said.ids


def test_a_reply_goes_on_from_any_place_of_it(worker: Worker, models: Path) -> None:
    whole = worker.say("a", text=TEXT, sampling=COLD)
    for at in (1, 7, 23):
        rest = worker.say("a", text=TEXT, sampling=COLD | {"max_tokens": 24 - at}, prefix=whole.ids[:at])
        assert rest.begin["ids"] == whole.begin["ids"]
        assert rest.ids == whole.ids[at:]
        assert "".join(t["text"] for t in rest.begin["prefix"]) + rest.text == whole.text
        assert [t["piece"] for t in rest.begin["prefix"]] == [t["piece"] for t in whole.tokens[:at]]
        assert rest.end["used"] == whole.end["used"]
    other = next(i for i, _, _ in whole.tokens[4]["top"] if i != whole.ids[4])
    assert worker.say("a", text=TEXT, sampling=COLD, prefix=[*whole.ids[:4], other]).end["stop"] == "length"
    end = Tokenizer.load(models / "base").end
    over = worker.say("a", text=TEXT, sampling=COLD, prefix=[*whole.ids[:4], end])
    assert (over.tokens, over.end["stop"], over.begin["prefix"][-1]["kind"]) == ([], "end", "special")


def test_stop_strings_and_the_end_of_the_context(worker: Worker, models: Path) -> None:
    whole = worker.say("a", text=TEXT, sampling=COLD)
    stop = whole.text[9:14]
    assert whole.text.count(stop) == 1
    cut = worker.say("a", text=TEXT, sampling=COLD, stop=["never", stop])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.end["stop"] == "stop"
    assert cut.ids == whole.ids[: len(cut.ids)]
    for at in range(1, len(cut.ids) + 1):  # also where the prefix ends inside the stop string, and behind it
        rest = worker.say("a", text=TEXT, sampling=COLD, stop=[stop], prefix=whole.ids[:at])
        assert "".join(t["text"] for t in rest.begin["prefix"]) + rest.text == cut.text
        assert (rest.ids, rest.end["stop"]) == (cut.ids[at:], "stop")
    assert worker.load("short", models / "hub")["context"] == 256
    long = "Ada took a kite. " * 200
    alone = Tokenizer.load(models / "hub")
    text = alone.decode(alone.encode(long)[:250])
    full = worker.say("short", text=text, sampling={"temp": 1.5, "max_tokens": 100})
    assert full.end["stop"] in ("context", "end")
    assert full.end["stop"] == "end" or full.end["used"] == 256
    worker.start("short", text=long)
    assert "shorten it by" in worker.until("failed")[-1]["message"]
    worker.ask("unload", slot="short")
    worker.until("unloaded")


def test_cancelling_leaves_a_context_of_use(worker: Worker, models: Path) -> None:
    """Between two tokens, between two chunks of the prompt, and before it began."""
    ids = Tokenizer.load(models / "base").encode("Ada took a kite to the lake. " * 1000)[:2500]
    text = Tokenizer.load(models / "base").decode(ids)
    worker.say("a", text="Zoe", sampling=COLD | {"max_tokens": 1})  # shares no more than BOS
    number = worker.start("a", text=text, sampling=COLD)
    (begin,) = worker.until("begin")
    worker.ask("cancel", id=number)
    (first,) = worker.until("end")
    n = len(begin["ids"])
    assert (first["stop"], first["used"], first["prefilled"] % 512) == ("cancelled", n, 0)
    assert first["prefilled"] < n
    number = worker.start("a", text=text, sampling=COLD | {"max_tokens": 2000})
    events = [e for _ in range(4) for e in worker.until("tokens")]
    worker.ask("cancel", id=number)
    worker.ask("cancel", id=number)
    worker.ask("cancel", id=12345)
    rest = worker.until("end")
    assert rest[-1]["stop"] == "cancelled"
    assert rest[-1]["prefilled"] == n - 1 - first["prefilled"]  # what the first brought was still there
    said = [t["id"] for e in [*events, *rest] if e["event"] == "tokens" for t in e["tokens"]]
    assert len(said) < 2000
    after = worker.say("a", text=text, sampling=COLD)
    assert after.end["prefilled"] == 1
    assert after.ids[: len(said)] == said[:24]  # on a busy machine it was cancelled sooner
    one, two, three = (worker.start("a", text=TEXT, sampling=COLD | {"max_tokens": 2000}) for _ in range(3))
    worker.ask("cancel", id=two)
    worker.ask("cancel", id=one)
    worker.ask("cancel", id=three)
    ends = [e for _ in range(3) for e in worker.until("end") if e["event"] == "end"]
    assert {e["id"]: e["stop"] for e in ends} == dict.fromkeys((one, two, three), "cancelled")


def test_two_slots_take_turns_and_one_slot_waits(worker: Worker, models: Path) -> None:
    worker.load("b", models / "chat")
    long = HOT | {"max_tokens": 160}
    alone = [worker.say(slot, text=text, sampling=long, seed=5).ids for slot, text in (("a", TEXT), ("b", "Bo"))]
    numbers = [worker.start("a", text=TEXT, sampling=long, seed=5), worker.start("b", text="Bo", sampling=long, seed=5)]
    numbers.append(worker.start("a", text=TEXT, sampling=COLD))
    events: list[Event] = []
    while sum(e["event"] == "end" for e in events) < 3:
        events.append(worker.event())
    for number, ids in zip(numbers, alone, strict=False):
        assert [t["id"] for e in events if e["event"] == "tokens" and e["id"] == number for t in e["tokens"]] == ids
    order = [(e["event"], numbers.index(e["id"])) for e in events]
    assert max(order.index(("tokens", 0)), order.index(("tokens", 1))) < min(
        order.index(("end", 0)), order.index(("end", 1))
    )
    assert order.index(("begin", 2)) > order.index(("end", 0))
    batches = [e for e in events if e["event"] == "tokens" and e["id"] == numbers[1]]
    seconds = next(e["seconds"] for e in events if e["event"] == "end" and e["id"] == numbers[1])
    assert len(batches) <= 20 * seconds + 3
    worker.ask("unload", slot="b")
    worker.until("unloaded")


def test_a_chat_model_is_asked_by_its_template(worker: Worker, models: Path) -> None:
    talk = [{"role": "user", "content": "Who took a kite?<|im_end|>"}]
    for name in ("hub", "chat"):
        assert worker.load("c", models / name)["chats"] is True
        tokenizer = Tokenizer.load(models / name)
        said = worker.say("c", messages=talk, sampling=COLD)
        assert said.begin["ids"] == prompt(tokenizer, talk)  # type: ignore[arg-type]
        more = [*talk, {"role": "assistant", "content": said.text}, {"role": "user", "content": "And Bo?"}]
        after = worker.say("c", messages=more, sampling=COLD)
        assert after.end["prefilled"] < len(after.begin["ids"]) - len(said.begin["ids"]) + 3
    worker.load("c", models / "hub")
    many = [
        m
        for i in range(20)
        for m in ({"role": "user", "content": f"Ada {i}?"}, {"role": "assistant", "content": "Bo."})
    ]
    many = [{"role": "system", "content": "Be brief."}, *many, {"role": "user", "content": "Who?"}]
    said = worker.say("c", messages=many, sampling=COLD)
    kept = [many[0], *many[1 + said.begin["dropped"] :]]
    assert said.begin["dropped"] > 0
    assert said.begin["ids"] == prompt(Tokenizer.load(models / "hub"), kept)  # type: ignore[arg-type]
    # A long beginning of the reply does not change what the model was asked, as long as there is room for it.
    rest = worker.say("c", messages=many, sampling=COLD, prefix=said.ids[:20])
    assert (rest.begin["ids"], rest.ids[:4]) == (said.begin["ids"], said.ids[20:])


def test_parts_of_a_reply(worker: Worker, models: Path) -> None:
    """Thoughts, calls and results by the tokens that open and close them."""
    worker.load("c", models / "chat")
    special = Tokenizer.load(models / "chat").special
    word = Tokenizer.load(models / "chat").encode("Ada")[0]
    talk = [{"role": "user", "content": "<|think|> so"}]
    names = [
        "<|think|>",
        "",
        "<|/think|>",
        "",
        "<|search|>",
        "",
        "<|/search|>",
        "<|result|>",
        "",
        "<|/result|>",
        "<|code|>",
    ]
    said = worker.say(
        "c", messages=talk, prefix=[special.get(name, word) for name in names], sampling={"max_tokens": 1}
    )
    assert [t["kind"] for t in said.begin["prefix"]] == [
        "special", "think", "special", "text", "special", "call", "special", "special", "result", "special", "special"
    ]  # fmt: skip
    assert said.tokens[0]["kind"] in ("call", "special")
    assert [t["text"] for t in said.begin["prefix"]] == [
        Tokenizer.load(models / "chat").decode([word]) if not name else "" for name in names
    ]
    worker.load("c", models / "thinks")
    special = Tokenizer.load(models / "thinks").special
    hub_word = Tokenizer.load(models / "thinks").encode("Ada")[0]
    said = worker.say("c", messages=talk, prefix=[hub_word, special["</think>"], hub_word], sampling={"max_tokens": 1})
    assert [t["kind"] for t in said.begin["prefix"]] == ["think", "special", "text"]  # the template opens the thought
    worker.ask("unload", slot="c")
    worker.until("unloaded")


def test_text_goes_on_through_a_prefix(models: Path, tmp_path: Path) -> None:
    """A character or stop string that a prefix begins is ended by what follows; the first space is dropped once."""
    ours, spaced = Tokenizer.load(models / "base"), Tokenizer.load(build(tmp_path / "spm", CHATML, spm=True))
    text = "é Ada 🙂 STOP went\ue000 home"
    for tokenizer in (ours, spaced):
        ids = tokenizer.encode(text)
        for stop, want in (([], text), (["STOP"], text[: text.index("STOP")]), (["STOPS"], text)):
            shown = Shown(tokenizer, [], False, stop)
            said = ""
            for n, i in enumerate(ids):
                said += shown.push(i, n == len(ids) - 1)["text"]
                if shown.over:
                    break
            assert said == want
            assert shown.over == ("stop" if stop == ["STOP"] else "")
    # Where text is completed, the space before the next word is a part of it.
    ids = spaced.encode("Ada went")
    cut = next(n for n in range(1, len(ids)) if spaced.decode(ids[n:]) == "went")
    goes_on, begins = (Shown(spaced, ids[:cut], completes, []) for completes in (True, False))
    assert "".join(goes_on.push(i)["text"] for i in ids[cut:]) == " went"
    assert "".join(begins.push(i)["text"] for i in ids[cut:]) == "went"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"text": TEXT, "messages": []}, "either messages or text"),
    ({}, "either messages or text"),
    ({"text": 5}, "text: this is no text"),
    ({"text": "\ud800"}, "half of a surrogate pair"),
    ({"messages": [{"role": "user", "content": "x"}]}, "base is a base model without a chat template"),
    ({"text": "Ada took a kite. " * 4000}, r"the prompt has \d+ tokens, the model's context 8192"),
    ({"text": TEXT, "prefix": [384]}, "prefix: base has no token 384"),
    ({"text": TEXT, "prefix": [-1]}, "no token -1"),
    ({"text": TEXT, "prefix": "abc"}, "prefix: give a list of token ids"),
    ({"text": TEXT, "sampling": {"top_p": 1.5}}, "--top-p: out of range"),
    ({"text": TEXT, "sampling": {"temp": math.nan}}, "--temp: out of range"),
    ({"text": TEXT, "sampling": {"max_tokens": 0}}, "--max-tokens: out of range"),
    ({"text": TEXT, "sampling": {"temp": "hot"}}, "sampling: temp hot: give a number"),
    ({"text": TEXT, "sampling": {"top_k": 2.5}}, "sampling: top_k 2.5: give a whole number"),
    ({"text": TEXT, "sampling": {"heat": 1}}, "sampling: give an object with some of temp"),
    ({"text": TEXT, "sampling": [1]}, "sampling: give an object"),
    ({"text": TEXT, "seed": -1}, "--seed -1"),
    ({"text": TEXT, "seed": "x"}, "seed x: give a whole number"),
    ({"text": TEXT, "stop": "x"}, "stop: give a list of texts"),
    ({"text": TEXT, "top": 1000}, "top 1000: ask for 0 to 100"),
    ({"text": TEXT, "id": "x"}, "has no id, a whole number"),
    ({"text": TEXT, "slot": "zz"}, "no model is loaded in slot zz"),
    ({"text": TEXT, "slot": 7}, "a request to say names no slot"),
    ({"do": "dance"}, "unknown request 'dance'"),
    ({"do": "load"}, "names no model"),
    ({"do": "load", "model": "x", "dtype": "int8"}, "dtype int8: choose one of float32"),
    ({"do": "load", "model": "nosuch", "slot": "b"}, "nosuch: no such folder"),
    ({"do": "unload", "slot": "b"}, "no model is loaded in slot b"),
]


def test_bad_requests_are_told_in_one_line(worker: Worker, models: Path) -> None:
    for more, says in BAD:
        request = {"do": "say", "id": 1000, "slot": "a"} | more
        worker.ask(**request)
        (failed,) = (e for e in worker.until("failed") if e["event"] != "progress")
        assert re.search(says, failed["message"]), (more, failed)
        assert "\n" not in failed["message"]
        assert failed["id"] == (None if request["id"] == "x" else 1000)
    for line in (b"garbage\n", b"\n", b"[1]\n", b"\xff\xfe{}\n", b"[" * 100_000 + b"\n", b'{"do": NaN}\n', b"5\n"):
        worker.write(line)
        (failed,) = worker.until("failed")
        assert (failed["id"], failed["slot"]) == (None, None)
        assert "\n" not in failed["message"]
    said = worker.say("a", text=TEXT, sampling=COLD, stop=["x" * 3_000_000])  # a long line is as good as another
    assert len(said.ids) == 24
    assert not any(b"Traceback" in line for line in worker.words)


def test_what_does_not_load_is_told_in_words(worker: Worker, models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cut = tmp_path / "cut"
    subprocess.run(["cp", "-r", str(models / "base"), str(cut)], check=True)
    with open(cut / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    for model, says in ((tmp_path / "empty", "has no config.json"), (cut, "the file is cut")):
        failed = worker.load("c", model)
        assert (failed["event"], failed["slot"], failed["id"]) == ("failed", "c", None)
        assert says in failed["message"]
    # What was asked of it meanwhile fails with it; a model replaced in the middle is not heard of again.
    worker.ask("load", slot="c", model=str(cut))
    number = worker.start("c", text=TEXT)
    failures = [e for _ in range(2) for e in worker.until("failed") if e["event"] == "failed"]
    assert [e["id"] for e in failures] in ([None, number], [number, None])
    worker.ask("load", slot="c", model=str(models / "hub"))
    worker.ask("load", slot="c", model=str(models / "chat"))
    number = worker.start("c", text=TEXT, sampling=COLD)  # waits for the model
    events = worker.until("end", "failed")
    loaded = [e["name"] for e in events if e["event"] == "loaded"]
    assert loaded[-1] == "chat"
    assert events[-1]["id"] == number
    model = small(Tokenizer.load(models / "base").vocab_size, 64)
    model.load_weights([("model.norm.weight", mx.full((64,), math.nan))], strict=False)
    weights.save(tmp_path / "broken", model, Tokenizer.load(models / "base"))
    assert worker.load("c", tmp_path / "broken")["event"] == "loaded"
    worker.start("c", text=TEXT)
    assert "no numbers (NaN): its weights are broken" in worker.until("failed")[-1]["message"]
    worker.ask("unload", slot="c")
    worker.until("unloaded")


def test_unloading_frees_the_memory_and_the_end_of_input_ends_the_process(models: Path) -> None:
    """In the middle of a reply; Ctrl-C, which reaches the whole group, does nothing."""
    process = Worker()
    try:
        loaded = process.load("a", models / "base")
        process.say("a", text=TEXT, sampling=COLD)
        process.start("a", text=TEXT, sampling=HOT | {"max_tokens": 8000})
        process.until("tokens")
        process.process.send_signal(signal.SIGINT)
        process.until("tokens")
        process.ask("unload", slot="a")
        end, gone = [e for e in process.until("unloaded") if e["event"] != "tokens"]
        assert end["stop"] == "cancelled"
        assert gone["memory"] < 1000 < loaded["memory"]
        process.load("a", models / "base")
        process.start("a", text="Ada took a kite. " * 1000, sampling=HOT | {"max_tokens": 8000})
        process.until("begin")
        assert process.process.stdin
        process.process.stdin.close()
        assert process.process.wait(2) == 0
    finally:
        process.kill()


def test_what_a_library_prints_does_not_get_between_the_events(models: Path, tmp_path: Path) -> None:
    """A thread that prints all the time, through Python and past it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, threading, time\n"
        "def chatter():\n"
        "    while 'lab.serve' not in sys.modules: time.sleep(.01)\n"
        "    while True:\n"
        "        print('noise', flush=True); os.write(1, b'din\\n'); time.sleep(.002)\n"
        "threading.Thread(target=chatter, daemon=True).start()\n"
    )
    process = Worker(PYTHONPATH=str(tmp_path))
    try:
        process.load("a", models / "base")
        assert len(process.say("a", text=TEXT, sampling=HOT | {"max_tokens": 50}).ids) == 50
        assert b"noise\n" in process.words
        assert b"din\n" in process.words
        process.ask("quit")
        assert process.process.wait(2) == 0
    finally:
        process.kill()


@pytest.mark.slow
def test_a_download_is_told_of_and_can_be_given_up(hub: Hub, models: Path, home: Path, tmp_path: Path) -> None:  # noqa: F811
    hub.add_folder("lab/chat", models / "hub")
    hub.rate = 200_000
    process = Worker()
    try:
        process.load("b", models / "base")
        process.ask("load", slot="a", model="lab/chat")
        first = next(e for _ in range(100) if (e := process.event())["event"] == "progress")
        while not first["what"].startswith("downloading"):
            first = process.event()
        assert (first["what"], first["unit"]) == ("downloading lab/chat", "MB")
        assert first["total"] > 100_000
        said = process.say("b", text=TEXT, sampling=COLD)  # the other slot goes on meanwhile
        assert len(said.ids) == 24
        process.ask("unload", slot="a")
        assert process.until("unloaded", "loaded", "failed")[-1]["event"] == "unloaded"
        time.sleep(0.5)
        sent = hub.sent
        time.sleep(0.5)
        assert hub.sent <= sent + (1 << 14)
        assert not list((tmp_path / "hf").rglob("*.incomplete"))
        hub.rate = 400_000
        began = time.monotonic()
        process.ask("load", slot="a", model="lab/chat")
        events = process.until("loaded", "failed")
        assert events[-1] | {"seconds": 0, "memory": 0, "parameters": 0, "vocabulary": 0} == {
            "event": "loaded", "slot": "a", "name": "lab/chat", "model": "lab/chat", "chats": True, "context": 256,
            "seconds": 0, "memory": 0, "parameters": 0, "vocabulary": 0,
        }  # fmt: skip
        told = [e for e in events if e["event"] == "progress"]
        done = [(e["done"], e["total"]) for e in told if e["what"].startswith("downloading")]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1] <= first["total"]  # files that had come whole are kept
        assert len(told) <= 5 * (time.monotonic() - began) + 4
    finally:
        process.kill()
