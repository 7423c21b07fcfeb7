"""What a clean document is: measures of a text and the limits they may reach. Pure functions of the text. No MLX.

The rules are those of FineWeb (Penedo et al. 2024, arXiv:2406.17557, and the code released with it): Gopher's of quality
and repetition (Rae et al. 2021, arXiv:2112.11446, appendix A1.1), C4's (Raffel et al. 2020, arXiv:1910.10683) without
the terminal punctuation mark, and three of FineWeb's own.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

from lab.errors import UserError
from lab.near import UNSPACED


@dataclass(frozen=True)
class Rules:
    """Limits: a document that falls below a `min_`, or rises above a `max_`, is dropped. None turns a rule off.

    The defaults are FineWeb's. `share_words`: rules about shares look only at documents of at least so many words.
    """

    language: tuple[str, ...] = ("en",)  # ISO 639 codes of what is kept; empty: any
    min_language: float | None = 0.65  # probability by fastText's lid.176
    language_letters: int = 0  # texts of fewer letters are not judged
    share_words: int = 0
    # Gopher, quality
    min_words: float | None = 50
    max_words: float | None = 100_000
    min_word_length: float | None = 3  # mean, characters
    max_word_length: float | None = 10
    max_hashes: float | None = 0.1  # a word
    max_ellipses: float | None = 0.1  # a word
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alphabetic: float | None = 0.8  # words with at least one letter
    min_stop_words: float | None = 2  # different ones, of English, where English is asked for
    # Gopher, repetition: shares, of characters where not said otherwise
    max_dup_paragraphs: float | None = 0.3  # of paragraphs
    max_dup_paragraph_chars: float | None = 0.2
    max_dup_lines: float | None = 0.3  # of lines
    max_dup_line_chars: float | None = 0.1  # FineWeb's, Gopher has 0.2; the paper's: the released code has 0.01
    max_top_2_gram: float | None = 0.20  # of the commonest pair of words
    max_top_3_gram: float | None = 0.18
    max_top_4_gram: float | None = 0.16
    max_dup_5_grams: float | None = 0.15  # of words that repeat five in a row from above
    max_dup_6_grams: float | None = 0.14
    max_dup_7_grams: float | None = 0.13
    max_dup_8_grams: float | None = 0.12
    max_dup_9_grams: float | None = 0.11
    max_dup_10_grams: float | None = 0.10
    # C4
    cut_lines: str | None = "c4"  # which lines are cut out before the rules below: `c4`, `sure` or None, see `cut`
    max_boilerplate: float | None = None  # share of the characters that was cut
    max_lorem_ipsum: float | None = 0
    max_curly_brackets: float | None = 0
    min_sentences: float | None = 5
    # FineWeb
    min_end_punctuation: float | None = 0.12  # lines
    max_short_lines: float | None = 0.67  # lines of at most 30 characters
    max_newlines: float | None = 0.3  # a word; in the released code, not in the paper
    # Duplicates, see lab.near
    exact_duplicates: bool = True
    near_duplicates: bool = True
    near_words: int = 5  # words a shingle
    near_bands: tuple[int, int] = (14, 8)  # bands, hashes a band
    near_similarity: float | None = None  # None: a band in common is enough
    near_min_words: int = 0  # shorter documents are compared exactly only
    # Masks
    mask: bool = True  # e-mail addresses and public IPv4 addresses


WEB = Rules()
# For what people keep themselves: notes, lists, poems, chats, glosses. Against WEB:
# - A document may be short, and a share needs something to be a share of: below Gopher's own 50 words no share counts.
# - Lists, code, verse, headings and tables are no fault: nothing is said of bullets, short lines, lines without a full
#   stop, curly brackets, newlines and repeated lines, and digits and hashes may be more.
# - Refrains, sums and tables repeat themselves (with FineWeb's limits 7 % of a set of chats went, and 24 % of an
#   almanac's articles); what is the same for half of its length is still no text.
# - Words in other alphabets, addresses and formulas make means of 10 and more: 20 still finds what is no text.
# - A gloss of ten English words often gets less than 0.65 (12 % of WordNet's): dropped is only what gets less than 0.1
#   with another language in front, from 20 letters on.
# - Lines are cut only where they cannot be a person's: a note may well speak of JavaScript or of a privacy policy.
# - Near-duplicates: in a short document few 5-grams outlive a small change (3 % of the words: a similarity of 0.75, and
#   with pairs of words 0.89), so pairs of words, more bands, and a check of what they find; under 25 words another word
#   makes another sentence.
NOTES = replace(
    WEB, min_language=0.1, language_letters=20, share_words=50, min_words=None, max_words=None,
    min_word_length=2, max_word_length=20, max_hashes=0.5, max_ellipses=0.3, max_bullet_lines=None,
    max_ellipsis_lines=0.6, min_alphabetic=0.3, min_stop_words=None, max_dup_paragraphs=None,
    max_dup_paragraph_chars=0.5, max_dup_lines=None, max_dup_line_chars=0.5, max_top_2_gram=0.4, max_top_3_gram=0.4,
    max_top_4_gram=0.4, max_dup_5_grams=0.5, max_dup_6_grams=0.5, max_dup_7_grams=0.5, max_dup_8_grams=0.5,
    max_dup_9_grams=0.5, max_dup_10_grams=0.5, cut_lines="sure", max_boilerplate=0.5, max_curly_brackets=None,
    min_sentences=None, min_end_punctuation=None, max_short_lines=None, max_newlines=None, near_words=2,
    near_bands=(18, 6), near_similarity=0.7, near_min_words=25,
)  # fmt: skip
PRESETS = {"notes": NOTES, "web": WEB}
FIXED = ("language", "language_letters", "cut_lines", "near_words", "near_bands", "near_similarity")


def change(rules: Rules, changes: Iterable[str]) -> Rules:
    """Rules with `NAME=NUMBER`, `NAME=on` and `NAME=off` applied, such as min-words=20, near-duplicates=off. What `on`
    turns on again is FineWeb's limit."""
    names = [f.name for f in fields(Rules) if f.name not in FIXED]
    for text in changes:
        key, _, value = text.partition("=")
        name = key.strip().replace("-", "_")
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            said = ", ".join(names).replace("_", "-")
            raise UserError(f"--rule {text}: no such rule; {hint.replace('_', '-')}there are {said}")
        switch = isinstance(getattr(WEB, name), bool)
        value = value.strip().lower()
        number = _number(value)
        if value in ("on", "off"):
            off: Any = False if switch else 0 if name in ("share_words", "near_min_words") else None
            new: Any = getattr(WEB, name) if value == "on" else off
        elif number is None or switch:
            raise UserError(f"--rule {text}: write {key}=on or {key}=off" + ("" if switch else f", or {key}=NUMBER"))
        else:
            new = number
        rules = replace(rules, **{name: new})
    return rules


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


