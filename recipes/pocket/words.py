"""Letters in words: spelling, counting, length, first and last."""

from __future__ import annotations

from random import Random

from recipes.pocket.seeds import Document, Split, generator, held_out, wanted
from recipes.pocket.vocabulary import EVERYDAY, invented_word

TASKS = ("count", "length", "first", "last", "spell")


def words(split: Split) -> list[str]:
    """The everyday words of the split."""
    return [word for word in EVERYDAY if wanted(word, split)]


_TRAIN = words("train")
_TEST = words("test")


def spelled(word: str) -> str:
    """The letters one by one."""
    return " ".join(word)


def tally(word: str, letter: str) -> str:
    """The letters one by one; those that match carry their running number."""
    seen, parts = 0, []
    for one in word:
        seen += one == letter
        parts.append(f"{one}{seen}" if one == letter else one)
    return " ".join(parts)


def _letter(r: Random, word: str) -> str:
    # Half of the questions are about a letter that occurs more than once, where there is one.
    repeated = sorted({one for one in word if word.count(one) > 1})
    if repeated and r.random() < 0.5:
        return r.choice(repeated)
    return r.choice(word) if r.random() < 0.75 else r.choice("abcdefghijklmnoprstuvwy")


def _question(r: Random, word: str, task: str) -> tuple[str, str, str]:
    """Question, worked letters, answer."""
    if task == "count":
        letter = _letter(r, word)
        asked = f"How many times does the letter {letter} occur in {word}?"
        return asked, tally(word, letter), str(word.count(letter))
    if task == "length":
        numbered = " ".join(f"{one}{i}" for i, one in enumerate(word, 1))
        return f"How many letters does {word} have?", numbered, str(len(word))
    if task == "first":
        return f"What is the first letter of {word}?", spelled(word), word[0]
    if task == "last":
        return f"What is the last letter of {word}?", spelled(word), word[-1]
    return f"How do you spell {word}?", spelled(word), spelled(word)


def word_question(
    seed: int, split: Split = "test", task: str = "count", steps: bool = False, word: str | None = None
) -> tuple[str, str]:
    """Prompt and answer; with steps the prompt asks for the letters first and the answer still is the bare one."""
    r = generator(f"word:{split}:{task}", seed)
    asked, _, answer = _question(r, word or r.choice(_TRAIN if split == "train" else _TEST), task)
    return f"Question: {asked} {'Step by step:' if steps else 'Answer:'}", answer


def word_solution(prompt: str) -> str:
    """What follows a prompt of word_question that asks for steps: the letters, then the answer."""
    asked = prompt.removeprefix("Question: ").removesuffix(" Step by step:")
    parts = asked.rstrip("?.").split()
    if asked.startswith("How many times"):
        letter, word = parts[6], parts[-1]
        return f"{tally(word, letter)}. Answer: {word.count(letter)}."
    if asked.startswith("How many letters"):
        word = parts[4]
        return f"{' '.join(f'{one}{i}' for i, one in enumerate(word, 1))}. Answer: {len(word)}."
    word = parts[-1]
    answer = spelled(word) if parts[0] == "How" else word[0] if "first" in parts else word[-1]
    return f"{spelled(word)}. Answer: {answer}."


def word_document(seed: int) -> Document:
    """Two or three questions or statements about the letters of words; a third of the words are invented."""
    r = generator("words", seed)
    lines = []
    for _ in range(r.choice((2, 3))):
        word = r.choice(_TRAIN)
        if r.random() < 0.33:
            # Invented words teach the letters inside pieces that no everyday word shows.
            while held_out(word := invented_word(r) + (invented_word(r) if r.random() < 0.5 else "")):
                pass
        task = r.choices(TASKS, (45, 12, 8, 8, 5))[0] if r.random() < 0.75 else ""
        if not task:
            lines.append(f"The word {word} is spelled {spelled(word)}.")
            continue
        asked, worked, answer = _question(r, word, task)
        steps = task in ("count", "length") and r.random() < 0.5
        lines.append(f"Question: {asked} " + (f"Step by step: {worked}. " if steps else "") + f"Answer: {answer}.")
    return Document(" ".join(lines), "words")
