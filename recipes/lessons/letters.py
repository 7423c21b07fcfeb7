"""Counting letters, sums and decimals: by head, step by step, or with code."""

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from lab.chat import Message, Part
from recipes.lessons import ask, call, result, text
from recipes.pocket.arithmetic import compute, sum_key
from recipes.pocket.decimals import decimal_pair
from recipes.pocket.problems import Problem, problem
from recipes.pocket.seeds import Split, wanted
from recipes.pocket.vocabulary import EVERYDAY, invented_word
from recipes.pocket.words import tally

LETTERS = "abcdefghijklmnoprstuvwy"
PLACES = ("first", "second", "third")
COUNT = "How many times does the letter {c} occur in {w}?"
# How else a person asks, in half of the lessons that count by code. Taught with COUNT alone, the last of the line counted the r
# of strawberry right when asked in those words and wrong when asked "How many r in strawberry?".
ASKED = (
    "How many {c} in {w}?", "How many {c} are in {w}?", "How many {c} are there in {w}?", "How many {c}'s are in {w}?",
    "How often does {c} occur in {w}?", "How many letters {c} has {w}?", "Count the letter {c} in {w}.",
    "How many times does {c} appear in the word {w}?",
)  # fmt: skip
SUMS = ("What is {a} {word} {b}?",) * 4 + (
    "How much is {a} {word} {b}?", "What is {a} {sign} {b}?", "{a} {sign} {b} = ?", "Compute {a} {sign} {b}.",
)  # fmt: skip
_WORDS: dict[Split, list[str]] = {
    "train": [w for w in EVERYDAY if wanted(w, "train")],
    "test": [w for w in EVERYDAY if wanted(w, "test")],
}


def counting(r: Random, split: Split = "train", fresh: float = 0.5) -> tuple[str, str, str]:
    """(question, word, letter); a share of the words is invented, so that there is no end of them. Each of 0, 1, 2 and 3 is
    right about as often: where two in three answers were 2, "2" was right without counting."""
    times = r.choice((0, 1, 2, 3))
    known = [word for word in _WORDS[split] if _letters(word, times)] if r.random() >= fresh else []
    word = r.choice(known) if known else ""  # of everyday words few hold a letter three times
    while not (word and _letters(word, times) and wanted(word, split)):
        word = invented(r)
    letter = r.choice(_letters(word, times))
    return COUNT.format(c=letter, w=word), word, letter


def invented(r: Random) -> str:
    """A word nobody knows: one invented word or two in one."""
    return invented_word(r) + (invented_word(r) if r.random() < 0.5 else "")


@lru_cache(1 << 14)
def _letters(word: str, times: int) -> list[str]:
    """The letters that a word holds so often."""
    return [c for c in LETTERS if word.count(c) == times]


def counted(r: Random, how: str) -> list[Message]:
    """A count by head ("answer"), by spelling first ("steps"), after the answer ("after") or by code ("code")."""
    asked, word, letter = counting(r)
    answer = str(word.count(letter))
    if how == "code" and r.random() < 0.5:
        asked = r.choice(ASKED).format(c=letter, w=word)
    # A space before the word, as in the question: without it the word begins with another token, which cannot be copied.
    return ask(asked, reply_of(how, answer, f"{tally(word, letter)}.", f"' {word}'.count('{letter}')", answer))


def copied(r: Random) -> str:
    """A word to copy, mostly an invented one, often one whose letters are held out: a model copies only tokens that it has
    copied before. With a few copies of each it still called ' soud'.count for sigobkehol and ' were likaf'.count for happy."""
    u = r.random()
    return r.choice(_WORDS["test"]) if u < 0.25 else r.choice(EVERYDAY) if u < 0.4 else invented(r)


def repeated(r: Random) -> list[Message]:
    """A word said again, also those whose letters are held out."""
    word = copied(r)
    return ask(f"Say the word {word}.", f"{word}.")


def rewritten(r: Random) -> list[Message]:
    """A word in capitals or backwards by code, also those whose letters are held out: that a word can be copied into a
    call is learnt token by token, and its count is not told."""
    word = copied(r)
    form, code, value = r.choice(
        (("Write {w} in capitals.", ".upper()", word.upper()), ("How is {w} written backwards?", "[::-1]", word[::-1]))
    )
    return ask(form.format(w=word), [call("code", f"' {word}'{code}"), result(value), text(f"{value}.")])


