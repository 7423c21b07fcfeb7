"""Is the answer in a reply right? Pure functions of texts, in bounded time (a megabyte: a tenth of a second); nothing that a
model wrote is evaluated. No MLX.

**One final answer.** It is found without a look at the reference, so no reply has two tries:
  - every mark counts: `#### 42` at the start of a line (GSM8K), `\\boxed{42}`, `<answer>42</answer>`, and "Answer: 42" or
    "the answer is 42" (on the next line where nothing follows);
  - marks that say different things make the reply wrong; what holds no answer of the kind asked for is no answer, such as
    the heading "#### Step 2";
  - without a mark it is the last sentence that holds a digit (numbers), the last line (choice, countdown), or the whole
    reply (exact).
Callers give `lab.parts.plain` of a reply: what the model wrote itself, without thoughts, calls and results.

**Numbers** are whole numbers, decimals, 1,000s and fractions in ASCII digits, compared exactly: .5 is 0.50 is 1/2, and
0.333 is not 1/3. Currency signs, units and words beside a number do not count; a percent sign is a unit too (25% is 25 and
not 0.25). No exponents, no "5 million", no nan. Of an equation what follows its last = is the answer. Two different numbers
in one answer ("41 or 42") are none, and so are "not 41" and "> 41".
"""

import ast
import operator
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

TAIL = 100_000  # characters at the end of a reply that are looked at
LONGEST = 2_000  # of one answer
MOST = 64  # marks in a reply; with more it has no final answer
DIGITS = 40  # of a number; a longer one is none
EXPRESSION = 200  # characters of an expression

MARK = re.compile(
    r"(?P<hash>^[ \t]{0,3}####(?!#))|(?P<box>\\f?boxed[ \t]{0,3}\{)|(?P<tag><answer>)"
    r"|\banswer[*_\"')]{0,4}[ \t]{0,3}(?:(?P<word>(?:\bis\b|\bare\b)(?![ \t]{0,3}:))|(?:\bis[ \t]{0,3}:|:|=))[*_]{0,4}",
    re.MULTILINE | re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[.!?;])[\s*]+|\n+")  # between sentences; behind a decimal point stands no space
WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++)"
UNITS = "km|cm|mm|m|kg|mg|g|lbs|lb|oz|ms|s|hrs|hr|h|min|mph|ft|in|l|ml|am|pm"  # that may touch a number
# What touches a digit, letter, point or slash is none: x2, 2x, 5², 1e3, 1.2.3, 41,42, 4/2/1, 2^3; nor is 5 million.
NUMBER = re.compile(
    r"(?<![\w./^])(?<![0-9],)(?<![/^][ \t])(?P<sign>[-\u2212](?=[.0-9])|^\s{0,9}[-\u2212][ \t]{0,2})?"
    r"(?:(?P<mixed>[0-9]{1,9})[ \t](?=[0-9]{1,9}[ \t]?/))?"
    rf"(?:(?P<top>{WHOLE})(?P<part>\.[0-9]++)?|(?P<bare>\.[0-9]++))(?:[ \t]?/[ \t]?(?P<bottom>[0-9]++)(?!\.[0-9]))?"
    rf"(?:{UNITS})?(?!\w|[,.][0-9]|[ \t]?[/^][ \t]?(?:[0-9(.]|[a-z]\b)|[ \t]?(?:hundred|thousand|[mbt]r?illions?|dozen)\b)",
    re.IGNORECASE,
)
BESIDE = re.compile(r"[ \t]{0,2}(?:[a-z%°][a-z%° ]{0,40})?[.!)\s]*", re.IGNORECASE)  # a unit behind a number
SUM = re.compile(r"[-+*/×÷\u2212()%., \t0-9=]*")  # what may stand before the = of an answer
DENIED = re.compile(r"\b(?:not|never|neither)\b|n['\u2019]t\b|[<>≠≤≥]", re.IGNORECASE)
LETTER = re.compile(
    r"[\W_]{0,6}(?:(?:option|choice)[ \t]{1,3})?\(?(?P<letter>[a-e])(?![\w'\u2019])(?P<rest>.*)", re.I | re.S
)
HEDGE = re.compile(r"[\W_]{0,4}(?:or|and|,|/|&|;)[\W_]{0,4}[A-E](?![\w'\u2019])", re.IGNORECASE)
LABEL = re.compile(r"(?<!\w)([A-E])\)")


