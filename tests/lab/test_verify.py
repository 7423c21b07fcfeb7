"""Verifiers: what is right, what is not, and what tries to be taken for right; each in bounded time."""

import time
from fractions import Fraction

import pytest

from lab import verify
from lab.parts import Message, Part, plain

RIGHT_72 = [
    "72",
    " 72.\n",
    "$72",
    "72%",
    "**72**",
    "72km",
    "Answer: 72",
    "answer: 72 clips",
    "The answer is 72.",
    "The final answer is: $72$",
    "**Answer:** 72",
    "**Answer**: **72**",
    "Answer:\n\n72",
    "The answer is 72. In April she sold 48.",
    "Answer: We have 48 + 24 = 72.",
    "Answer: 48 × 1.5 = 72",
    "The answer is $72/day",
    "She sold 48 in April.\n#### 72",
    "#### Step 1: halve 48\n48/2 = 24\n\n#### Step 2\nSo it is \\boxed{72}.",
    "\\boxed{72\\text{ clips}}",
    "<answer>\n72\n</answer>",
    "Answer: 72\n\n#### 72.0\n\\boxed{072}",
    "48/2 = <<48/2=24>>24 in May. 48+24 = <<48+24=72>>72 in all.",
    "Natalia sold 48 + 24 = 72 clips altogether in April and May.",
    "First there are 48.\nThen there are 24.\n\nIn all that makes **72** clips!",
]
WRONG_72 = [
    "",
    "71",
    "-72",
    "x = - 72",
    "0.72",
    "7 2",
    "7*2",
    "7**2",
    "$7$2",
    "7\\,2",
    "7_2",
    "7,2",
    "72,0",
    "1,72",
    "72.5",
    "72.0.0",
    "072.1",
    "72x",
    "x72",
    "72²",
    "72^1",
    "72e0",
    "7.2e1",
    "0x48",
    "0b1001000",
    "144/2",  # a sum that was not done
    "\\frac{144}{2}",
    "72/1/1",
    "72/0",
    "72 million",
    "72 thousand",
    "٧٢",
    "７２",
    "⑦②",
    "七十二",
    "nan",
    "inf",
    "True",
    "1e999",
    "[72]" * 2 + "71",
    "Answer: 71 or 72",
    "Answer: 72, 71",
    "Answer: 71/72",
    "Answer: not 72",
    "The answer isn't 72",
    "Answer: > 72",
    "Answer: 71\nAnswer: 72",
    "Answer: 72\nAnswer: 71",
    "\\boxed{72} or \\boxed{71}",
    "#### 71\n#### 72",
    "<answer>72</answer><answer>71</answer>",
    "Answer: 72\n#### 73",
    "Answer: between 1 and 100",
    "It could be 70, 71, 72",
    "Answer: 72\nNo, the answer is 71.",
    "Answer: float('nan')",
    "Answer: __import__('os')",
    "Answer: 73\n" * 10 + "72",
    "".join(f"Answer: {n}\n" for n in range(100)),
]


@pytest.mark.parametrize("reply", RIGHT_72)
def test_number_is_read_where_it_stands(reply: str) -> None:
    assert verify.number(reply, "72")


@pytest.mark.parametrize("reply", WRONG_72)
def test_number_that_is_not_said_once_and_alone_is_wrong(reply: str) -> None:
    assert not verify.number(reply, "72")


@pytest.mark.parametrize(
    ("reply", "reference", "right"),
    [
        ("Answer: 1,080", "1080", True),
        ("1080.00", "1,080", True),
        ("Answer: 10,80", "1080", False),
        ("Answer: 1{,}080", "1080", True),
        ("Answer: -5", "-5", True),
        ("Answer: \u22125", "-5", True),
        ("x = - 5", "-5", True),
        ("-$5", "-5", True),
        ("5", "-5", False),
        ("1/2", ".5", True),
        ("\\boxed{\\frac{1}{2}}", "0.5", True),
        ("2/4", "0.5", False),
        ("1 1/2", "1.5", True),
        ("0.333", "1/3", False),
        ("25%", "25", True),
        ("25", "25%", True),
        ("0.25", "25%", False),  # a percent sign is a unit
        ("9.11", "9.9", False),
        ("9.90", "9.9", True),
        ("1e2", "100", False),
        ("100", "1e2", False),  # no number, so no reply equals it
        ("nan", "nan", False),
        ("inf", "inf", False),
        ("0", "-0", True),
        ("", "", False),
        ("3-5", "5", False),
        ("9" * 41, "9" * 41, False),  # over 40 digits
        ("9" * 40, "9" * 40, True),
    ],
)
def test_numbers_are_compared_exactly(reply: str, reference: str, right: bool) -> None:
    assert verify.number(reply, reference) is right