def listed(r: Random) -> list[Message]:
    """One of several words picked out by code, or their number: a dozen tokens are copied into one call. Of the 840 syllables
    that invented words begin with, calls of single words have each three times in a training: numudvukin became sofib, of
    hokapbobob the end was left out (counting .90 right)."""
    words = [copied(r) for _ in range(r.randint(3, 8))]
    said, line, u = ", ".join(words), f"' {' '.join(words)}'.split()", r.randrange(5)
    if u < 3:
        asked, code, value = f"Which is the {PLACES[u]} of the words {said}?", f"{line}[{u}]", words[u]
    elif u == 3:
        asked, code, value = f"Which is the last of the words {said}?", f"{line}[-1]", words[-1]
    else:
        asked, code, value = f"How many words are {said}?", f"len({line})", str(len(words))
    return ask(asked, [call("code", code), result(value), text(f"{value}.")])


def reasoned(r: Random, how: str) -> list[Message]:
    """A word problem, its answer found in one of the ways; "bare" are steps without the words of the problem."""
    made = problem(r.randrange(1 << 60), r.choice((3, 4, 5)), "train")
    steps = made.steps if how == "bare" else made.told
    return ask(made.text, reply_of(how, str(made.answer), steps, expression(made), str(made.answer)))


def reply_of(how: str, answer: str, steps: str, code: str, value: str) -> str | list[Part]:
    """A reply that answers, works first, answers and works after, or computes."""
    if how == "answer":
        return f"{answer}."
    if how in ("steps", "bare"):
        return f"{steps} Answer: {answer}."
    if how == "after":
        return f"{answer}. {steps}"
    return [call("code", code), result(value), text(f"{answer}.")]


def expression(made: Problem) -> str:
    """The whole calculation of a problem as one line of Python: `12 + 3*4 - 5`."""
    return made.key.replace("+", " + ").replace("-", " - ")


def final(reply: str) -> str:
    """The number a reply gives as its answer: what follows "Answer:", else its first number."""
    found = re.search(r"(?<!\w)-?\d+(?:\.\d+)?", reply.rsplit("Answer:", 1)[-1])
    return found[0] if found else ""


def larger(r: Random, split: Split = "train", pair: str | None = None) -> tuple[str, str]:
    """(which of two decimals is larger?, the larger one)."""
    big, small = decimal_pair(r.randrange(1 << 60), split, pair)
    a, b = (big, small) if r.random() < 0.5 else (small, big)
    return f"Which number is larger, {a} or {b}?", big


def compared(r: Random) -> list[Message]:
    """Two decimals compared by code, which writes 3.50 as 3.5; the reply has the number as it was asked about."""
    asked, big = larger(r)
    a, b = asked.removesuffix("?").split(", ")[1].split(" or ")
    return ask(asked, [call("code", f"max({a}, {b})"), result(str(float(big))), text(f"{big}.")])


def computed(r: Random) -> list[Message]:
    """A sum of any size by code."""
    asked, code, value = calculation(r, r.choice((99, 999, 9999)))
    return ask(asked, [call("code", code), result(value), text(f"{value}.")])


def calculation(r: Random, size: int, split: Split = "train") -> tuple[str, str, str]:
    """(question, line of code, value) on two numbers up to `size`; the calculation is held out iff the split is "test"."""
    while True:
        a, b = r.randint(2, size), r.randint(2, size)
        sign, word = r.choice((("+", "plus"), ("-", "minus"), ("*", "times")))
        if wanted(sum_key(a, sign, b), split):
            asked = r.choice(SUMS).format(a=a, b=b, word=word, sign=sign)
            return asked, f"{a} {sign} {b}", str(compute(a, sign, b))


# Lines that the sandbox cannot run. A call that should have worked is answered with what it says to one of these: the lesson
# is the reply to an error, and no lesson writes a wrong line.
BROKEN = ("' banana'.count('n", "12 + + ", "count", "12 34", "'a'.cont('a')")
NOT_RUN = ("I do not know: my code did not run.", "My code has an error, so I do not know.")


def failed(r: Random, error: str) -> list[Message]:
    """A calculation that has no answer, and says so. `error` is what the tool says to a division by zero."""
    a = r.randint(2, 999)
    form = r.choice(("What is {a} divided by 0?", "Divide {a} by 0."))
    reply = "That has no answer: nothing can be divided by zero."
    return ask(form.format(a=a), [call("code", f"{a} / 0"), result(error), text(reply)])


def broken(r: Random, errors: Sequence[str]) -> list[Message]:
    """A count or a calculation whose line did not run (see BROKEN), and so no answer. Without these an error that the model had
    made was answered with a number."""
    if r.random() < 0.5:
        asked, word, letter = counting(r)
        code = f"' {word}'.count('{letter}')"
    else:
        asked, code, _ = calculation(r, r.choice((99, 999, 9999)))
    return ask(asked, [call("code", code), result(r.choice(errors)), text(r.choice(NOT_RUN))])
