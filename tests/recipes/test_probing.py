"""Single probes where they are easily wrong: short contexts, text the model was trained on, verdicts, a killed run."""

import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import lab  # noqa: F401  (OpenBLAS before MLX)
from lab import data, weights
from lab.errors import UserError
from lab.model import Transformer
from lab.runs import inspect, read_json, read_lines
from lab.tokenizer import Tokenizer
from recipes import probes
from recipes.probing import calibration, figures, temperature
from recipes.probing.subject import QUICK, Found, Sizes, open_subject
from tests.conftest import stories
from tests.recipes.conftest import Here, Start, until
from tests.recipes.test_probes import subject_of


@pytest.mark.parametrize(("context", "left_out"), [(12, 4), (2, 4)])
def test_a_model_of_a_short_context_is_probed_with_what_fits(
    here: Here, chat_model: Path, home: Path, tmp_path: Path, context: int, left_out: int
) -> None:
    """The context of a hub model is what its config says."""
    folder = tmp_path / "short"
    shutil.copytree(chat_model, folder)
    config = read_json(folder / "config.json") | {"max_position_embeddings": context}
    (folder / "config.json").write_text(json.dumps(config))
    said = here("probes", "--model", folder, "--quick", "--name", "a")
    assert said.code == 0, said.err
    assert said.out.count(f"left out, a context of {context} tokens is too short for it") == left_out
    found = read_json(home / "a" / probes.RESULTS)["probes"]
    assert set(found) == {"position", "windows", "calibration"}
    assert "instead of" not in said.out  # there is one window length
    assert ("at the window's start" in said.out) == (context > 8)  # positions 0-7 alone show nothing


@pytest.mark.parametrize(
    ("sure", "count", "says"),
    [
        (0.0, 20_000, "can be taken at their word"),
        (0.0, 300, "can be taken at their word"),  # 300 tokens of a perfect model err by more than 0.03
        (0.2, 20_000, "too sure of itself"),
        (-0.2, 20_000, "not sure enough of itself"),
        (None, 20_000, "right on the whole, but not at every probability"),
    ],
)
def test_the_verdict_on_calibration_knows_chance(
    tiny: Transformer, tokenizer: Tokenizer, sure: float | None, count: int, says: str
) -> None:
    """Hits drawn with a known error: all probabilities too high by `sure`, or (None) low ones too low and high too high."""
    r = np.random.default_rng(2)
    top = r.uniform(0.25, 0.75, count)
    wrong = np.where(top > 0.5, 0.2, -0.2) if sure is None else np.full(count, sure)
    hit = r.random(count) < top - wrong
    rows = figures.reliability(top, hit)
    numbers = {
        "tokens": count, "nll": 1.0, "confidence": float(top.mean()), "accuracy": float(hit.mean()),
        "ece": figures.calibration_error(rows), "ece_by_chance": figures.error_by_chance(top),
        "bins": {f"{row.low:.1f}": asdict(row) for row in rows if row.count},
    }  # fmt: skip
    assert count > 300 or numbers["ece"] > 0.03
    said = calibration.tell(subject_of(tiny, tokenizer, stories(9)), {"held_out": Found(numbers)})
    assert says in said.splitlines()[-1]


def test_diversity_does_not_depend_on_how_many_samples_there_are(tiny: Transformer, tokenizer: Tokenizer) -> None:
    made = subject_of(tiny, tokenizer, stories(9))
    one, many = (
        temperature.measure(replace(made, sizes=replace(QUICK, samples=count)), 0.0).numbers for count in (1, 6)
    )
    assert (many["samples"], many["different"]) == (6, 1)
    assert (one["distinct_1"], one["distinct_2"]) == pytest.approx((many["distinct_1"], many["distinct_2"]))


# -- text ----------------------------------------------------------------------------------------------------------


def trained_on(run: Path, folder: Path, column: str = "text") -> None:
    """Make a finished run say that it was trained on this text."""
    passport = read_json(run / "run.json")
    passport["config"] |= {"data": str(folder), "text_column": column}
    (run / "run.json").write_text(json.dumps(passport))


def test_text_that_the_model_was_trained_on_is_called_so(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "valid.txt"):
        (folder / name).write_text("\n\n".join(stories(9)))
    trained_on(tiny_run, folder)
    model = weights.load(tiny_run)

    def named(own: Path) -> str:
        return open_subject(model, str(own), QUICK, 0).text

    known = " (the model was trained on it)"
    assert named(folder / "a.txt") == f"{folder}/a.txt{known}"
    assert named(folder) == str(folder)  # its held-out side
    assert named(folder / "valid.txt") == f"{folder}/valid.txt"
    (tmp_path / "link").symlink_to(folder)
    assert named(tmp_path / "link" / "b.txt").endswith(known)
    shutil.copy(folder / "a.txt", tmp_path / "mine.txt")
    assert named(tmp_path / "mine.txt") == f"{tmp_path}/mine.txt"
    shutil.rmtree(folder)
    assert named(tmp_path / "mine.txt") == f"{tmp_path}/mine.txt"


def test_text_lies_in_the_column_of_the_training_or_the_one_asked_for(
    here: Here, tiny_run: Path, home: Path, tmp_path: Path
) -> None:
    book, told = tmp_path / "book.jsonl", stories(60)
    book.write_text("".join(json.dumps({"body": text, "title": text[:9]}) + "\n" for text in told))
    model, sizes = weights.load(tiny_run), replace(Sizes(), tokens=10**6)
    with pytest.raises(UserError, match=r'no "text" in this row .*--text-column'):
        open_subject(model, str(book), sizes, 0)
    trained_on(tiny_run, book, "body")
    held_out = "".join(text for text, _ in data.source(book, "body").held_out())
    assert model.tokenizer.decode(open_subject(model, str(book), sizes, 0).ids.tolist()) == held_out
    said = here("probes", "--only", "calibration", "--quick", "--data", book, "--text-column", "title", "--name", "a")
    assert said.code == 0, said.err
    assert f"text    {book}\n" in said.out
    titles = open_subject(model, str(book), sizes, 0, "title")
    assert len(titles.ids) < len(open_subject(model, str(book), sizes, 0).ids)
    measured = read_json(home / "a" / probes.RESULTS)["probes"]["calibration"]["held_out"]["tokens"]
    assert measured <= len(titles.ids)


# -- a killed run --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_step_comes_twice_after_a_kill(start: Start, here: Here, chat_model: Path, home: Path) -> None:
    folder = home / "cut"
    process = start("probes", "--model", chat_model, "--quick", "--name", "cut", "--seed", "3")
    until(lambda: "few-shot" in read_json(folder / probes.RESULTS).get("probes", {}))
    until(lambda: inspect(folder).step > 8)  # in the middle of the next
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    first = read_json(folder / probes.RESULTS)["probes"]
    assert len(first) < len(probes.PROBES)
    assert here("probes", "--name", "cut", "--resume").code == 0
    info, rows = inspect(folder), list(read_lines(folder / "metrics.jsonl"))
    steps = [row["step"] for row in rows if "event" not in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == info.step == info.total
    told = [row["probe"] for row in rows if row.get("event") == "probe"]
    assert told == list(read_json(folder / probes.RESULTS)["probes"])
    seen = [row["step"] for row in read_lines(folder / "samples.jsonl")]
    assert seen == sorted(seen)
    assert seen[-1] <= info.total
