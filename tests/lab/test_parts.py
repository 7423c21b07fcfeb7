"""Messages and their parts: OpenAI's form and back, ShareGPT, ids and back, and what is no message."""

import random
from pathlib import Path
from typing import Any

import pytest

from lab import chat
from lab.chat import Message, Part, canonical, marks, normal, openai, parse, plain, prompt, render
from lab.errors import UserError
from lab.parts import check
from lab.tokenizer import Tokenizer
from tests.lab.test_chat import CHATML, build, talk

WORDS = (
    "Ada",
    "Bo",
    "took a kite",
    "é🙂",
    "12 + 7",
    "\n",
    '"quoted"',
    "{x}",
    "<b>",
    "the <|end|>",
    "end",
    " ",
    "\\n",
    "\u2581",
    "\ue000",
)


def phrase(r: random.Random) -> str:
    """A few words, never only white space."""
    said = " ".join(r.choice(WORDS) for _ in range(r.randint(1, 4)))
    return said if said.strip() else "Ada"


def part(r: random.Random, kind: str) -> Part:
    if kind == "call":
        return {"type": "call", "tool": r.choice(chat.TOOLS), "text": phrase(r)}
    return {"type": kind, "text": phrase(r)}


def reply(r: random.Random, order: bool = False) -> list[Part]:
    """Parts of every kind in any order that a model can write: a result follows its call. With `order` only as OpenAI's
    form can tell them: each stretch goes thought, text, calls."""
    said: list[Part] = []
    for _ in range(r.randint(1, 3)):
        kinds = [kind for kind in ("think", "text") if r.random() < 0.6]
        if not order:
            r.shuffle(kinds)
        said += [part(r, kind) for kind in kinds]
        said += [part(r, "call"), part(r, "result")]
    return [*said, part(r, "text")] if r.random() < 0.8 else said


def conversation(r: random.Random, order: bool = False) -> list[Message]:
    """One to three questions, each with a reply of text or parts."""
    found: list[Message] = [{"role": "system", "content": phrase(r)}] if r.random() < 0.3 else []
    for _ in range(r.randint(1, 3)):
        found.append({"role": "user", "content": phrase(r)})
        found.append({"role": "assistant", "content": reply(r, order) if r.random() < 0.7 else phrase(r)})
    return found


def same(a: Message, b: Message) -> bool:
    return a["role"] == b["role"] and canonical(a) == canonical(b)


def test_openais_form_and_back() -> None:
    r = random.Random(0)
    for _ in range(500):
        messages = conversation(r, order=True)
        told = openai(messages)
        assert {m["role"] for m in told} <= {"system", "user", "assistant", "tool"}
        assert all(isinstance(m["content"], str) for m in told)
        back = normal(told)
        assert len(back) == len(messages)
        assert all(same(a, b) for a, b in zip(back, messages, strict=True)), messages
        assert normal(messages) == messages  # our own form stays as it is


def test_several_calls_and_results_that_come_in_another_order() -> None:
    def call(id: str, name: str, arguments: Any) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    told: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Both"}, {"type": "input_text", "text": "?"}]},
        {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [
            call("a", "web_search", '{"query": "Ada"}'), call("b", "python", {"code": "1 + 1"}),
            call("c", "search", '{"topn": 3, "query": "Bo"}'), call("d", "search", {"topn": 3}),
        ]},
        {"role": "tool", "tool_call_id": "c", "content": "Bo: no"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "Ada: yes"}]},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "assistant", "content": "Then", "tool_calls": [call("e", "code", "print(3)")]},
        {"role": "function", "content": "3"},
        {"role": "assistant", "reasoning": "Enough.", "content": "Done."},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "output_text", "text": "Bye."}]},
    ]  # fmt: skip
    system, user, first, thanks, last = normal(told)
    assert (system, user, thanks) == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Both?"},
        {"role": "user", "content": "Thanks"},
    )
    assert first["content"] == [
        {"type": "think", "text": "I look."},
        {"type": "call", "tool": "search", "text": "Ada"}, {"type": "result", "text": "Ada: yes"},
        {"type": "call", "tool": "code", "text": "1 + 1"}, {"type": "result", "text": "2"},
        {"type": "call", "tool": "search", "text": "Bo"}, {"type": "result", "text": "Bo: no"},
        {"type": "call", "tool": "search", "text": '{"topn": 3}'},
        {"type": "text", "text": "Then"}, {"type": "call", "tool": "code", "text": "print(3)"}, {"type": "result", "text": "3"},
        {"type": "think", "text": "Enough."}, {"type": "text", "text": "Done."},
    ]  # fmt: skip
    assert plain(first) == "ThenDone."
    assert last["content"] == [{"type": "think", "text": "hm"}, {"type": "text", "text": "Bye."}]


