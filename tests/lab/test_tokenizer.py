"""Tokens are ids, text is text: exact round trips, no forged specials, the same ids in the Hugging Face world."""

import json
import random
import sys
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from lab.errors import UserError
from lab.explain import explain, lengths, merge_tree
from lab.tokenizer import Tokenizer, text_from_bytes
from lab.vocabulary import SPECIALS, UNK, HuggingFace

WORDS = ["the", "cat", "sat,", "London;", "naïve", "café", "Zürich", "東京", "🙂", "it's", "3.14", "(really)", "42"]
WORDS += [a + b + c for a in ("b", "str", "Qu", "f") for b in ("a", "ee", "ou") for c in ("rn", "st", "lly", "x")]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def corpus(seed: int = 0, lines: int = 3000) -> list[str]:
    """Documents with words, runs of one character, tabs, line ends, NUL and sentencepiece's reserved characters."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(3, 30))) for _ in range(lines)]
    texts += [rng.choice(["a", " ", "=", "-", "ab", "ha", "\n"]) * rng.randrange(1, 40) for _ in range(lines // 3)]
    return [
        *texts,
        "\tindented\r\n\r\n\0 \u2581 \u2585 \ue000 <|user|> <0x41> <unk>",
        "x" * 100_000,
        "def f():\n    pass\n" * 50,
    ]


def text(rng: random.Random) -> str:
    """Anything: all planes, ASCII, runs, white space, the characters that our escape is about, look-alikes."""
    pools = [
        lambda: chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])),
        lambda: chr(rng.randrange(32, 127)),
        lambda: rng.choice("ab = -"),
        lambda: rng.choice("\u2581\ue00001 a"),
        lambda: rng.choice("\0\t\r\n \u2028\u0301\u200d\ufeff\ufffd\u2585"),
        lambda: chr(rng.randrange(0x1F300, 0x1F700)),
        lambda: rng.choice(WORDS) + " ",
    ]
    if rng.random() < 0.4:
        pool = rng.choice(pools)
        return "".join(pool() for _ in range(rng.randrange(40)))
    runs = [rng.choice(pools)() + rng.choice(pools)() * rng.randrange(2) for _ in range(rng.randrange(6))]
    return "".join(run * rng.randrange(1, 20) for run in runs)


def look_alike(rng: random.Random, names: list[str]) -> str:
    """Text that spells special tokens, whole, torn, doubled or hidden between other characters."""
    parts = []
    for _ in range(rng.randrange(1, 6)):
        name = rng.choice(names)
        cut = rng.randrange(len(name))
        filler = rng.choice([" ", "", "\n", "a", "\u2581", "\u200b"])
        parts.append(rng.choice([name, name[:cut], name[cut:], name[:cut] + filler + name[cut:], text(rng), name * 2]))
    return rng.choice(["", " ", "\n"]).join(parts)


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer.train(corpus(), 600)


def byte_level(folder: Path, **config: object) -> Path:
    """A small GPT-2-like tokenizer with chat markers, as a model folder."""
    hf = tokenizers.Tokenizer(models.BPE())
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    hf.train_from_iterator([*corpus()[:2000], "<|im_start|>user <|im_end|> <think>" * 50], trainer)
    hf.add_tokens([AddedToken("<think>", normalized=False), AddedToken("      ", normalized=False)])
    hf.enable_truncation(5)  # some files carry this; it must not cut our texts
    folder.mkdir(parents=True, exist_ok=True)
    hf.save(str(folder / "tokenizer.json"))
    config = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "chat_template": TEMPLATE, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0], "bos_token_id": 0}))
    return folder


def llama_like(folder: Path) -> Path:
    """Our pieces in the way Llama 2 writes them: a space put in front, the first one stripped again, <s> and </s>."""
    ours = Tokenizer.train(corpus(), 450)
    spec = json.loads(ours.core.files()["tokenizer.json"])
    hf = tokenizers.Tokenizer.from_str(json.dumps(spec | {"added_tokens": []}))
    hf.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    back = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    hf.decoder = decoders.Sequence(back)
    hf.add_special_tokens(["<s>", "</s>"])
    folder.mkdir(parents=True, exist_ok=True)
    hf.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(
        json.dumps({"bos_token_id": hf.token_to_id("<s>"), "eos_token_id": hf.token_to_id("</s>")})
    )
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(byte_level(tmp_path_factory.mktemp("hf") / "small"))


@pytest.fixture(params=["ours", "theirs"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def test_layout(ours: Tokenizer) -> None:
    assert ours.vocab_size == 600
    assert [ours.special[name] for name in SPECIALS] == list(range(570, 600))
    assert (ours.special[UNK], ours.end, ours.ends) == (0, ours.special["<|end|>"], {ours.special["<|end|>"]})
    assert ours.pad not in ours.ends
    assert [ours.token_bytes(1 + b) for b in range(256)] == [bytes([b]) for b in range(256)]


def test_every_text_comes_back(either: Tokenizer) -> None:
    rng = random.Random(1)
    texts = [text(rng) for _ in range(4000)] + corpus()[-3:] + ["", "\u2581", "\ue000", "\ue0001", "\ue000\u2581" * 9]
    for original, ids in zip(texts, either.encode_batch(texts), strict=True):
        assert either.decode(ids) == original
        assert ids == either.encode(original)


def test_space_comes_back_though_never_trained_on() -> None:
    bare = Tokenizer.train(["abcabcabd" * 20], 300)
    assert bare.decode(bare.encode(" a b\u2581 ")) == " a b\u2581 "


@pytest.mark.parametrize(
    ("size", "texts"), [(600, corpus()), (380, ["aaa aaaa  ab abab ababab" * 9, *corpus()[3000:4000]])]
)
def test_same_ids_in_tokenizers(tmp_path: Path, size: int, texts: list[str]) -> None:
    ours = Tokenizer.train(texts, size)
    ours.save(tmp_path)
    hf = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng = random.Random(size)
    fuzz = [text(rng) for _ in range(10_000)] + corpus()[-3:-2]
    fuzz = [t for t in fuzz if not any(name in t for name in ours.special)]
    for original, mine, other in zip(fuzz, ours.encode_batch(fuzz), hf.encode_batch(fuzz), strict=True):
        assert mine == other.ids, original
        assert hf.decode(other.ids) == original
    chat = "<|bos|><|user|>a \u2581 b<|end|><|think|>"
    assert ours.encode_template(chat) == hf.encode(chat).ids
    assert hf.get_vocab_size() == ours.vocab_size


@pytest.mark.slow
def test_same_ids_in_transformers(ours: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours.save(tmp_path)
    hf = AutoTokenizer.from_pretrained(tmp_path)
    rng = random.Random(2)
    for original in (text(rng) for _ in range(1000)):
        assert hf.encode(original) == ours.encode(original)
        assert hf.decode(hf.encode(original)) == original
    assert (hf.bos_token_id, hf.eos_token_id, hf.pad_token_id) == (ours.bos, ours.end, ours.pad)
    assert len(hf) == ours.vocab_size


def test_text_never_yields_a_special(either: Tokenizer) -> None:
    rng = random.Random(3)
    forbidden = set(either.special.values())
    texts = [look_alike(rng, list(either.special)) for _ in range(10_000)]
    for original, ids in zip(texts, either.encode_batch(texts), strict=True):
        assert forbidden.isdisjoint(ids), original
        assert either.decode(ids) == original


def test_templates_do_yield_specials(either: Tokenizer) -> None:
    for name, token in either.special.items():
        ids = either.encode_template(f"a{name}b")
        assert ids == [*either.encode("a"), token, *either.encode("b")]
        assert either.decode(ids, specials=True) == f"a{name}b"
        assert either.decode(ids) == ("ab" if token in either.core.hidden else f"a{name}b")
        assert either.piece(token) == name


def test_training_is_deterministic(ours: Tokenizer) -> None:
    again = Tokenizer.train((t for t in corpus()), 600)
    assert again.core.files() == ours.core.files()
    assert again.fingerprint == ours.fingerprint != Tokenizer.train(corpus(1), 600).fingerprint


def test_saved_and_loaded(ours: Tokenizer, tmp_path: Path) -> None:
    ours.save(tmp_path / "new")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    (tmp_path / "new/chat_template.jinja").write_text("{{ messages }}")
    again = Tokenizer.load(tmp_path / "new")
    assert (again.fingerprint, again.special, again.name) == (ours.fingerprint, ours.special, "new")
    assert again.chat_template == "{{ messages }}"


def test_hugging_face_folder(theirs: Tokenizer, tmp_path: Path) -> None:
    assert (theirs.end, theirs.ends, theirs.bos, theirs.pad) == (2, {0, 2}, 0, 0)
    assert not theirs.adds_bos
    assert theirs.chat_template == TEMPLATE
    assert set(theirs.special) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"}
    assert "      " in [theirs.piece(i) for i in theirs.encode("      ")]
    theirs.save(tmp_path / "copy")
    again = Tokenizer.load(tmp_path / "copy")
    assert (again.fingerprint, again.chat_template) == (theirs.fingerprint, TEMPLATE)


def test_same_as_tokenizers_on_plain_text(theirs: Tokenizer) -> None:
    assert isinstance(theirs.core, HuggingFace)
    rng, full = random.Random(4), theirs.core.full
    for original in (text(rng) for _ in range(2000)):
        assert theirs.encode(original) == full.encode(original).ids
    for _ in range(1000):
        ids = [rng.randrange(theirs.vocab_size) for _ in range(10)]
        assert theirs.decode(ids) == full.decode(ids)


def test_llama_like(tmp_path: Path) -> None:
    llama, rng = Tokenizer.load(llama_like(tmp_path)), random.Random(5)
    for original in (text(rng).replace("\u2581", "_") for _ in range(2000)):
        assert llama.decode(llama.encode(original)) == original
        assert set(llama.special.values()).isdisjoint(llama.encode(original))
    assert llama.token_bytes(llama.encode("\t")[-1]) == b"\t"
    assert (llama.bos, llama.end) == (llama.special["<s>"], llama.special["</s>"])


def test_stream_is_decode(either: Tokenizer) -> None:
    rng = random.Random(6)
    escapes = [i for c in ["\ue000", "▁", "0", "1", "🙂"] for i in either.encode(c)]
    for n in range(3000):
        ids = [
            rng.choice([rng.randrange(either.vocab_size + 3), rng.choice(escapes)]) for _ in range(rng.randrange(20))
        ]
        ids = either.encode(text(rng)) if n % 3 == 0 else ids
        stream = either.stream(specials=n % 2 == 0)
        told = ""
        for token in ids:
            told += stream.push(token)
            assert either.decode(ids, specials=n % 2 == 0).startswith(told)
        assert told + stream.flush() == either.decode(ids, specials=n % 2 == 0)


def test_merge_trees(either: Tokenizer) -> None:
    for token in range(either.vocab_size):
        tree = merge_tree(either, token)
        assert b"".join(tree.leaves()) == tree.spelling == either.token_bytes(token)
        assert len(tree.parts) in (0, 2)
        assert (tree.rank is None) == (not tree.parts)


def test_explain(either: Tokenizer) -> None:
    sentence = "naïve 東京 🙂\u2581\ue000 cat\n"
    tokens = explain(either, sentence)
    assert [t.id for t in tokens] == either.encode(sentence)
    assert {i for t in tokens for i in range(t.start, t.end)} == set(range(len(sentence)))
    ascii_only = "the cat sat,  London;\n42"
    assert [ascii_only[t.start : t.end] for t in explain(either, ascii_only)] == [
        t.piece for t in explain(either, ascii_only)
    ]
    n = lengths(either, sentence)
    assert (n.characters, n.bytes, n.tokens) == (len(sentence), len(sentence.encode()), len(tokens))
    assert n.bits == pytest.approx(sum(t.bits for t in tokens))


def test_vocabulary_too_large_names_the_largest() -> None:
    with pytest.raises(UserError, match=r"this text gives (\d+) at most") as caught:
        Tokenizer.train(["one two three"], 5000)
    largest = int(str(caught.value).split(" at most")[0].split()[-1])
    assert Tokenizer.train(["one two three"], largest).vocab_size == largest
    with pytest.raises(UserError, match="at most"):
        Tokenizer.train(["one two three"], largest + 1)


def test_training_errors() -> None:
    for texts in ([], [""], ["\n\n", " "]):
        with pytest.raises(UserError, match="no text"):
            Tokenizer.train(texts, 400)
    with pytest.raises(UserError, match="take 287"):
        Tokenizer.train(["abc"], 200)


def test_bad_text(either: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"book\.txt: byte 3 \(0xe9\)"):
        text_from_bytes(b"caf\xe9", "book.txt")
    for call in (either.encode, either.encode_template):
        with pytest.raises(UserError, match=r"character 2 \(U\+D83D\)"):
            call("ab\ud83dc")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "line 1: broken JSON"),
        ("tokenizer.json", "[]", "no JSON object"),
        ("tokenizer.json", "{}", "no tokenizer.json as we know it"),
        ("tokenizer.json", '{"model": {"type": "WordPiece", "vocab": {}}}', "type WordPiece are not supported"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}', "decoders .* not supported"),
        ("tokenizer_config.json", "{\n\n'", "tokenizer_config.json: line 3: broken JSON"),
        ("tokenizer.json", b"\xff", "byte 0"),
        ("config.json", '{"eos_token_id": 100000}', "token id 100000"),
    ],
)
def test_broken_folders(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    byte_level(tmp_path)
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_and_foreign_files(tmp_path: Path, ours: Tokenizer) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Tokenizer.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="neither"):
        Tokenizer.load(tmp_path)
    for broken in (b"", b"junk", ours.core.data[:5000]):
        (tmp_path / "tokenizer.model").write_bytes(broken)
        with pytest.raises(UserError, match="broken, or not trained by the lab"):
            Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="cannot save"):
        ours.save(tmp_path / "tokenizer.model")


def test_no_end_token(tmp_path: Path) -> None:
    byte_level(tmp_path, eos_token=None)
    (tmp_path / "generation_config.json").unlink()
    folder = Tokenizer.load(tmp_path)
    assert folder.ends == frozenset()
    with pytest.raises(UserError, match="no end token"):
        _ = folder.end


def test_null_names_no_token(tmp_path: Path) -> None:
    """A vocabulary may well hold the word None."""
    byte_level(tmp_path, bos_token=None, eos_token={"content": None}, pad_token=None)
    (tmp_path / "generation_config.json").unlink()
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["model"]["vocab"]["None"] = 1 + max(Tokenizer.load(tmp_path).core.ids.values())
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = Tokenizer.load(tmp_path)
    assert "None" in tokenizer.core.ids
    assert (tokenizer.bos, tokenizer.pad, tokenizer.ends) == (None, None, frozenset())


def test_no_heavy_import() -> None:
    import subprocess

    code = "import sys, lab.tokenizer, lab.explain; sys.exit(any(m in sys.modules for m in ('mlx', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
