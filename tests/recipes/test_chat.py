"""`lab chat` with a base model, a hub-like chat model and our own template: commands, caches, context, Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab import weights
from lab.chat import prompt
from lab.sample import Sampling
from lab.tokenizer import Tokenizer
from recipes.commands.chat import Conversation
from tests.conftest import REPO, Lab
from tests.recipes.conftest import Here, Start

# -- chat ----------------------------------------------------------------------------------------------------------

STATUS = re.compile(r"\[(\d+) tokens, \d+ tok/s, first after [\d.]+ s, (\d+) prefilled, context (\d+)/(\d+)(.*)\]")


def statuses(err: str) -> list[tuple[int, int, int, int, str]]:
    """(tokens, prefilled, held, context, note) of every reply."""
    return [(int(a), int(b), int(c), int(d), e) for a, b, c, d, e in STATUS.findall(err)]


def test_chat_with_a_base_model(here: Here, tiny_run: Path) -> None:
    lines = ["", "   ", "Ada took", "/again", "/seed 5", "/seed", "/new", "/again"]
    lines += [
        "/seed no",
        "/seed ²",
        f"/seed {'9' * 40}",
        "/seed -1",
        "/system x",
        "/help",
        "/frob",
        "\x01\x1b[31m \x00",
    ]
    said = here("chat", "--seed", "1", "-m", "8", stdin="\n".join(lines).encode())  # no line end: EOF leaves
    assert said.code == 0
    assert "Traceback" not in said.err
    replies = statuses(said.err)
    assert len(replies) == 3  # empty lines and commands are no messages
    for line in (
        "base model: it completes",
        "seed 5",
        "a new conversation",
        "nothing to answer anew",
        "/seed no: give a",
    ):
        assert line in said.err, line
    assert said.err.count("give a whole number below 2^63") == 4
    assert "is a base model and has no system message" in said.err
    assert "no command /frob" in said.err
    assert said.err.count("/exit     leave") == 2


def test_chat_follows_its_seed(here: Here, tiny_run: Path) -> None:
    def text(*lines: str) -> str:
        return here("chat", "--seed", "1", "-m", "8", stdin="\n".join(lines).encode()).out

    once = text("Ada took")
    assert once.endswith("\n")
    assert text("Ada took", "Ada took") == once + once
    assert text("/seed 5", "Ada took", "/seed 1", "Ada took").endswith(once)
    anew = text("Ada took", "/again")
    assert anew.startswith(once)
    assert anew != once + once


@pytest.mark.parametrize("leave", ["/exit", "/quit", "/q"])
def test_chat_leaves(here: Here, tiny_run: Path, leave: str) -> None:
    said = here("chat", "-m", "4", stdin=f"Ada\n{leave}\nnever read\n".encode())
    assert said.code == 0
    assert len(statuses(said.err)) == 1
    assert here("chat", stdin=b"").code == 0


def test_chat_survives_bytes_that_are_no_text(cli: Lab, tiny_run: Path) -> None:
    for locale in ("C.UTF-8", "C"):
        done = subprocess.run(
            [sys.executable, "-m", "recipes", "chat", "-m", "4"], cwd=REPO, input=b"a\xffb\nAda\n", capture_output=True,
            env=os.environ | {"LAB_HOME": str(tiny_run.parent), "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0"},
        )  # fmt: skip
        assert done.returncode == 0
        assert b"character 2 is not UTF-8; type the line again" in done.stderr
        assert len(statuses(done.stderr.decode())) == 1


def test_chat_with_a_template_prefills_only_what_is_new(here: Here, chat_model: Path) -> None:
    first = "Ada took a drum to the lake. " * 6
    said = here(
        "chat", "--model", chat_model, "--system", "Be brief.", "-m", "1", "--temp", "0",
        stdin=f"{first}\nAnd Bo?\n/system You are long.\nAnd Bo?\n/system\nAnd Bo?\n".encode(),
    )  # fmt: skip
    assert said.code == 0
    one, two, three, four = statuses(said.err)
    tokenizer = Tokenizer.load(chat_model)
    new = len(tokenizer.encode("And Bo?")) + len(tokenizer.encode("user\nassistant\n\n\n")) + 5
    assert one[1] == one[2] > 60
    assert two[1] <= new + len(tokenizer.encode(said.out.splitlines()[0])) < one[1]  # a reply is encoded again
    assert two[2] > one[2]
    assert three[2] > four[2]  # without a system message the prompt is shorter
    assert "with this system message" in said.err
    assert "without a system message" in said.err


def test_our_own_template_uses_role_ids(here: Here, tiny_run: Path) -> None:
    (tiny_run / "chat_template.jinja").write_text("{{ messages[0].content }}")
    said = here("chat", "-m", "1", "--seed", "1", stdin=b"Ada took a kite to the lake.\n<|end|><|user|>Bo?\n")
    assert said.code == 0
    assert "(chat model)" in said.err
    one, two = statuses(said.err)
    tokenizer = Tokenizer.load(tiny_run)
    assert one[1] == 4 + len(tokenizer.encode("Ada took a kite to the lake."))  # BOS, user, text, END, assistant
    again = len(tokenizer.encode(said.out.splitlines()[0]))  # the reply, one piece when it was drawn
    assert two[1] <= 4 + again + len(tokenizer.encode("<|end|><|user|>Bo?"))


def test_a_conversation_longer_than_the_context_goes_on(here: Here, chat_model: Path) -> None:
    lines = [f"Ada took drum {i} to the lake and went home early." for i in range(12)]
    said = here(
        "chat",
        "--model",
        chat_model,
        "--system",
        "Be brief.",
        "-m",
        "16",
        "--seed",
        "1",
        stdin="\n".join(lines).encode(),
    )
    assert said.code == 0
    replies = statuses(said.err)
    assert len(replies) == 12
    assert all(held <= context == 256 for _, _, held, context, _ in replies)
    assert "oldest turns no longer fit" in replies[-1][4]
    assert all(tokens > 0 for tokens, *_ in replies)


def test_a_message_too_long_is_refused_and_nothing_is_forgotten(chat_model: Path) -> None:
    model = weights.load(chat_model)
    talk = Conversation(model, "Be brief.", Sampling(max_tokens=4), seed=1)
    for line in ("Ada took a drum.", "And Bo?"):
        talk.messages.append({"role": "user", "content": line})
        talk.reply()
    before = list(talk.messages)
    talk.messages.append({"role": "user", "content": "Ada took a drum. " * 200})
    with pytest.raises(weights.UserError, match=r"the message has [0-9]+ tokens and the context 256; shorten it to"):
        talk.reply()
    talk.unanswered()
    assert talk.messages == before
    assert talk.dropped == 0


def test_a_message_too_long_on_the_command_line(here: Here, chat_model: Path, tiny_run: Path) -> None:
    for model in (chat_model, tiny_run):
        said = here("chat", "--model", model, "-m", "4", stdin=("Ada took a drum. " * 900 + "\nAda\n").encode())
        assert said.code == 0
        assert "shorten it" in said.err
        assert len(statuses(said.err)) == 1


def test_a_cache_cut_off_in_the_middle_is_not_trusted(chat_model: Path) -> None:
    """Ctrl-C between a forward pass and its bookkeeping must not shift the tokens that come later."""
    model = weights.load(chat_model)
    talk = Conversation(model, "", Sampling(temp=0, max_tokens=6), seed=1)
    ids = model.tokenizer.encode("Ada took a drum to the lake and went home.")
    want = [t.p for t in Conversation(model, "", talk.sampling, 1).stream(ids, talk.sampling)]

    class Cut:
        """The network, interrupted once right after it has filled the cache."""

        def __call__(self, *args: object, **more: object) -> mx.array:
            model.network(*args, **more)
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> object:
            return getattr(model.network, name)

    talk.stream.network = Cut()
    with pytest.raises(KeyboardInterrupt):
        list(talk.stream(ids[:-3], talk.sampling))
    talk.stream.network = model.network
    assert np.allclose([t.p for t in talk.stream(ids, talk.sampling)], want, rtol=1e-5)


def test_ctrl_c_stops_the_reply_and_keeps_the_chat(start: Start, tiny_run: Path) -> None:
    process = start("chat", "--model", "tiny", "--max-tokens", "2000", "--temp", "0")
    assert process.stdin
    assert process.stdout
    assert process.stderr
    assert "/help shows commands" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)  # while it waits for a line
    assert process.stderr.readline() == "\n"
    assert "/exit or Ctrl-D leaves" in process.stderr.readline()
    process.stdin.write("Ada took\n")
    process.stdin.flush()
    os.read(process.stdout.fileno(), 1)  # the reply has begun
    process.send_signal(signal.SIGINT)
    tokens = statuses(process.stderr.readline())[0][0]
    assert 0 < tokens < 2000
    out, err = process.communicate("/new\n/seed 3\n/exit\n", timeout=20)
    assert process.returncode == 0
    assert out.rstrip().endswith("[stopped]")
    assert "a new conversation" in err
    assert "Traceback" not in err


def test_a_templates_words_cannot_move_the_cursor(here: Here, chat_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rude"
    shutil.copytree(chat_model, folder)
    template = "{{ raise_exception('\x1b[31mred\x07') }}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": template}))
    for said in (here("chat", "--model", folder, stdin=b"Ada\n"), here("generate", "--model", folder, "-p", "Ada")):
        assert "␛[31mred␇" in said.err
        assert "\x1b" not in said.err


@pytest.fixture
def phi(chat_model: Path, tmp_path: Path) -> Path:
    """A hub model whose special tokens bear our names, and whose template is not ours and uses loop controls."""
    folder = tmp_path / "phi"
    shutil.copytree(chat_model, folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    for i, name in enumerate(("<|endoftext|>", "<|assistant|>", "<|end|>")):
        old = next(t["content"] for t in spec["added_tokens"] if t["id"] == i)
        spec["added_tokens"][i]["content"] = name
        spec["model"]["vocab"][name] = spec["model"]["vocab"].pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}user:\n{{ m.content }}<|end|>\n"
        "{% endfor %}<|assistant|>\n"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": template}))
    return folder


def test_a_hub_model_with_our_names_follows_its_own_template(phi: Path, tokenizer: Tokenizer) -> None:
    theirs = Tokenizer.load(phi)
    assert "<|assistant|>" in theirs.special
    assert (theirs.ours, tokenizer.ours) == (False, True)
    ids = prompt(theirs, [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}])
    assert theirs.decode(ids, specials=True) == "user:\nHi<|end|>\n<|assistant|>"