def test_sharegpt() -> None:
    told = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert normal(told) == talk(("system", "s"), ("user", "a"), ("assistant", "b"))


USER: dict[str, Any] = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"role": "robot", "content": "x"}, "message 2: role 'robot'; use system, user, assistant"),
        ({"content": "x"}, "message 2: role ''"),
        ({"role": "assistant", "content": 3}, "message 2: its content is int, not text"),
        ({"role": "assistant", "content": ["x"]}, "message 2: a part of type 'None'"),
        ({"role": "assistant", "content": [{"type": "image_url"}]}, "message 2: a part of type 'image_url'; use text, think"),
        ({"role": "assistant", "content": [{"type": "text"}]}, 'message 2: a text part without "text"'),
        ({"role": "assistant", "content": [{"type": "think", "text": None}]}, 'message 2: a think part without "text"'),
        ({"role": "assistant", "content": [{"type": "call", "text": "x"}]}, "message 2: a call of 'None'; tools are search"),
        ({"role": "assistant", "content": [{"type": "call", "tool": "rm", "text": "x"}]}, "a call of 'rm'"),
        ({"role": "assistant", "tool_calls": "x"}, "message 2: its tool_calls are no list of objects"),
        ({"role": "assistant", "tool_calls": [3]}, "message 2: its tool_calls are no list of objects"),
        ({"role": "assistant", "tool_calls": [{"function": "x"}]}, "message 2: a call whose function is no object"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "message 2: a call of 'None'"),
        ({"role": "user", "content": [{"type": "think", "text": "x"}]}, "a think part outside of an assistant's message"),
        ({"role": "tool", "content": "x"}, "message 2: a tool's result without a call"),
        (None, "message 2 is no object"),
    ],
)  # fmt: skip
def test_what_is_no_message(bad: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        normal([USER, bad])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_messages_are_checked_wherever_they_come_from(tokenizer: Tokenizer) -> None:
    for bad, says in (
        ({"role": "assistant"}, "message 2: its content is no text"),
        ({"content": "x"}, "message 2: role 'None'"),
        ({"role": "assistant", "content": [{"type": "call", "text": "x"}]}, 'a call without "tool"'),
        ({"role": "user", "content": [{"type": "result", "text": "x"}]}, "a result part of the user"),
    ):
        with pytest.raises(UserError, match=says):
            check([USER, bad])  # type: ignore[list-item]
    call: Message = {"role": "assistant", "content": [{"type": "call", "tool": "rm", "text": "x"}]}
    with pytest.raises(UserError, match="a call of 'rm'; tools are search, code"):
        render(tokenizer, [{"role": "user", "content": "x"}, call])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A hub model whose spare tokens have got a use."""
    folder = build(tmp_path_factory.mktemp("hub") / "m", CHATML, spares=8)
    found = Tokenizer.load(folder)
    assert found.reserve()
    return found


@pytest.mark.parametrize("whose", ["ours", "hub"])
def test_what_is_rendered_is_parsed_again(tokenizer: Tokenizer, hub: Tokenizer, whose: str) -> None:
    """Every kind of part, in any order; and what is parsed is rendered as the same ids."""
    core, r, kinds = hub if whose == "hub" else tokenizer, random.Random(1), set[str]()
    for _ in range(300):
        messages = conversation(r)
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                before, (ids, _) = prompt(core, messages[:i]), render(core, messages[: i + 1])
                assert ids[: len(before)] == before
                told = parse(core, ids[len(before) :])
                assert same(told, message), message
                assert render(core, [*messages[:i], told])[0] == ids
                kinds |= {part["type"] for part in canonical(message)}
    assert kinds == set(chat.KINDS)


def test_a_prompt_is_the_beginning_of_what_is_rendered(tokenizer: Tokenizer) -> None:
    r = random.Random(2)
    for _ in range(200):
        messages = conversation(r)
        ids, weights = render(tokenizer, messages)
        starts = [k for k, message in enumerate(messages) if message["role"] == "assistant"]
        for k in starts:
            before = prompt(tokenizer, messages[:k])
            assert ids[: len(before)] == before
            assert weights[len(before)] == (canonical(messages[k])[0]["type"] != "result")
            assert weights[len(before) - 1] == 0


def test_sampled_ids_are_taken_as_they_are(tokenizer: Tokenizer, hub: Tokenizer) -> None:
    """ "kite" in bytes is no encoding of any text; it goes to the loss as it was sampled."""
    spelt = [tokenizer.encode("\n")[0], *(tokenizer.core.sp.piece_to_id(f"<0x{b:02X}>") for b in b"kite")]  # type: ignore[union-attr]
    assert tokenizer.encode(tokenizer.decode(spelt)) != spelt
    search, result = marks(tokenizer).search, marks(tokenizer).result
    assert search
    assert result
    sampled = [*spelt, search[0], *spelt, search[1], result[0], *spelt, result[1], *spelt]
    user: Message = {"role": "user", "content": "Ada?"}
    for end in ([], [tokenizer.end], [tokenizer.end, *spelt]):
        message: Message = {"role": "assistant", "content": "what it looked like", "ids": [*sampled, *end]}
        ids, weights = render(tokenizer, [user, message, user])
        before = len(prompt(tokenizer, [user]))
        assert ids[before : before + len(sampled) + 1] == [*sampled, tokenizer.end]
        calls, told = 2 * len(spelt) + 2, len(spelt) + 2
        want = [1.0] * calls + [0.0] * told + [1.0] * (len(spelt) + 1)
        assert weights[before : before + len(want)] == want
        assert not any(weights[before + len(want) :])
    message = {"role": "assistant", "content": "x", "ids": [*sampled, tokenizer.vocab_size]}
    with pytest.raises(UserError, match="message 2: its ids are not of trained's vocabulary; leave them out"):
        render(tokenizer, [user, message])
    with pytest.raises(UserError, match="message 1: its ids"):
        render(tokenizer, [{"role": "user", "content": "x", "ids": [5]}])


def test_a_reply_that_breaks_off_is_parsed_as_far_as_it_goes(tokenizer: Tokenizer) -> None:
    found = marks(tokenizer)
    assert found.think
    assert found.search
    assert found.result
    ada, bo = tokenizer.encode("Ada"), tokenizer.encode("Bo")
    assert parse(tokenizer, [found.think[0], *ada])["content"] == [{"type": "think", "text": "Ada"}]
    assert parse(tokenizer, [*ada, found.search[0], *bo])["content"] == [
        {"type": "text", "text": "Ada"}, {"type": "call", "tool": "search", "text": "Bo"},
    ]  # fmt: skip
    # A thought goes on behind a call in its midst; the prompt may have opened it.
    asked = [found.search[0], *bo, found.search[1], found.result[0], *ada, found.result[1]]
    inside = [{"type": "call", "tool": "search", "text": "Bo"}, {"type": "result", "text": "Ada"}]
    thought = {"type": "think", "text": "Ada"}
    end: Part = {"type": "text", "text": "Bo"}
    whole = [found.think[0], *ada, *asked, *ada, found.think[1], *bo]
    assert parse(tokenizer, whole)["content"] == [thought, *inside, thought, end]
    assert parse(tokenizer, [*ada, found.think[1], *bo])["content"] == [thought, end]
    assert parse(tokenizer, [*ada, tokenizer.end, *bo])["content"] == "Ada"
    assert parse(tokenizer, [])["content"] == ""


def test_a_hub_model_without_tokens_for_parts_says_so(tmp_path: Path) -> None:
    bare = Tokenizer.load(build(tmp_path / "m", CHATML))
    assert bare.missing() == ["search", "code", "result"]  # <think> is there
    assert not bare.reserve()
    call: Message = {"role": "assistant", "content": [{"type": "call", "tool": "code", "text": "1"}]}
    with pytest.raises(
        UserError, match=r"m: its vocabulary has no tokens for code \(lab import --tool-tokens adds some\)"
    ):
        render(bare, [{"role": "user", "content": "x"}, call])