def test_fraction_takes_any_terms() -> None:
    for reply in ("3/4", "6/8", "0.75", "\\boxed{\\dfrac{3}{4}}", "Answer: 1 - 1/4 = 3/4"):
        assert verify.fraction(reply, "3/4"), reply
    for reply in ("3/4/1", "3/-4", "4/3", "3 4", "0/0", "3/4 or 4/3", "1.5/2", "3.0/4.0", "٣/٤"):
        assert not verify.fraction(reply, "3/4"), reply


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("B", True),
        ("(b)", True),
        ("B.", True),
        ("B) Paris", True),
        ("**B**", True),
        ("Option B", True),
        ("Answer: (B) Vitamin C", True),
        ("I weigh A against C.\nThe answer is B.", True),
        ("\\boxed{\\text{B}}", True),
        ("It is clear.\nThe answer is hard to see.\nAnswer: B", True),
        ("A", False),
        ("A or B", False),
        ("B or A", False),
        ("B, A", False),
        ("B/C", False),
        ("(B) (C)", False),
        ("B) x C) y", False),
        ("Answer: A\nAnswer: B", False),
        ("Answer: not B", False),
        ("Both", False),
        ("B cells", False),
        ("Bach", False),
        ("B's", False),
        ("ABCDE", False),
        ("A B C D E", False),
        ("β", False),
        ("В", False),  # Cyrillic
        ("Ｂ", False),
        ("", False),
    ],
)
def test_choice_is_one_letter(reply: str, right: bool) -> None:
    assert verify.choice(reply, "B") is right


@pytest.mark.parametrize(
    ("reply", "reference", "right"),
    [
        ("paris", "Paris", True),
        ("Answer: **Paris**.", "Paris", True),
        ("The answer is the  Eiffel\u00a0Tower. It is tall.", "Eiffel Tower", True),
        ("Answer: St. Louis", "St. Louis", True),
        ("\\boxed{x+1}", "x+1", True),
        ("x-1", "x+1", False),
        ("C", "C++", False),
        ("not Paris", "Paris", False),
        ("Paris or Rome", "Paris", False),
        ("Paris, Rome, Berlin", "Paris", False),
        ("Answer: Rome\nAnswer: Paris", "Paris", False),
        ("Parıs", "Paris", False),
        ("Paris\u200b", "Paris", False),
        ("", "", False),
        ("...", "...", True),
    ],
)
def test_exact_is_the_same_text(reply: str, reference: str, right: bool) -> None:
    assert verify.exact(reply, reference) is right


NUMBERS = [25, 5, 2]
FORTY = [
    "(25 - 5) * 2",
    "Answer: (25-5)*2",
    "(25-5)*2 = 40",
    "\\boxed{(25-5)\\times 2}",
    "Answer: **(25 − 5) × 2 = 40**",
]
NOT_FORTY = [
    "40",
    "25 + 5 * 2 + 5",  # 5 twice
    "(25 - 5) * 2 = 41",
    "(25-5)*2 = 40 = 41",
    "(25 - 5) * 2.0",
    "(25-5)*02",
    "(25-5)*2*1",
    "(25-5)*(2)()",
    "25-5*2",
    "(25-5)**2/10",
    "(25-5)//2*2*2",
    "(25-5)<<1",
    "-(5-25)*2",
    "(25-5)*+2",
    "(25-5)*~2",
    "(25-5)*2 if True else 0",
    "(25-5)*2#",
    "(25-5)*2; 25",
    "(25-5)2",
    "2 5-5*2",
    "(25-5)*2_0",
    "(25-5)*2j",
    "(25-5)*2,",
    "[(25-5)*2][0]",
    "(25-5)*٢",
    "(25-5)/0*2",
    "int('40')",
    "__import__('os').getpid()",
    "lambda: 40",
    "Answer: (25-5)*2\nAnswer: 25+5*2",
    "9**9**9",
    "",
]


def test_countdown_takes_an_expression_of_the_given_numbers() -> None:
    more = {"numbers": NUMBERS}
    for reply in FORTY:
        assert verify.countdown(reply, "40", more), reply
    for reply in NOT_FORTY:
        assert not verify.countdown(reply, "40", more), reply
    # What published checks let pass: a point between two given numbers, // and ** among the characters that may stand.
    assert not verify.countdown("1.5*2", "3", {"numbers": [1, 5, 2]})
    assert not verify.countdown("5//2+1", "3", {"numbers": [1, 5, 2]})
    assert not verify.countdown("2**5+1", "33", {"numbers": [1, 5, 2]})
    assert not verify.countdown("15-2", "13", {"numbers": [1, 5, 2]})  # two numbers glued to one
    assert not verify.countdown("(25-5)*2", "40", {})
    assert not verify.countdown("(25-5)*2", "40", {"numbers": "25 5 2"})
    assert not verify.countdown("(25-5)*1", "20", {"numbers": [25, 5, True]})