# -- where the answer stands -----------------------------------------------------------------------------------------


class Mark(NamedTuple):
    """A final answer: "hash", "box", "tag", "word" (the answer is) or "line" (Answer:), and what it marks."""

    kind: str
    text: str


def marked(reply: str) -> list[Mark] | None:
    """The final answers of a reply, in order; None where there are more than MOST."""
    reply = reply[-TAIL:]
    found = [Mark(m.lastgroup or "line", _behind(reply, m)) for m in islice(MARK.finditer(reply), MOST + 1)]
    return found if len(found) <= MOST else None


def _behind(reply: str, match: re.Match[str]) -> str:
    """What stands behind a mark, up to what closes it; nothing where that does not come."""
    ahead = reply[match.end() : match.end() + LONGEST]
    if match.lastgroup == "tag":
        return ahead[: max(0, ahead.lower().find("</answer>"))].strip()
    if match.lastgroup == "box":
        depth = 1
        for at, sign in enumerate(ahead):
            depth += (sign == "{") - (sign == "}")
            if depth == 0:
                return ahead[:at].strip()
        return ""
    if match.lastgroup != "hash":
        ahead = ahead.lstrip()
    return ahead.partition("\n")[0].strip()


def final(reply: str) -> str | None:
    """The final answer as text, for judges that read it themselves: what the marks say (None where they differ), else the
    whole reply."""
    found = marked(reply)
    if found is None:
        return None
    said = {clean(_sentence(one.text) if one.kind == "word" else one.text) for one in found} - {""}
    return reply.strip() if not said else said.pop() if len(said) == 1 else None


def clean(text: str) -> str:
    """An answer without the Markdown, quotes and full stop around it."""
    return text.strip("*_`\"'“”‘’ \t\n").removesuffix(".").rstrip("*_`\"'“”‘’ \t\n")


def _sentence(text: str) -> str:
    return SENTENCE.split(text, maxsplit=1)[0]


def _last_line(reply: str) -> str:
    return reply.rstrip().rpartition("\n")[2][:LONGEST]


# -- numbers ---------------------------------------------------------------------------------------------------------


class Number(NamedTuple):
    """A number as it was written; `sum` for a fraction that is not in lowest terms, such as 36/2."""

    value: Fraction
    sum: bool


def value(text: str) -> Fraction | None:
    """The number that a whole text is; None for anything else."""
    if len(text) > LONGEST:
        return None
    bare = _plain(clean(text)).strip().removesuffix("%").rstrip()
    found = NUMBER.fullmatch(bare) and _read(bare)
    return found[0].value if found and found[0] else None


def _plain(text: str) -> str:
    """LaTeX's, Markdown's and GSM8K's ways to write numbers as ours. No two digits come closer by it."""
    text = re.sub(r"<<[^<>]{0,200}>>", " ", text)
    text = re.sub(r"\\[dt]?frac[ ]?\{(-?[0-9]{1,40})\}[ ]?\{([0-9]{1,40})\}", r" \1/\2 ", text)
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]{0,80})\}", r" \1 ", text)
    text = re.sub(r"(?<=[0-9])(?:\{,\}|\\[,!])(?=[0-9]{3}(?![0-9]))", ",", text)
    text = text.replace("\\times", "×").replace("\\div", "÷")
    return re.sub(r"\\[,!;: ()\[\]]|[*_`$€£{}]|\\(?=[$%])", " ", re.sub(r"([-\u2212])\\?[$€£](?=[.0-9])", r"\1", text))


