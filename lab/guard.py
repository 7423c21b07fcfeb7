"""Expressions that a model wrote, where a library would hand them to eval(): reasoning-gym's judges do, by themselves and
through sympy's parser, which is an eval() as well. No MLX.

`__import__('os').system(...)` was run as a countdown's answer (reasoning-gym 0.1.25, sympy 1.14). Here an expression is
parsed first, and refused unless each of its nodes is of a kind that can do nothing but compute.
"""

import ast
import sys
from typing import Any

# No attribute, subscript, lambda, comprehension, walrus, f-string or keyword: none of these can reach another object.
PLAIN: tuple[type[ast.AST], ...] = (
    ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
FUNCTIONS = ("sqrt", "cbrt", "root", "real_root")  # of sympy's, mathematical ones that are no classes
IDLE = ("Integral", "Derivative", "Sum", "Product", "Limit", "Subs")  # they name a task: as its solution they were paid
SPELT = ("Symbol", "Function", "Integer", "Float", "Rational")  # what sympy's parser writes texts into
LONGEST = 10_000  # characters


class Refused(ValueError):
    """An expression that is more than one."""


def plain(text: str, *_: Any) -> Any:
    """eval(text) of numbers, texts and lists of them, and of what operators make of these. Refused for anything else."""
    tree = _parsed(text.strip() if isinstance(text, str) else text)
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]  # nodes, and whether one stands below an operator
    while todo:
        node, below = todo.pop()
        if not isinstance(node, PLAIN):
            raise Refused(f"{type(node).__name__} in an expression")
        _modest(node, below)
        below |= isinstance(node, ast.BinOp)
        todo += [(child, below) for child in ast.iter_child_nodes(node)]
    return eval(compile(tree, "<answer>", "eval"), {"__builtins__": {}}, {})


def symbolic(code: str, local_dict: dict[str, Any] | None, global_dict: dict[str, Any]) -> Any:
    """sympy.parsing.sympy_parser.eval_expr, of code that its parser made of a text: numbers, symbols, and calls of sympy's
    own mathematical classes. Refused for anything else: lambdify, preview and the like are functions."""
    from sympy import Basic  # type: ignore[import-untyped, import-not-found, unused-ignore]

    tree, names = _parsed(code), {**global_dict, **(local_dict or {})}

    def mathematical(name: str) -> bool:
        found = names.get(name)
        return isinstance(found, Basic) or (isinstance(found, type) and issubclass(found, Basic)) or name in FUNCTIONS

    texts = set()  # places where one may stand
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.keywords:
                raise Refused("a call of something without a name")
            texts |= {id(a) for a in node.args} if node.func.id in SPELT else set()
        elif isinstance(node, ast.Name):
            if node.id.startswith("_") or node.id in IDLE or not mathematical(node.id):
                raise Refused(f"{node.id} in an expression")
        elif not isinstance(node, PLAIN):
            raise Refused(f"{type(node).__name__} in an expression")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in texts:
            raise Refused("a text in an expression")
    return eval(compile(tree, "<answer>", "eval"), {**global_dict, "__builtins__": {}}, local_dict or {})


def _modest(node: ast.AST, below: bool) -> None:
    """Refused for operators on texts and lists ([0] * 10**9 took 8 GB), and for powers and shifts by more than 64. `below`:
    the node is a part of what an operator works on."""
    many = isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict)
    if below and (many or (isinstance(node, ast.Constant) and not isinstance(node.value, int | float))):
        raise Refused("operators on more than numbers")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
        by = node.right
        if not (isinstance(by, ast.Constant) and isinstance(by.value, int) and by.value <= 64):
            raise Refused("too large a power")


def _parsed(text: Any) -> ast.Expression:
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST:  # code that is compiled already, too
        raise Refused("no text, or one too long")
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"no expression: {error}") from error


def install(library: str) -> None:
    """From now on in this process: `plain` stands for eval() in every loaded module of `library`, `symbolic` in sympy's
    parser, which is the one way that sympy.sympify and parse_expr have."""
    for name, module in list(sys.modules.items()):
        if module is not None and (name == library or name.startswith(f"{library}.")):
            module.eval = plain  # type: ignore[attr-defined]
    if "sympy" in sys.modules:
        from sympy.parsing import sympy_parser  # type: ignore[import-untyped, import-not-found, unused-ignore]

        sympy_parser.eval_expr = symbolic