def test_countdown_uses_each_number_once_or_at_most_once() -> None:
    assert not verify.countdown("25-5", "20", {"numbers": NUMBERS})
    assert verify.countdown("25-5", "20", {"numbers": NUMBERS, "every": False})
    assert not verify.countdown("5*5", "25", {"numbers": NUMBERS, "every": False})
    assert verify.countdown("5*5", "25", {"numbers": [5, 5]})
    assert verify.worth("8/(3-8/3)", [8, 3, 8, 3]) == 24  # exact: in floats it is 23.99...
    assert verify.worth("1/3", [1, 3]) == Fraction(1, 3)


HUGE = 1 << 20
BOMBS = [
    "9**9**9",
    "9" * HUGE,
    "-" * HUGE,
    " " * HUGE,
    "(" * HUGE,
    "(" * 199,
    "1+" * HUGE,
    "1" + "*9" * 99,
    "-" * 199 + "1",
    "," * HUGE,
    "1," * (HUGE // 2),
    "1 " * (HUGE // 2),
    "1/" * (HUGE // 2),
    "0." * (HUGE // 2),
    "=" * HUGE,
    "Answer: " * (HUGE // 8),
    "answer" + " " * HUGE,
    "####" * (HUGE // 4),
    "#### 1\n" * (HUGE // 7),
    "\\boxed{" * (HUGE // 7),
    "<answer>" * (HUGE // 8),
    "\\frac{" * (HUGE // 6),
    "<<" * (HUGE // 2),
    ". " * (HUGE // 2),
    "\n" * HUGE,
    "or A " * (HUGE // 5),
    "A" * HUGE,
    "A) " * (HUGE // 3),
    "\ufdfa" * (HUGE // 3),  # one character that normalises to 18
    "\u0301" * (HUGE // 2),
    "\ud800" * 1000,
    "\0" * 1000,
    "1e999999999",
    "Answer: 1e999999999",
    "Answer: " + "9" * 1900 + "/" + "9" * 50,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda b: f"{b[:12]!r}x{len(b)}")
@pytest.mark.parametrize("kind", verify.JUDGES)
def test_no_reply_takes_long_or_crashes(bomb: str, kind: str) -> None:
    """Megabytes, alone, before and behind an answer, take 0.2 s; what stands there makes nothing right that is wrong."""
    began = time.perf_counter()
    for reply in (bomb, bomb + "\nAnswer: 7", "Answer: 7\n" + bomb):
        assert not verify.JUDGES[kind](reply, "8", {"numbers": [9, 9, 9]})
        verify.final(reply)
    verify.kind_of(bomb)
    assert time.perf_counter() - began < 2


def test_references_say_how_they_are_compared() -> None:
    told = {"72": "number", "1,080.5": "number", "-3": "number", "$5": "number", "25%": "number", "3/4": "fraction",
            "\\frac{3}{4}": "fraction", "B": "choice", "b": "exact", "F": "exact", "Paris": "exact", "1e5": "exact",
            "nan": "exact", "72 or 73": "exact", "1/0": "exact", "": "exact"}  # fmt: skip
    assert {reference: verify.kind_of(reference) for reference in told} == told


def test_final_answer_as_text() -> None:
    assert verify.final("I think.\n<answer>a b\nc d</answer>") == "a b\nc d"
    assert verify.final("Answer: St. Louis") == "St. Louis"
    assert verify.final("The answer is red. Or so.") == "red"
    assert verify.final(" just this ") == "just this"
    assert verify.final("Answer: red\nAnswer: blue") is None


def test_only_what_the_model_wrote_counts() -> None:
    """The answer in a thought, a call or a result is none: judges are given `plain`."""
    said: list[Part] = [
        Part(type="think", text="Answer: 72"),
        Part(type="call", tool="code", text="print('Answer: 72')"),
        Part(type="result", text="Answer: 72"),
        Part(type="text", text="I do not know."),
    ]
    assert not verify.number(plain(Message(role="assistant", content=said)), "72")
    said.append(Part(type="text", text=" The answer is 72."))
    assert verify.number(plain(Message(role="assistant", content=said)), "72")
