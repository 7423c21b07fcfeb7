"""Our chat template through transformers, as mlx-lm uses it: the ids that lab.chat gives."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lab import chat, weights
from lab.chat import Message, canonical, normal, openai, prompt, render
from lab.model import Transformer
from lab.tokenizer import Tokenizer
from tests.lab.test_parts import conversation

UNSPELT = {"the <|end|>": "the end"}  # transformers makes a token of what spells one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """Our tokenizer with our template, as a run folder holds it."""
    path = tmp_path_factory.mktemp("ours")
    tokenizer.save(path)
    ours = Tokenizer.load(path)
    ours.chat_template = chat.OURS
    ours.save(path)
    assert (path / "chat_template.jinja").read_text() == chat.OURS
    return path


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    """The folder's tokenizer as mlx_lm.load makes it."""
    from mlx_lm.tokenizer_utils import load

    return load(folder)


def harmless(messages: list[Message]) -> list[Message]:
    told = json.dumps(messages)
    for spelt, other in UNSPELT.items():
        told = told.replace(spelt, other)
    found: list[Message] = json.loads(told)
    return found


def decoded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI's messages with arguments as objects: so transformers, and mlx_lm's server, hand them to a template."""
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


def ids(theirs: Any, messages: Any, reply: bool) -> list[int]:
    found = theirs.apply_chat_template(messages, add_generation_prompt=reply, tokenize=True)
    return list(found["input_ids"] if hasattr(found, "keys") else found)


@pytest.mark.slow
def test_the_template_gives_the_ids_of_the_lab(folder: Path, theirs: Any) -> None:
    ours, r = Tokenizer.load(folder), random.Random(0)
    assert theirs.eos_token_id == ours.end
    for _ in range(400):
        messages = harmless(conversation(r))
        assert ids(theirs, messages, False) == render(ours, messages)[0], messages
        assert ids(theirs, messages[:-1], True) == prompt(ours, messages[:-1]), messages


@pytest.mark.slow
def test_openais_form_gives_the_same_ids(folder: Path, theirs: Any) -> None:
    """Calls as tool_calls, results as messages of their own, thoughts as reasoning_content."""
    ours, r, calls, several = Tokenizer.load(folder), random.Random(1), 0, 0
    for _ in range(400):
        messages = harmless(conversation(r, order=True))
        told = decoded(openai(messages))
        calls += sum(len(m.get("tool_calls", ())) for m in told)
        want, _ = render(ours, messages)
        assert ids(theirs, told, False) == want, messages
        # Calls at once, their results behind them in any order.
        at_once: list[dict[str, Any]] = []
        for m in told:
            if m["role"] == "assistant" and at_once and at_once[-1]["role"] == "tool" and not m["content"] \
                    and "reasoning_content" not in m:  # fmt: skip
                first = next(x for x in reversed(at_once) if x["role"] == "assistant")
                first["tool_calls"] = first["tool_calls"] + m["tool_calls"]
                several += 1
                continue
            at_once.append(dict(m))
        runs: list[dict[str, Any]] = []
        for m in at_once:
            here = len(runs)
            while here and m["role"] == "tool" and runs[here - 1]["role"] == "tool" and r.random() < 0.5:
                here -= 1
            runs.insert(here, m)
        assert render(ours, normal(runs))[0] == want, runs
        assert ids(theirs, runs, False) == want, runs
    assert calls > 300
    assert several > 30


@pytest.mark.slow
def test_what_others_send(folder: Path, theirs: Any) -> None:
    """Names of other makers, arguments of other kinds, calls that wait for their results."""
    ours = Tokenizer.load(folder)

    def same(told: list[dict[str, Any]], reply: bool = False) -> list[int]:
        found = ids(theirs, told, reply)
        messages = normal(told)
        assert found == (prompt(ours, messages) if reply else render(ours, messages)[0]), told
        return found

    def call(name: str, arguments: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "arguments": arguments}}

    developer, user = {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Ada?"}
    for arguments in ({"query": "Ada"}, {"q": "Ada"}, {"q": 3}, {"a": "x", "b": [1, "é"]}, {}, "Ada", None):
        for name in ("search", "web_search", "code", "python", "code_interpreter", "ipython"):
            asked = {"role": "assistant", "content": "I look.", "tool_calls": [call(name, arguments)]}
            same([developer, user, asked])
            same(
                [user, asked, {"role": "tool", "content": "yes"}, {"role": "assistant", "content": "Yes."}, user],
                reply=True,
            )
    content = [{"type": "text", "text": "A"}, {"type": "text", "text": "da?"}]
    same([{"role": "user", "content": content}, {"role": "assistant", "content": None, "reasoning": "hm"}])
    # Where a client hands over a result and asks on, the turn goes on: there is no END and no header.
    told: list[dict[str, Any]] = [user, {"role": "assistant", "content": None, "tool_calls": [call("search", {"query": "x"})]},
            {"role": "tool", "content": "yes"}]  # fmt: skip
    assert ids(theirs, told, True) == render(ours, normal(told))[0][:-1]
    assert canonical(normal(told)[-1])[-1] == {"type": "result", "text": "yes"}


@pytest.mark.slow
def test_mlx_lm_continues_from_the_same_prompt(tmp_path: Path, tiny: Transformer, folder: Path) -> None:
    """A whole model folder: mlx_lm.load's prompt and first token are those of the lab."""
    import mlx.core as mx
    import mlx_lm

    ours = Tokenizer.load(folder)
    weights.save(tmp_path / "m", tiny, ours)
    network, theirs = mlx_lm.load(str(tmp_path / "m"))[:2]
    messages: list[Message] = [{"role": "user", "content": "Ada?"}]
    found = theirs.apply_chat_template(messages, add_generation_prompt=True)
    assert list(found) == prompt(ours, messages)
    got = network(mx.array([found]))[0, -1]
    assert mx.abs(got - tiny(mx.array([prompt(ours, messages)]))[0, -1]).max() < 1e-4
    assert theirs.eos_token_ids == set(ours.ends)