def _read(text: str) -> list[Number | None]:
    """Every number in a text; None for one that cannot be read: too long, a division by 0, 1.5/2."""
    found: list[Number | None] = []
    for match in NUMBER.finditer(text):
        top, bottom = (match["top"] or "0").replace(",", ""), match["bottom"] or "1"
        part = (match["part"] or match["bare"] or ".")[1:]
        if len(top) + len(part) + len(match["bottom"] or "") > DIGITS or not int(bottom) or (part and match["bottom"]):
            found.append(None)
            continue
        number = Fraction(int(top + part), 10 ** len(part) * int(bottom))
        undone = match["bottom"] is not None and (number.denominator != int(bottom) or number.denominator == 1)
        number += int(match["mixed"] or "0")
        found.append(Number(-number if match["sign"] else number, undone))
    return found


def _one(texts: Iterable[str], loose: bool = False) -> Number | None:
    """The one number that texts agree on. Those without a number do not count. `loose`: words and other sums may stand
    before an equation."""
    said: set[Number | None] = set()
    for text in texts:
        denied, text = DENIED.search(re.sub(r"<<[^<>]{0,200}>>", "", text)), _plain(text)
        before, equals, after = text.rpartition("=")
        first = re.search("[0-9]", before)
        if equals and (loose or first is None or SUM.fullmatch(before, first.start())):
            text = after
        found = set(_read(text))
        if not found and re.search("[0-9]", text):
            found = {None}  # 1e3
        said |= {None} if found and (denied or len(found) > 1) else found
    return said.pop() if len(said) == 1 else None


def _number(reply: str) -> Number | None:
    """The number that a reply gives as its answer."""
    found = marked(reply)
    if found is None:
        return None
    said = [_sentence(one.text) if one.kind in ("word", "line") else one.text for one in found]
    said = [text for one, text in zip(found, said, strict=True) if one.kind != "hash" or _alone(_plain(text))]
    if any(re.search("[0-9]", text) for text in said):
        return _one(said)
    pieces = SENTENCE.split(reply[-LONGEST:])
    pieces = pieces[1:] if len(reply) > LONGEST else pieces  # the first is the rest of a sentence
    last = next((piece for piece in reversed(pieces) if re.search("[0-9]", piece)), "")
    return _one([last], loose=True)


def _alone(text: str) -> bool:
    """Whether a line is a number, with a unit at most: no heading."""
    found = NUMBER.search(text)
    return (
        found is not None and not re.search(r"\w", text[: found.start()]) and bool(BESIDE.fullmatch(text, found.end()))
    )


def number(reply: str, reference: str, more: Mapping[str, Any] | None = None) -> bool:
    """The same number. A fraction counts in lowest terms only: 36/2 is a sum that was not done."""
    one, wanted = _number(reply), value(reference)
    return one is not None and one.value == wanted and not one.sum


def fraction(reply: str, reference: str, more: Mapping[str, Any] | None = None) -> bool:
    """The same number, in any terms: 2/4 is 1/2 is 0.5."""
    one, wanted = _number(reply), value(reference)
    return one is not None and one.value == wanted


# -- choices and texts -----------------------------------------------------------------------------------------------


def _letter(text: str) -> str | None:
    """'B' of "B", "(b)", "B) Paris", "Option B."; '' where no letter is chosen, None where several are."""
    found = LETTER.match(_plain(text))
    if found is None or (re.match(r"[ \t]+[^\W_]", found["rest"]) and not HEDGE.match(found["rest"])):
        return ""  # "A cat"
    letter = found["letter"].upper()
    if HEDGE.match(found["rest"]) or set(LABEL.findall(found["rest"])) - {letter} or DENIED.search(text):
        return None
    return letter


def choice(reply: str, reference: str, more: Mapping[str, Any] | None = None) -> bool:
    """The same letter of A to E."""
    found = marked(reply)
    if found is None:
        return False
    said = {_letter(_last_line(reply))} if not found else {_letter(one.text) for one in found} - {""}
    return said == {reference.strip().upper()} != {""}


