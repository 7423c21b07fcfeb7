"""In-context mappings: a rule nobody has seen, shown by examples, to be continued."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from recipes.pocket.seeds import Document, Split, generator, shuffled, wanted
from recipes.pocket.vocabulary import CATEGORIES, invented_word, syllable

RULES = (
    "suffix", "prefix", "circumfix", "append", "prepend", "wrap", "swap", "first", "second", "double", "reverse",
    "label", "constant",
)  # fmt: skip
_ARROWS = ("->", "=>", ":", "=", "is")
_SEPARATORS = ("\n", ", ", "; ", ". ", " | ")


@dataclass(frozen=True)
class Mapping:
    """A rule with its own random parts, and the way its examples are written."""

    rule: str
    parts: tuple[str, ...]
    arrow: str
    separator: str
    everyday: bool
    seed: str

    @property
    def key(self) -> str:
        """The key of the mapping in the split."""
        return f"{self.rule}:{','.join(self.parts)}"

    def apply(self, item: str) -> str:
        """What the item is mapped to."""
        words = item.split()
        part = self.parts[0]
        match self.rule:
            case "suffix":
                return item + part
            case "prefix":
                return part + item
            case "circumfix":
                return part + item + self.parts[1]
            case "append":
                return f"{item} {part}"
            case "prepend":
                return f"{part} {item}"
            case "wrap":
                return f"{part} {item} {part}"
            case "swap":
                return f"{words[1]} {part} {words[0]}".replace("  ", " ")
            case "first":
                return f"{words[0]} {part}".strip()
            case "second":
                return f"{words[1]} {part}".strip()
            case "double":
                return f"{item} {part} {item}".replace("  ", " ")
            case "reverse":
                return " ".join([*reversed(words), part]).strip()
            case "label":
                # parts: category, its label, another category, its label
                return self.parts[1] if item in CATEGORIES[self.parts[0]] else self.parts[3]
            case "constant":
                return part
        raise ValueError(self.rule)

    def _item(self, r: Random) -> str:
        def word() -> str:
            return r.choice(r.choice(list(CATEGORIES.values()))) if self.everyday else invented_word(r)

        if self.rule == "label":
            return r.choice(CATEGORIES[r.choice(self.parts[::2])])
        size = {"swap": 2, "first": 2, "second": 2, "reverse": 3}.get(self.rule, 1)
        return " ".join(word() for _ in range(size))

    def items(self, n: int) -> list[str]:
        """Different items, always the same for this mapping."""
        r = generator("mapping items", self.seed)
        found: list[str] = []
        while len(found) < n:
            if (item := self._item(r)) not in found:
                found.append(item)
        return found

    def examples(self, n: int) -> list[tuple[str, str]]:
        """The first n items and what they map to."""
        return [(item, self.apply(item)) for item in self.items(n)]

    def prompt(self, shots: int, query: str | None = None) -> tuple[str, str]:
        """So many examples and one open question (by default the item after them), and its answer."""
        items = self.items(shots + 1)
        query = query or items[-1]
        shown = "".join(f"{item} {self.arrow} {self.apply(item)}{self.separator}" for item in items[:shots])
        return f"{shown}{query} {self.arrow}", self.apply(query)


def mapping(seed: int, split: Split = "test", rule: str | None = None) -> Mapping:
    """A random mapping; its rule with its random parts is held out iff the split is "test"."""
    r = generator(f"mapping:{split}:{rule}", seed)
    while True:
        chosen = rule or r.choice(RULES)
        parts: tuple[str, ...] = (syllable(r), syllable(r)) if chosen == "circumfix" else (syllable(r),)
        if chosen == "label":
            one, two = r.sample(sorted(CATEGORIES), 2)
            parts = (one, parts[0], two, syllable(r))
            if parts[1] == parts[3]:
                continue
        # Rules on pairs also come without a word of their own, in training only: there is nothing new to hold out.
        if chosen in ("swap", "first", "second", "double", "reverse") and split == "train" and r.random() < 0.4:
            parts = ("",)
        made = Mapping(chosen, parts, r.choice(_ARROWS), r.choice(_SEPARATORS), r.random() < 0.3, f"{split}:{seed}")
        if parts == ("",) or wanted(made.key, split):
            return made


def mapping_document(seed: int) -> Document:
    """Six to twelve examples of one mapping."""
    r = generator("mappings", seed)
    made = mapping(seed, "train")
    lines = [f"{item} {made.arrow} {out}" for item, out in shuffled(r, made.examples(r.randint(6, 12)))]
    text = made.separator.join(lines)
    return Document(text if made.separator == "\n" else f"{text}.", "mappings")
