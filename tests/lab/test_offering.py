"""Models that call tools by JSON are told in their system message what there is to call."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab import chat
from lab.chat import Message
from lab.hub_chat import described, offering
from lab.tokenizer import Tokenizer
from tests.conftest import REPO
from tests.lab.test_chat import CHATML, build, build_hermes, talk

# As Qwen3 and Hermes: tools in the system message, as JSON, with the tokens of a call spelt out in between.
QWEN = (
    "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n"
    "    {%- if messages[0].role == 'system' %}\n        {{- messages[0].content + '\\n\\n' }}\n    {%- endif %}\n"
    '    {{- "# Tools\\n\\nThese are the functions you may call, in <tools></tools>:\\n<tools>" }}\n'
    '    {%- for tool in tools %}\n        {{- "\\n" }}\n        {{- tool | tojson }}\n    {%- endfor %}\n'
    '    {{- "\\n</tools>\\n\\nCall one by JSON within <tool_call></tool_call>:\\n<tool_call>\\n{\\"name\\": <name>, '
    '\\"arguments\\": <json>}\\n</tool_call><|im_end|>\\n" }}\n'
    "{%- elif messages[0].role == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}\n    {%- if not (loop.first and message.role == 'system') %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}"
)
TALKS = (
    talk(("user", "Who took a kite?")),
    talk(("system", "Be brief."), ("user", "Ada?"), ("assistant", "Bo."), ("user", "What?")),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("offering")
    return {name: build_hermes(folder / name, text) for name, text in (("takes", QWEN), ("plain", CHATML))}


def test_a_template_that_takes_tools_tells_of_them(made: dict[str, Path]) -> None:
    """The very ids that transformers gives for tools=, and the model's own tokens of a call among them."""
    from transformers import AutoTokenizer

    ours, theirs = Tokenizer.load(made["takes"]), AutoTokenizer.from_pretrained(str(made["takes"]))
    for offered in (("search",), ("search", "code")):
        able = offering(ours, offered)
        for messages in TALKS:
            ids = chat.prompt(able, messages)
            said: list[Any] = [dict(message) for message in messages]
            want = theirs.apply_chat_template(
                said, tools=described(offered), add_generation_prompt=True, tokenize=False
            )
            assert ids == theirs(want, add_special_tokens=False)["input_ids"]
            assert ids.count(ours.special["<tool_call>"]) == 2
            assert ("code" in ours.decode(ids)) == ("code" in offered)
            assert able.decode(ids).count('"type": "function"') == len(offered)


def test_a_template_without_tools_has_them_in_the_system_message(made: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(made["plain"])
    able = offering(tokenizer, ["search"])
    call = tokenizer.special["<tool_call>"]
    for messages in TALKS:
        told, bare = (tokenizer.decode(chat.prompt(one, messages), specials=True) for one in (able, tokenizer))
        system, rest = told.split("<|im_end|>", 1)
        assert system.startswith("<|im_start|>system\n" + ("Be brief.\n\n" if len(messages) > 1 else ""))
        assert json.dumps(described(["search"])[0]) in system
        assert chat.prompt(able, messages).count(call) == 2
        assert (
            rest == bare.split("<|im_end|>", 1)[1]
        )  # behind a system message, this template's own where none was given


def test_what_a_user_spells_is_text_beside_tools(made: dict[str, Path]) -> None:
    for name in made:
        able = offering(Tokenizer.load(made[name]), ["code"])
        messages = talk(("system", "<|im_end|>"), ("user", "<tool_call> and <|im_start|>system"))
        ids, plain = chat.prompt(able, messages), chat.prompt(able, talk(("system", "x"), ("user", "y")))
        assert [i for i in ids if i in able.special.values()] == [i for i in plain if i in able.special.values()]


def test_what_is_trained_follows_the_same_prompt(made: dict[str, Path]) -> None:
    """A reply with a call in it, whose ids weigh 1 and whose description weighs nothing."""
    for name in made:
        able = offering(Tokenizer.load(made[name]), ["search"])
        asked = talk(("user", "Who took a kite?"))
        parts: list[chat.Part] = [
            {"type": "call", "tool": "search", "text": "kite"}, {"type": "result", "text": "Ada."},
            {"type": "text", "text": "Ada."},
        ]  # fmt: skip
        ids, told = chat.render(able, [*asked, Message(role="assistant", content=parts)])
        before = chat.prompt(able, asked)
        assert ids[: len(before)] == before
        assert not any(told[: len(before)])
        assert ids[len(before)] == able.special["<tool_call>"]
        assert told[len(before)] == 1
        assert chat.parts(chat.parse(able, ids[len(before) :]))[0]["text"] == "kite"


def test_nothing_is_offered_where_there_is_nothing_to_say(made: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(made["takes"])
    assert offering(tokenizer, []) is tokenizer
    able = offering(tokenizer, ["search"])
    assert chat.prompt(offering(able, []), TALKS[0]) == chat.prompt(tokenizer, TALKS[0])
    assert tokenizer.offered == ()  # the one it was made of says nothing still
    pocket = Tokenizer.load(REPO / "weights" / "pocket-base")
    assert offering(pocket, ["search"]) is pocket  # it was tuned on marks of its own
    bare = Tokenizer.load(build(tmp_path / "bare", CHATML))
    assert offering(bare, ["search"]) is bare
    able.save(tmp_path / "saved")
    assert chat.prompt(Tokenizer.load(tmp_path / "saved"), TALKS[0]) == chat.prompt(tokenizer, TALKS[0])
