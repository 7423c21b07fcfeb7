"""What a model wrote never runs: expressions that libraries would hand to eval()."""

import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lab.guard import Refused, install, plain
from lab.gym import Gym

ESCAPES = [
    "__import__('os').system('touch {file}')",
    "().__class__.__base__.__subclasses__()",
    "open('{file}', 'w')",
    "exec('import os')",
    "eval('1')",
    "(lambda: 1)()",
    "[a for a in (1, 2)]",
    "getattr(1, 'real')",
    "f'{{1}}'",
    "(1).real",
    "{{1: 2}}[1]",
    "print(1)",
    "x := 1",
    "*[1]",
    "lambdify(x, '1')",
    "sympify('1')",
    'S(\'__import__("os").system("touch {file}")\')',
    "Symbol('x').__class__",
    "preview(x)",
    "Lambda(x, x)(2)",
    "1 if 1 else 2",
    "Integral(x, x)",
    "'a' * 10",
    "",
    "1" * 20_000,
    "(" * 300 + "1" + ")" * 300,
]


def test_plain_computes_numbers_and_lists_of_them() -> None:
    said = {"[1, 2]": [1, 2], "['a', 'b']": ["a", "b"], "1/2": 0.5, "(0x1 << 0x2) ^ 0x3": 7, " 3 + 4 // 2": 5, "-2": -2}
    for text, value in said.items():
        assert plain(text) == value


@pytest.mark.parametrize("text", [e for e in ESCAPES if e != "'a' * 10"])
def test_plain_refuses_what_is_more(text: str, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        plain(text.format(file=tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_what_a_library_hands_to_eval_goes_through_the_guard(tmp_path: Path) -> None:
    """As reasoning-gym's judges do; the name is another, the way the same."""
    fake = types.ModuleType("fake_gym.games")
    exec("def judge(answer):\n    return eval(answer)", fake.__dict__)
    sys.modules["fake_gym.games"] = fake
    try:
        assert fake.judge("__import__('os').getpid()") > 0  # before
        install("fake_gym")
        assert fake.judge("[1, 2]") == [1, 2]
        with pytest.raises(Refused):
            fake.judge(f"open('{tmp_path / 'made'}', 'w')")
    finally:
        del sys.modules["fake_gym.games"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["[0] * 10**9", "'a' * 10**9", "9**9**9", "1 << 10**9", "(0,) * 10**8", "2**100"])
def test_plain_refuses_what_only_grows(text: str) -> None:
    with pytest.raises(Refused):
        plain(text)


def test_gym_installs_it() -> None:
    """Not installed here, reasoning-gym's own test judges nothing hostile: that it is called is seen in the source."""
    assert 'guard.install("reasoning_gym")' in inspect.getsource(Gym.__init__)


SCRIPT = """
import sys
import sympy
from lab import guard
guard.install("nothing")
x = sympy.Symbol("x")
for text, value in {"2*x + sin(x)**2": 2 * x + sympy.sin(x) ** 2, "3!": 6, "sqrt(2)/2": sympy.sqrt(2) / 2, "0.5*x": 0.5 * x,
                    "binomial(4, 2)": 6, "2*pi*E": 2 * sympy.pi * sympy.E}.items():
    assert sympy.parse_expr(text) == value == sympy.sympify(text), text
ran = []
for text in sys.stdin.read().split("\\0"):
    for parse in (sympy.parse_expr, sympy.sympify, lambda t: sympy.parse_expr(t, evaluate=False)):
        try:
            ran.append((text, parse(text)))
        except Exception:
            pass
assert not ran, ran
print("none")
"""


def test_sympys_parser_computes_and_does_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("sympy")
    texts = "\0".join(e.format(file=tmp_path / "made") for e in ESCAPES if len(e) < 1000 and not e.startswith("(((("))
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=texts, text=True, capture_output=True, check=False)
    assert done.stdout == "none\n", done.stderr
    assert not (tmp_path / "made").exists()
