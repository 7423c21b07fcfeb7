"""Does a reply say a given answer? Plain text against plain text, no model: quick, the same each time, and blind for
meaning. No MLX.

Compared as SQuAD's own script compares (Rajpurkar et al. 2016, arXiv:1606.05250: case, punctuation and articles do not
count), as whole words, wherever in the reply they stand; and numbers as numbers: 1,000 is 1000.0.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lab.near import UNSPACED

ARTICLES = ("a", "an", "the")
# A number; a character of a script without spaces; any other word. A minus counts where no word stands before it.
TOKEN = re.compile(
    rf"(?:(?<!\w)[-\u2212])?\d+(?:,\d\d\d(?!\d))*(?:\.\d+)?|[{UNSPACED}]|(?!\d)[^\W{UNSPACED}][^\W{UNSPACED}]*"
)
INSIDE = re.compile(r"(?<=\w)['\u2019](?=[^\W\d])|(?<=\b[^\W\d])\.(?=[^\W\d]\b)")  # don't, U.S.: no edge of a word
SYMBOL = re.compile(r"(?<=[a-z,;:(] )[A-Z][a-z]?\b")
ACCENTS = re.compile("[\u0300-\u036f]")
# What denies the words behind it, "not Paris", with nothing but these small words between: "isn't in the Paris of today".
# "Not only Paris", "not far from Paris" and "not sure, Paris" deny nothing.
NEGATIONS = "not never neither nor cannot isnt arent wasnt werent aint cant couldnt wont wouldnt doesnt didnt hasnt"
NOT = frozenset(NEGATIONS.split())
NOT_TWO = {("rather", "than"), ("instead", "of")}
SMALL_BETWEEN = "a an the in at on by from to be been called named really actually"
BETWEEN = frozenset(SMALL_BETWEEN.split())
PAUSE = re.compile(r"[.,;:!?()\[\]|\n\u2013\u2014\u2026]")  # a denial does not reach across
REACH = 80  # characters before and behind an answer that are looked at
# Words that carry no answer: those of a question, and those a sentence is held together by.
SMALL_WORDS = """
a an the of in on at to for from by with as and or but not no so than then that this these those it its is are was were be
been being has have had do does did will would can could may might should must which who whom whose what when where why how
he she they them their his her we our you your i my me there here also about into over under between such both each some any
all more most other only very called known
"""
SMALL = frozenset(SMALL_WORDS.split())


def words(text: str) -> list[str]:
    """The words of a text as answers are compared: without case, accents, punctuation and articles, numbers in one way of
    writing. Of a text that is nothing but articles, the articles."""
    found = _spelt(text)
    return [word for word in found if word not in ARTICLES] or found


class _Word(NamedTuple):
    """A word as it is compared, and where it stands in `_plain`."""

    text: str
    start: int
    end: int


def _plain(text: str) -> str:
    return INSIDE.sub(
        "", unicodedata.normalize("NFKC", ACCENTS.sub("", unicodedata.normalize("NFKD", text))).casefold()
    )


def _told(plain: str) -> list[_Word]:
    found = ((match[0], *match.span()) for match in TOKEN.finditer(plain))
    return [_Word(_number(word) if word[-1].isdecimal() else word, start, end) for word, start, end in found]


def _spelt(text: str) -> list[str]:
    """`words` with all articles."""
    return [word.text for word in _told(_plain(text))]


def _number(word: str) -> str:
    """A number, of any length, in the one way of writing it: no sign +, no commas, no zeros in front or behind a point."""
    sign = "-" if word[0] in "-\u2212" else ""
    digits = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in word if c not in ",-\u2212")
    whole, _, part = digits.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return number if number == "0" else sign + number


def matches(reply: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers stands in the reply as whole words, and is not denied there in every place. An answer of
    one or two letters (a symbol) has to stand there in its own case: "He" is helium, "he" somebody. An answer without a
    letter or digit is compared as it is.

    A denial is seen in English and right before the answer only ("not Paris", "isn't in Paris", "rather than Paris"), and
    not in a question ("Is it not Paris?"): a right reply that is called wrong teaches a model that it does not know. So
    "I doubt that it is Paris" holds Paris, and so does a list of all capitals.
    """
    plain = _plain(reply)
    every = _told(plain)
    said = [word for word in every if word.text not in ARTICLES] or every
    places: Iterable[tuple[int, int]]
    for answer in answers:
        wanted = words(answer)
        if not wanted:
            if answer.strip() and answer.strip() == reply.strip():
                return True
            continue
        if len(answer.strip()) <= 2 and answer.strip().isalpha() and answer.isascii():
            text = INSIDE.sub("", reply)
            places = (found.span() for found in re.finditer(rf"(?<!\w){answer.strip()}(?!\w)", text))
        else:
            text, places = plain, _places(wanted, said if wanted[0] not in ARTICLES else every)
        if any(not _denied(text[max(0, start - REACH) : start], text[end : end + REACH]) for start, end in places):
            return True
    return False


def _places(wanted: list[str], said: list[_Word]) -> Iterator[tuple[int, int]]:
    """Where the words stand one after the other."""
    if "\n".join(["", *wanted, ""]) not in "\n".join(["", *(word.text for word in said), ""]):
        return  # as nearly always
    for first in range(len(said) - len(wanted) + 1):
        if said[first].text == wanted[0] and [word.text for word in said[first : first + len(wanted)]] == wanted:
            yield said[first].start, said[first + len(wanted) - 1].end


def _denied(before: str, after: str) -> bool:
    """Whether what stands before a place denies what is said there."""
    said = TOKEN.findall(PAUSE.split(before)[-1].casefold())
    while said and said[-1] in BETWEEN:
        said.pop()
    if not said or (said[-1] not in NOT and tuple(said[-2:]) not in NOT_TWO) or said[-2:] == ["or", "not"]:
        return False
    pause = PAUSE.search(after)
    return pause is None or pause[0] != "?"


def content(text: str) -> set[str]:
    """The words of a text that say something, and what looks like a symbol (He, As) in the midst of a sentence."""
    return {word for word in words(text) if word not in SMALL} | {found.casefold() for found in SYMBOL.findall(text)}


def overlap(answer: str, passage: str) -> float:
    """The share of the answer's content words that the passage holds, as they are or with another ending; 1 of none."""
    wanted, held = content(answer), content(passage)
    stems = {word[:5] for word in held if len(word) > 5 and word.isalpha()}
    found = sum(word in held or (len(word) > 5 and word.isalpha() and word[:5] in stems) for word in wanted)
    return found / len(wanted) if wanted else 1.0