class Drop(NamedTuple):
    """Why a document is not kept."""

    rule: str  # the name of a field of Rules
    value: float
    limit: float


def judge(measures: Iterable[tuple[str, float]], rules: Rules) -> Drop | None:
    """The first measure that breaks its rule."""
    for name, value in measures:
        limit = getattr(rules, name)
        if limit is not None and (value < limit if name.startswith("min_") else value > limit):
            return Drop(name, value, limit)
    return None


# -- measures --------------------------------------------------------------------------------------------------------

UNSPACED_OR_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
ENDS = (".", "?", "!", '"', "'", "\u2019", "\u201d", "\u2026", "\u3002", "\uff1f", "\uff01")
SENTENCE = re.compile(r"[.?!\u2026]+[\"'\u2019\u201d)\]]*(?=\s|$)|[\u3002\uff1f\uff01]")


def gopher(text: str, rules: Rules) -> Iterator[tuple[str, float]]:
    """Gopher's measures of a text, cheap ones first. A word is what white space separates."""
    words = text.split() if text.isascii() else UNSPACED_OR_WORD.findall(text)
    real = [word for word in words if any(map(str.isalnum, word))]
    yield "min_words", len(real)
    yield "max_words", len(real)
    spaced = [len(word) for word in real if len(word) > 1 or word.isascii()]
    if spaced and 2 * len(spaced) > len(real):  # in Chinese and Japanese a character stands for a word
        mean = sum(spaced) / len(spaced)
        yield "max_word_length", mean
        if len(real) >= rules.share_words:
            yield "min_word_length", mean
    if len(real) < rules.share_words or not real:
        return
    yield "max_hashes", text.count("#") / len(words)
    yield "max_ellipses", (text.count("...") + text.count("\u2026")) / len(words)
    lines = [line for line in text.splitlines() if line.strip()]
    yield "max_bullet_lines", sum(line.lstrip()[0] in "\u2022-*" for line in lines) / len(lines)
    yield "max_ellipsis_lines", sum(line.rstrip().endswith(("...", "\u2026")) for line in lines) / len(lines)
    yield "min_alphabetic", sum(any(map(str.isalpha, word)) for word in words) / len(words)
    if "en" in rules.language and rules.min_stop_words is not None:
        yield "min_stop_words", len(STOP_WORDS & {word.strip("\"'(),.;:!?").lower() for word in real})
    for part, sep in (("paragraph", r"\n\s*\n"), ("line", r"\n")):
        pieces = [piece.strip() for piece in re.split(sep, text) if piece.strip()]
        again, chars = repeats(pieces)
        yield f"max_dup_{part}s", again / len(pieces)
        yield f"max_dup_{part}_chars", chars / len(text)
    for n in (2, 3, 4):
        if getattr(rules, f"max_top_{n}_gram") is not None:
            yield f"max_top_{n}_gram", top_gram(words, n) / len(text)
    wanted = [n for n in range(5, 11) if getattr(rules, f"max_dup_{n}_grams") is not None]
    for n, chars in repeated_grams(words, wanted):
        yield f"max_dup_{n}_grams", chars / len(text)


