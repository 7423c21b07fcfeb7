"""`lab explain`: what it points at is there, its commands are understood, and the README's map is its table."""

import ast
import shlex

import pytest

from recipes import cli, flags
from recipes.card import ROWS
from recipes.chapters import CHAPTERS, Chapter
from recipes.commands.explain import find, markdown, where
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused

NAMES = [chapter.key for chapter in CHAPTERS]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_the_code_it_points_at_is_there(chapter: Chapter) -> None:
    for place in chapter.code:
        path, symbol = place.split(":")
        tree = ast.parse((REPO / path).read_text())
        assert symbol in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}, place
        line = int(where(place).split("  ")[0].rpartition(":")[2])
        assert f" {symbol}" in (REPO / path).read_text().splitlines()[line - 1]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_its_commands_are_understood(chapter: Chapter) -> None:
    for command in chapter.commands:
        lab, name, *args = shlex.split(command)
        assert lab == "lab"
        if name == "plan":
            name, *args = args
        kind = flags.config((cli.RECIPES | cli.COMMANDS)[name][0])
        cli.parse(name, type("module", (), {"Config": kind, "__doc__": ""}), args)


def test_every_claim_of_the_card_has_its_chapter() -> None:
    told = [claim for chapter in CHAPTERS for claim in chapter.claims]
    assert sorted(told) == sorted(row.claim for row in ROWS)


def test_the_readme_has_this_map() -> None:
    assert markdown() in (REPO / "README.md").read_text()


def test_the_map_and_a_chapter(here: Here, refused: Refused) -> None:
    said = here("explain")
    assert said.code == 0
    assert all(chapter.key in said.out and chapter.title in said.out for chapter in CHAPTERS)
    one = here("explain", "rlhf")
    assert one.code == 0
    assert "recipes/rlhf.py:" in one.out
    assert "lab rlhf --kl 0" in one.out
    assert "RLHF is gamed: " in one.out
    assert "next: lab explain models" in one.out
    assert here("explain", "--markdown").out.strip() == markdown()
    assert find("move 37").key == "alphago"
    refused("explain", "tokns", says="no chapter tokns; did you mean tokens?")
    refused("explain", "zzz", says="no chapter zzz; there are data, tokens, ")
