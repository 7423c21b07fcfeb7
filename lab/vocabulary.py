"""The two kinds of vocabulary behind `lab.tokenizer.Tokenizer`: our sentencepiece BPE, and any tokenizer.json.

Both offer: `special` (name -> id), `hidden` (ids that show nothing in text), `table` (id -> bytes), `encode` (texts, no
special can come out), `encode_template` (specials on), `data` (what decides ids), `files` (what to save), and for
explaining `spans`, `symbol`, `to_bytes` and `merges` ((left, right) -> rank).
"""

import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from lab.errors import UserError

UNK = "<|unk|>"  # id 0 of our sentencepiece models; byte fallback leaves it without a use
SPECIALS = (
    *(f"<|{name}|>" for name in ("bos", "end", "pad", "system", "user", "assistant")),
    *(f"<|{slash}{name}|>" for name in ("think", "search", "code", "result") for slash in ("", "/")),
    *(f"<|spare_{i}|>" for i in range(16)),
)
# Specials that hub vocabularies keep for later use, and some that a chat has no use for: those of SmolLM's code files and
# of Qwen's pictures. In this order.
SPARE = re.compile(
    r"[<>\[|]+(reserved|unused|spare|placeholder|dummy|extra(_id)?|SPECIAL|control|pad)[\w▁-]*_?\d+[|\]><]+", re.I
)
UNUSED = (
    "<jupyter_code>", "<jupyter_output>", "<jupyter_start>", "<jupyter_text>", "<jupyter_script>", "<empty_output>",
    "<issue_start>", "<issue_closed>", "<issue_comment>", "<gh_stars>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>",
    "<|quad_start|>", "<|quad_end|>", "<|box_start|>", "<|box_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
FIRST_LEARNED = 1 + 256  # below: UNK and the bytes <0x00>..<0xFF>

# sentencepiece writes a space as U+2581, so a real U+2581 would come back as a space. We write it as U+E000 "1", and
# U+E000 as U+E000 "0".
ESCAPE, SPACE = "\ue000", "\u2581"
COVERAGE = 0.9995  # share of the characters of a corpus that get a piece; the rest are written in bytes
LINE = 2000  # characters; longer lines are cut for training, which keeps sentencepiece's tables small
UNLEARNED = {" ", ESCAPE, SPACE, "\u2585"}  # the space is always in; U+2585 is sentencepiece's own mark


def escape(text: str) -> str:
    """Write U+2581 and U+E000 so that sentencepiece keeps them."""
    return text.replace(ESCAPE, ESCAPE + "0").replace(SPACE, ESCAPE + "1")


def unescape(text: str) -> str:
    """Undo `escape`; a U+E000 that escapes nothing (only a model can write one) stays as it is."""
    return re.sub(ESCAPE + "([01])", lambda m: SPACE if m[1] == "1" else ESCAPE, text) if ESCAPE in text else text


def text_from_bytes(data: bytes, source: str | Path) -> str:
    """Decode UTF-8 strictly; UserError names the source and the offset of the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        where = f"{source}: byte {e.start} (0x{data[e.start]:02x}) is not valid UTF-8"
        raise UserError(f"{where}; mend: convert the file, for example with iconv -f LATIN1 -t UTF-8") from None


def _processor(model: bytes) -> Any:
    """A loaded sentencepiece processor; None when the bytes are no model."""
    from sentencepiece import SentencePieceProcessor

    sp = SentencePieceProcessor()
    try:
        sp.LoadFromSerializedProto(model)
    except RuntimeError:
        return None
    return sp


def is_ours(model: bytes) -> bool:
    """Whether these bytes are a sentencepiece model of the lab: UNK by our name, and no BOS inside."""
    sp = _processor(model)
    return sp is not None and sp.vocab_size() > FIRST_LEARNED and sp.id_to_piece(0) == UNK and sp.bos_id() < 0


def train_model(texts: Sequence[str], pieces: int) -> bytes | int:
    """A sentencepiece model of that many pieces, byte for byte the same each time.

    Where the texts do not hold so many, the number they do hold. We choose the alphabet (the commonest characters, at
    most half of what is to learn) and hand over only runs of it: sentencepiece drops lines that hold characters it has
    reserved, and could learn pieces across line ends.
    """
    from sentencepiece import SentencePieceTrainer

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    usable = [(n, c) for c, n in counts.items() if c not in UNLEARNED and unicodedata.category(c) not in ("Cc", "Cs")]
    if not usable:
        raise UserError("no text to train a vocabulary on; mend: give a file with text in it")
    usable.sort(key=lambda item: (-item[0], item[1]))
    alphabet, seen, wanted = [" "], 0, COVERAGE * sum(n for n, _ in usable)
    for n, char in usable[: (pieces - FIRST_LEARNED) // 2]:
        if seen < wanted:
            alphabet.append(char)
            seen += n
    run = re.compile("[" + "".join(map(re.escape, alphabet)) + f"]{{1,{LINE}}}")
    lines = (line for text in texts for line in run.findall(text))
    out = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            # Without a piece for the space its U+2581 would be spelt in bytes, and a space not come back as one.
            sentence_iterator=chain([" "], lines),
            model_writer=out,
            vocab_size=pieces,
            model_type="bpe",
            unk_piece=UNK,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            # Lossless, and the same in tokenizer.json, with these and only these.
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            character_coverage=1.0,
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as e:
        if most := re.search(r"value <= (\d+)", str(e)):
            return int(most[1])
        raise
    return out.getvalue()


class Ours:
    """A sentencepiece BPE model and the special ids above it. Raises UserError when `model` is not one of ours."""

    escapes, strip_first = True, False
    hidden: frozenset[int]

    def __init__(self, model: bytes, source: str) -> None:
        if not is_ours(model):
            raise UserError(f"{source}: broken, or not trained by the lab; mend: put a tokenizer.json beside it")
        self.sp, self.data = _processor(model), model
        base = self.sp.vocab_size()
        self.pieces: list[str] = self.sp.id_to_piece(list(range(base)))
        self.special = {UNK: 0} | {name: base + i for i, name in enumerate(SPECIALS)}
        self.hidden = frozenset(self.special.values())
        learned = [self.to_bytes(piece) for piece in self.pieces[FIRST_LEARNED:]]
        self.table = [UNK.encode(), *(bytes([b]) for b in range(256)), *learned, *(s.encode() for s in SPECIALS)]

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text. One thread: sentencepiece's own pool gains nothing on short documents."""
        if len(texts) == 1:  # sparing the pool: five times faster
            return [self.sp.encode(escape(texts[0]))]
        return self.sp.encode([escape(text) for text in texts], num_threads=1)

    def encode_template(self, text: str) -> list[int]:
        """Ids of text in which the spelling of a special token means that token."""
        parts = re.split("(" + "|".join(map(re.escape, self.special)) + ")", text)
        plain = self.encode(parts[::2])
        return plain[0] + [
            i for name, ids in zip(parts[1::2], plain[1:], strict=True) for i in (self.special[name], *ids)
        ]

    def opens_with(self, token: int) -> bool:
        """Whether a text is meant to open with this token (BOS)."""
        return True

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token the characters of `text` it lies in, [start, end)."""
        owner = [i for i, char in enumerate(text) for _ in escape(char).encode()]
        spans, at = [], 0
        for token in self.encode([text])[0]:
            spans.append((owner[at], owner[at + len(self.table[token]) - 1] + 1))
            at += len(self.table[token])
        return spans

    def symbol(self, token: int) -> str | None:
        """The piece as merges know it; None for a byte or a special token."""
        return self.pieces[token] if FIRST_LEARNED <= token < len(self.pieces) else None

    def to_bytes(self, symbol: str) -> bytes:
        return symbol.replace(SPACE, " ").encode()

    @cached_property
    def merges(self) -> dict[tuple[str, str], int]:
        """Every pair that joins into a piece, with the piece's rank, in the order in which Hugging Face must try them.

        sentencepiece joins whichever neighbours make the piece of lowest rank, leftmost first; Hugging Face ranks each
        pair. So every split of a piece is listed. Their order would matter only where two overlap (x+y = y+z = piece in
        a text "x y z"); trying all strings of two letters, up to 14 long, on 25 vocabularies made of runs found none.
        """
        known = set(self.pieces[FIRST_LEARNED:])
        merges = {}
        for rank, piece in enumerate(self.pieces[FIRST_LEARNED:]):
            for k in range(len(piece) - 1, 0, -1):  # a run is joined from the left: the longer half is there
                if piece[:k] in known and piece[k:] in known:
                    merges[piece[:k], piece[k:]] = rank
        return merges

    def files(self) -> dict[str, bytes]:
        """What a model folder needs: our model, and the same for the Hugging Face world."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

        vocab = {piece: i for i, piece in enumerate(self.pieces)}
        hf = Tokenizer(models.BPE(vocab=vocab, merges=list(self.merges), unk_token=UNK, byte_fallback=True))
        swaps = ((ESCAPE, ESCAPE + "0"), (SPACE, ESCAPE + "1"), (" ", SPACE))
        hf.normalizer = normalizers.Sequence([normalizers.Replace(a, b) for a, b in swaps])
        back = [decoders.Replace(b, a) for a, b in reversed(swaps)]
        hf.decoder = decoders.Sequence([back[0], decoders.ByteFallback(), decoders.Fuse(), *back[1:]])
        hf.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIALS])
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>", "unk_token": UNK},
            **{"add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False},
        }
        return {
            "tokenizer.model": self.data,
            "tokenizer.json": hf.to_str(pretty=True).encode(),
            "tokenizer_config.json": (json.dumps(config, indent=2) + "\n").encode(),
        }


