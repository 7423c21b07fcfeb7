"""The pocket world: a generated miniature internet. Seeds in, text out; nothing here knows of models."""

from recipes.pocket.arithmetic import sum_question
from recipes.pocket.conflicts import Conflict, conflict_prompt, conflicts
from recipes.pocket.conversations import conversation, transcript
from recipes.pocket.corpus import CHARACTERS, COUNTED, KINDS, corpus, document, validation
from recipes.pocket.decimals import PAIRS, decimal_pair, decimal_question
from recipes.pocket.facts import (
    RELATIONS,
    answers,
    ask,
    chance,
    cloze,
    entities,
    index,
    passage,
    question,
    statement,
)
from recipes.pocket.jokes import joke, joke_prompt, joke_prompts
from recipes.pocket.lists import lists
from recipes.pocket.mappings import RULES, Mapping, mapping
from recipes.pocket.people import Entity, fresh_person
from recipes.pocket.problems import Problem, problem
from recipes.pocket.reading import Reading, fresh_country, fresh_element, reading
from recipes.pocket.seeds import Document, Split, held_out
from recipes.pocket.stories import story
from recipes.pocket.words import word_question, word_solution, words

__all__ = [
    "CHARACTERS",
    "COUNTED",
    "KINDS",
    "PAIRS",
    "RELATIONS",
    "RULES",
    "Conflict",
    "Document",
    "Entity",
    "Mapping",
    "Problem",
    "Reading",
    "Split",
    "answers",
    "ask",
    "chance",
    "cloze",
    "conflict_prompt",
    "conflicts",
    "conversation",
    "corpus",
    "decimal_pair",
    "decimal_question",
    "document",
    "entities",
    "fresh_country",
    "fresh_element",
    "fresh_person",
    "held_out",
    "index",
    "joke",
    "joke_prompt",
    "joke_prompts",
    "lists",
    "mapping",
    "passage",
    "problem",
    "question",
    "reading",
    "statement",
    "story",
    "sum_question",
    "transcript",
    "validation",
    "word_question",
    "word_solution",
    "words",
]