def normal(text: str) -> str:
    """A text as answers are compared: one Unicode form, no case, single spaces, nothing around it, no article in front."""
    text = " ".join(clean(unicodedata.normalize("NFKC", text)).casefold().split())
    return re.sub(r"^(?:the|an|a) (?=\S)", "", text)


def exact(reply: str, reference: str, more: Mapping[str, Any] | None = None) -> bool:
    """The same text but for case, spaces, what stands around it and an article in front. Behind "Answer:" it is the line,
    behind "the answer is" the sentence."""
    found, wanted = marked(reply), normal(reference)
    if found is None or (not found and len(reply) > 2 * len(reference) + LONGEST):
        return False
    said = {normal(_sentence(one.text) if one.kind == "word" else one.text) for one in found} or {normal(reply)}
    return said == {wanted} and wanted != ""


# -- countdown -------------------------------------------------------------------------------------------------------

SIGNS = str.maketrans({"×": "*", "÷": "/", "\u2212": "-", "[": "(", "]": ")"})
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def worth(expression: str, numbers: Sequence[int], every: bool = True) -> Fraction | None:
    """What an expression of + - * /, brackets and the given whole numbers is worth; each is used once (at most once where
    not `every`). None for anything else: powers, //, decimals, signs before a number, names, calls, 0 in front."""
    text = expression.translate(SIGNS).strip()
    if len(text) > EXPRESSION or not re.fullmatch(r"[-+*/() 0-9]+", text):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    used: Counter[int] = Counter()
    # Before anything is computed: only the given numbers stand there, so nothing can grow.
    if not _allowed(tree, used) or (used != Counter(numbers) if every else used - Counter(numbers)):
        return None
    try:
        return _value(tree)
    except ZeroDivisionError:
        return None


def _allowed(node: ast.expr, used: Counter[int]) -> bool:
    """Whether a tree is made of our operators and whole numbers, which are counted."""
    if isinstance(node, ast.BinOp):
        return type(node.op) in OPERATORS and _allowed(node.left, used) and _allowed(node.right, used)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
        return True
    return False


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp):
        return Fraction(OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    assert isinstance(node, ast.Constant)
    return Fraction(ast.literal_eval(node))


def _expression(text: str) -> str:
    """A line without what stands around an expression, single-spaced: 1 2 does not become 12."""
    text = text.replace("\\times", "×").replace("\\cdot", "×").replace("\\div", "÷")
    return " ".join(re.sub(r"\\[()\[\]]|\\left|\\right|\$", " ", text).strip("*_`. \t\n").split())


def countdown(reply: str, reference: str, more: Mapping[str, Any] | None = None) -> bool:
    """An expression worth the reference, of the whole numbers in more["numbers"], each used once (more["every"] false: at
    most once). Behind its =, where there is one, the reference must stand."""
    given, wanted, found = (more or {}).get("numbers"), value(reference), marked(reply)
    if found is None or wanted is None or not isinstance(given, list | tuple) or any(type(n) is not int for n in given):
        return False
    said = {_expression(one.text) for one in found if re.search("[0-9]", one.text)}
    if not found:
        said = {_expression(_last_line(reply))}
    if len(said) != 1:
        return False
    expression, equals, result = said.pop().partition("=")
    if equals and value(result) != wanted:
        return False
    return worth(expression, given, bool((more or {}).get("every", True))) == wanted


# -- by name ---------------------------------------------------------------------------------------------------------

JUDGES: dict[str, Callable[[str, str, Mapping[str, Any] | None], bool]] = {
    "number": number, "fraction": fraction, "choice": choice, "exact": exact, "countdown": countdown,
}  # fmt: skip


def kind_of(reference: str) -> str:
    """How a reference is compared where nobody says: "fraction" for 3/4, "number", "choice" for a letter of A to E, else
    "exact"."""
    if value(reference) is not None:
        return "fraction" if "/" in reference or "frac" in reference else "number"
    return "choice" if re.fullmatch("[A-E]", reference.strip()) else "exact"