def _byte_of() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the other 68 for the characters from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def unused(core: "Ours | HuggingFace", taken: set[int]) -> list[str]:
    """Names of special tokens that nothing uses, the likeliest spares first; none of `taken`."""
    spare = sorted((i, name) for name, i in core.special.items() if SPARE.fullmatch(name))
    names = [*(name for _, name in spare), *(name for name in UNUSED if name in core.special)]
    return [name for name in names if core.special[name] not in taken]


BYTE_OF = _byte_of()
BYTE_NAME = re.compile("<0x([0-9A-F]{2})>")


def parse_json(data: bytes, source: str) -> dict[str, Any]:
    """A JSON object from the bytes of a file; UserError names the file and the line."""
    try:
        value = json.loads(text_from_bytes(data, source))
    except json.JSONDecodeError as e:
        raise UserError(f"{source}: line {e.lineno}: broken JSON ({e.msg}); mend: copy the file again") from None
    if not isinstance(value, dict):
        raise UserError(f"{source}: holds no JSON object; mend: copy the file again")
    return value


def _from_json(spec: str, source: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(spec)
    except Exception as e:  # the Rust library raises bare Exception
        raise UserError(
            f"{source}: not a usable tokenizer ({str(e).splitlines()[0]}); mend: copy the file again"
        ) from None


def _blank(content: str) -> bool:
    return content.replace(SPACE, " ").isspace()


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


class HuggingFace:
    """A tokenizer.json of type BPE. Raises UserError when it is broken or of another type.

    Added tokens, "<think>" as well as "<|im_end|>", are taken out of the copy that encodes plain text: all are
    `special`, those the file calls special are hidden. Added white space stays: Gemma and Phi indent with it.
    """

    escapes = False

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self._source = data, source
        try:
            self._read(parse_json(data, source))
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise UserError(f"{source}: no tokenizer.json as we know it ({e!r}); mend: copy the file again") from None

    def _read(self, spec: dict[str, Any]) -> None:
        model, added = spec["model"], spec.get("added_tokens") or []
        kind = model.get("type", "BPE" if "merges" in model else None)
        if kind != "BPE" or model.get("end_of_word_suffix") or model.get("continuing_subword_prefix"):
            raise UserError(
                f"{self._source}: tokenizers of type {kind} are not supported; mend: take a model with a BPE one"
            )
        self._decoder(list(_nodes(spec.get("decoder"))))
        kept = [t for t in added if len(t["content"]) == 1 or (not t["special"] and _blank(t["content"]))]
        self.special: dict[str, int] = {t["content"]: t["id"] for t in added if t not in kept}
        self.special_ids = frozenset(self.special.values())
        self.hidden = frozenset(t["id"] for t in added if t["special"] and t not in kept)
        # Those that swallow the white space before or after them in a template.
        self.strips = {t["content"]: (bool(t.get("lstrip")), bool(t.get("rstrip"))) for t in added if t not in kept}
        # A vocabulary without all 256 bytes needs its unknown token; no merge may lead there.
        gone = self.special.keys() - (set() if model.get("ignore_merges") else {model.get("unk_token")})
        vocab = {s: i for s, i in model["vocab"].items() if s not in gone} | {t["content"]: t["id"] for t in kept}
        pairs = [(a, b) for a, b in (m.split(" ") if isinstance(m, str) else m for m in model["merges"])]
        self.merges = {p: i for i, p in enumerate(pairs) if self.special.keys().isdisjoint((*p, "".join(p)))}
        # A file saved with truncation or padding would cut or lengthen our texts.
        spec |= {"truncation": None, "padding": None, "post_processor": None, "added_tokens": kept}
        spec["model"] |= {"vocab": vocab, "merges": list(self.merges)}
        self._plain = _from_json(json.dumps(spec), self._source)
        self.ids: dict[str, int] = vocab | self.special
        self.table = [b""] * (1 + max(self.ids.values()))
        whole = self.special.keys() | {t["content"] for t in kept}  # not in the alphabet of the pieces
        for symbol, i in self.ids.items():
            self.table[i] = symbol.replace(SPACE, " ").encode() if symbol in whole else self.to_bytes(symbol)
        self._symbols = {i: s for s, i in self.ids.items() if s not in whole and not BYTE_NAME.fullmatch(s)}

    def _decoder(self, nodes: list[dict[str, Any]]) -> None:
        """How pieces become text: `byte_level`, or with U+2581 for a space, of which the first may be stripped."""
        kinds = {node.get("type") for node in nodes}
        self.byte_level = "ByteLevel" in kinds
        if not self.byte_level and "Metaspace" not in kinds and all(node.get("content") != " " for node in nodes):
            raise UserError(
                f"{self._source}: decoders {sorted(map(str, kinds))} are not supported; mend: take another model"
            )
        self.strip_first = any(
            node.get("start") if node.get("type") == "Strip" else node.get("prepend_scheme", "never") != "never"
            for node in nodes
        )

    @cached_property
    def full(self) -> Any:
        """The tokenizer with its specials, built when first needed: a large one takes half a second."""
        full = _from_json(self.data.decode(), self._source)
        full.no_truncation()
        full.no_padding()
        return full

    def encode(self, texts: list[str]) -> list[list[int]]:
        if len(texts) == 1:
            return [self._plain.encode(texts[0], add_special_tokens=False).ids]
        return [e.ids for e in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_template(self, text: str) -> list[int]:
        """Ids of text in which the spelling of an added token means that token."""
        return self.full.encode(text, add_special_tokens=False).ids

    def opens_with(self, token: int) -> bool:
        return self.full.encode("a").ids[:1] == [token]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return self._plain.encode(text, add_special_tokens=False).offsets

    def symbol(self, token: int) -> str | None:
        return self._symbols.get(token)

    def to_bytes(self, symbol: str) -> bytes:
        if self.byte_level:
            return b"".join(bytes([BYTE_OF[c]]) if c in BYTE_OF else c.encode() for c in symbol)
        byte = BYTE_NAME.fullmatch(symbol)
        return bytes([int(byte[1], 16)]) if byte else symbol.replace(SPACE, " ").encode()

    def files(self) -> dict[str, bytes]:
        return {"tokenizer.json": self.data}
