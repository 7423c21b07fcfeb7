"""`lab chat` with tools: a real little model that searches and runs code."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import chat, weights
from lab.sample import Sampling
from lab.stream import Stream, Token
from lab.tools import Python, Search
from recipes.commands.chat import Conversation, Voice
from tests.callers import asks, counts
from tests.conftest import REPO
from tests.lab.test_calls import hermes  # noqa: F401
from tests.lab.test_chat import HERMES
from tests.recipes.conftest import Here, Refused
from tests.recipes.test_chat import STATUS, statuses

GREEDY = Sampling(temp=0, max_tokens=64)
IRON = "[search: Iron]\n[result: Iron is a metal. Its symbol is Fe.]\nIt is Fe.\n"


def test_calls_and_results_stand_in_brackets(here: Here, caller: Path) -> None:
    said = here(
        "chat", "--model", caller / "caller", "--temp", "0", "--search", caller / "metals.db", "--code",
        stdin=f"{asks('Iron')}\n/new\n{counts('letter')}\n/new\nHello!\n".encode(),
    )  # fmt: skip
    assert said.out == (
        IRON + "[thought: I count.]\n[code: 'letter'.count('e')]\n[result: 2]\nThere are 2.\n" + "Hello, how are you?\n"
    )
    assert "it may search metals.db, 4 passages; it may run code" in said.err
    notes = [note for *_, note in statuses(said.err)]
    assert notes[0].endswith(" of them from tools")
    assert notes[1].endswith(" of them from tools")
    assert notes[2] == ""


def test_without_tools_nothing_is_called(here: Here, caller: Path) -> None:
    said = here("chat", "--model", caller / "caller", "--temp", "0", "-m", "20", stdin=asks("Iron").encode())
    assert "[" not in said.out
    assert "(chat model);" in said.err


def test_later_turns_see_the_very_ids(caller: Path) -> None:
    model = weights.load(caller / "caller")
    with Search(caller / "metals.db") as search, Python() as code:
        talk = Conversation(model, "", GREEDY, 0, [search, code])
        talk.messages.append({"role": "user", "content": asks("Gold")})
        talk.reply()
        said = talk.messages[-1]
        assert said["content"] == [
            {"type": "call", "tool": "search", "text": "Gold"},
            {"type": "result", "text": "Gold is a metal. Its symbol is Au."},
            {"type": "text", "text": "It is Au."},
        ]
        talk.messages.append({"role": "user", "content": asks("Iron")})
        prompt = talk.ids()
        assert prompt[: len(talk.stream.held)] == talk.stream.held
        before = len(talk.stream.held)
        talk.reply()
        assert talk.stream.prefilled == len(prompt) - before
        assert chat.plain(talk.messages[-1]) == "It is Fe."


def test_wrong_uses_are_one_line(refused: Refused, caller: Path, home: Path, tmp_path: Path) -> None:
    base = REPO / "weights" / "pocket-base"
    refused(
        "chat", "--model", base, "--code", says="pocket-base is a base model: .* lab code --model pocket-base first"
    )
    refused("chat", "--model", caller / "caller", "--search", "nope.db", says="no such index; make one with lab index")
    (tmp_path / "text.db").write_text("no index")
    refused("chat", "--model", caller / "caller", "--search", "text.db", says="make one with lab index")


def test_a_model_without_tokens_for_calls_is_told(refused: Refused, chat_model: Path, caller: Path) -> None:
    refused("chat", "--model", chat_model, "--search", caller / "metals.db", says="has no tokens for search calls")
    refused("chat", "--model", chat_model, "--code", says="has no tokens for code calls")


def spoken(model: Any, ids: list[int], capsys: pytest.CaptureFixture[str]) -> str:
    """What a voice writes of these ids."""
    voice = Voice(model, chat.prompt(model.tokenizer, [{"role": "user", "content": "x"}]))
    for n, i in enumerate(ids):
        voice(Token(i, "", 0.0, 1.0, last=n == len(ids) - 1))
    voice.close()
    return capsys.readouterr().out


def test_parts_in_any_order(caller: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = weights.load(caller / "caller")
    for text, want in (
        (" It is.<|end|>", "It is."),
        ("<|think|> so <|search|> Tin<|/search|><|result|> a  b<|/result|> well<|/think|> Tin",
         "[thought: so ]\n[search: Tin]\n[result: a  b]\n[thought: well]\nTin"),
        (" Wait.<|search|> a<|end|>", "Wait.\n[search: a]\n"),
        ("<|search|> a", "[search: a]\n"),
        ("<|code|><|/code|>", "[code: ]\n"),
        ("<|think|> \n\n<|/think|> Tin", "Tin"),
        (" a<|/search|> b", "a b"),
        ("<|result|> é🙂<|/result|>", "[result: é🙂]\n"),
    ):  # fmt: skip
        assert spoken(model, model.tokenizer.encode_template(text), capsys) == want, text


def test_a_native_call_is_told_once_it_is_whole(hermes: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    class Model:
        tokenizer, chats = hermes, True

    special = hermes.special
    call = hermes.encode('\n{"name": "code", "arguments": {"code": "2 + 2"}}\n')
    ids = [
        special["<think>"], *hermes.encode("so"), special["</think>"], special[HERMES[0]], *call, special[HERMES[1]],
        special[HERMES[2]], *hermes.encode("4"), special[HERMES[3]], *hermes.encode("It is 4."), hermes.end,
    ]  # fmt: skip
    assert spoken(Model, ids, capsys) == "[thought: so]\n[code: 2 + 2]\n[result: 4]\nIt is 4."


def test_ctrl_c_in_the_midst_of_a_call_leaves_a_talk_of_use(caller: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The part that was open is closed, and the next turn goes on from the very ids."""
    model = weights.load(caller / "caller")

    class Slow:
        """A tool that is interrupted the first time."""

        name, calls = "search", 0

        def __call__(self, query: str) -> str:
            self.calls += 1
            if self.calls == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return "Gold is a metal. Its symbol is Au."

        def close(self) -> None:
            pass

    talk = Conversation(model, "", GREEDY, 0, [Slow()])
    talk.messages.append({"role": "user", "content": asks("Gold")})
    talk.reply()
    assert capsys.readouterr().out == "[search: Gold]\n [stopped]\n"
    assert talk.messages[-1]["content"] == [{"type": "call", "tool": "search", "text": "Gold"}]
    talk.messages.append({"role": "user", "content": asks("Gold")})
    talk.reply()
    assert talk.messages[-1]["role"] == "assistant"
    assert Stream(model.network, model.tokenizer, 512)  # the model is whole


@pytest.mark.slow
def test_on_a_terminal_they_are_dim(caller: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recipes", "chat", "--model", str(caller / "caller"), "--temp", "0"]
    command += ["--search", str(caller / "metals.db")]
    for colours in ({}, {"NO_COLOR": "1"}):
        env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | colours
        master, slave = os.openpty()
        process = subprocess.Popen(
            command, cwd=REPO, env=env, stdin=subprocess.PIPE, stdout=slave, stderr=subprocess.PIPE, text=True
        )
        os.close(slave)
        _, errors = process.communicate(asks("Iron") + "\n", timeout=60)
        out = os.read(master, 100_000).decode().replace("\r\n", "\n")
        os.close(master)
        assert STATUS.search(errors)
        dim = IRON.replace("[", "\x1b[2m[").replace("]", "]\x1b[22m")
        assert out == (IRON if colours else dim)