def fineweb(text: str, rules: Rules) -> Iterator[tuple[str, float]]:
    """C4's and FineWeb's measures of a text from which `cut` has taken its lines."""
    low = text.lower()
    yield "max_lorem_ipsum", low.count("lorem ipsum" if rules.cut_lines == "c4" else "lorem ipsum dolor")
    yield "max_curly_brackets", text.count("{")
    yield "min_sentences", sum(1 for _ in islice(SENTENCE.finditer(text), math.ceil(rules.min_sentences or 0)))
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    words = len(text.split())
    if words < rules.share_words:
        return
    yield "min_end_punctuation", sum(line.endswith(ENDS) for line in lines) / len(lines)
    yield "max_short_lines", sum(len(line) <= 30 for line in lines) / len(lines)
    yield "max_newlines", text.count("\n") / words


def repeats(pieces: Sequence[str]) -> tuple[int, int]:
    """(how many came before, their characters)."""
    again = [piece for piece, count in Counter(pieces).items() for _ in range(count - 1)]
    return len(again), sum(map(len, again))


def top_gram(words: Sequence[str], n: int) -> int:
    """The characters of the commonest n-gram in all its places; 0 where none comes twice."""
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not grams:
        return 0
    most = max(grams.values())
    if most < 2:
        return 0
    return most * max(len(" ".join(gram)) for gram, count in grams.items() if count == most)


def repeated_grams(words: Sequence[str], sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(n, characters of the words in n-grams that came before) for each n, smallest first; each word counts once.

    An n-gram comes twice only where its first n - 1 words do, so each n looks only where the one before found some.
    """
    places: Sequence[int] = range(len(words))
    for n in sizes:
        grams: dict[tuple[str, ...], list[int]] = {}
        for i in places:
            if i + n <= len(words):
                grams.setdefault(tuple(words[i : i + n]), []).append(i)
        groups = [found for found in grams.values() if len(found) > 1]
        places = sorted(i for found in groups for i in found)
        covered = {j for found in groups for i in found[1:] for j in range(i, i + n)}
        yield n, sum(len(words[j]) for j in covered)


# -- lines that are no text -----------------------------------------------------------------------------------------

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
# C4's list, as in the code released with it.
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SURE = re.compile(
    r"\b(?:enable|activate|turn on) javascript\b|\bjavascript (?:is|must be|has been|needs to be) (?:disabled|enabled)"
    r"|\b(?:we|(?:web)?site) uses? cookies\b|\baccept (?:all )?cookies\b|\bconsent to (?:the |our )use of cookies\b",
    re.IGNORECASE,
)
MENU = re.compile(
    r"\b(?:home|about(?: us)?|contact(?: us)?|privacy(?: policy)?|terms of (?:use|service)|terms (?:and|&) conditions"
    r"|cookie (?:policy|settings|preferences)|all rights reserved|sign (?:in|up)|log ?in|register|subscribe|newsletter"
    r"|(?:skip|jump) to (?:main )?content|read more|back to top|site ?map|advertise(?:ment)?|faq|help|search|menu|next"
    r"|previous|share(?: this| on)?|facebook|twitter|instagram|linkedin|copyright|powered by \w+)\b",
    re.IGNORECASE,
)


def is_menu(line: str) -> bool:
    """Whether three different things that menus and footers say, or more, make up 60 % of the letters of a line that is no
    sentence."""
    found = MENU.findall(line) if len(line) <= 300 and not line.rstrip().endswith(ENDS) else []
    if len(set(map(str.lower, found))) < 3:
        return False
    return sum(map(str.isalpha, "".join(found))) >= 0.6 * sum(map(str.isalpha, line))


def cut(text: str, kind: str | None) -> tuple[str, int]:
    """(the text without the lines that are none, how many those were).

    `c4`: lines of fewer than three words, with a word of over 1,000 characters, with "javascript" or a phrase of
    policies; citation marks go as well. `sure`: only notices about JavaScript and cookies, menus and footers.
    """
    if kind is None:
        return text, 0
    kept, gone = list[str](), 0
    for line in text.split("\n"):
        if kind == "c4":
            low, words = line.lower(), line.split()
            odd = len(words) < 3 or "javascript" in low or any(phrase in low for phrase in POLICY)
            if odd or max(map(len, words)) > 1000:
                gone += bool(words)
                continue
            kept.append(CITATION.sub("", line))
        elif SURE.search(line) or is_menu(line):
            gone += 1
        else:
            kept.append(line)
    return "\n".join(kept).strip() if gone or kind == "c4" else text, gone
