"""Reinforcement learning as a command: the record, resume bit for bit, tools, prices, what it says when nothing is learnt."""

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest

from lab import chat, episodes, index, weights
from lab.chat import Message
from lab.hub_chat import offering
from lab.marks import marks
from lab.model import Shape, Transformer
from lab.runs import read_lines
from lab.tokenizer import Tokenizer
from recipes import before, demonstrate, grpo, reinforce
from recipes.lessons import solve
from recipes.tasks import POCKET, load_task
from tests.lab.test_chat import CHATML, build_hermes
from tests.recipes.conftest import REPO, Here, Refused, same

FEW = ["--batch-size", "3", "--group-size", "3", "--examine", "2", "--max-tokens", "12", "--steps-per-eval", "2"]


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A reward that nearly every group disagrees on: the share of vowels."""
    file = tmp_path / "vowels.py"
    file.write_text(
        "def reward(prompts, completions, answers):\n"
        "    return [sum(c in 'aeiou' for c in text) / max(1, len(text)) for text in completions]\n"
    )
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Say the word {w}.", "answer": w}) + "\n" for w in "abcdefghijklmnopqrstuvwxyz")
    )
    return file


def rows(run: Path) -> list[dict[str, float]]:
    return [row for row in read_lines(run / "metrics.jsonl") if "loss" in row]


def test_a_run_leaves_its_record_and_each_steps_episodes(here: Here, small: Path, judge: Path, tmp_path: Path) -> None:
    said = here("grpo", "--model", "pocket-sft", "--task", judge, "--data", tmp_path / "rows.jsonl", "--iters", "2",
                "--name", "g", *FEW)  # fmt: skip
    assert said.code == 0, said
    assert "held out: right" in said.out
    found = rows(small / "g")
    assert [row["step"] for row in found] == [1, 2]
    assert {"reward", "pass", "length", "entropy", "all_right", "all_wrong", "truncated", "grad_norm"} <= found[
        0
    ].keys()
    assert episodes.steps(small / "g") == [0, 1, 2]
    before, after = ([row for row in episodes.read(small / "g", step) if row.get("held_out")] for step in (0, 2))
    assert [row["key"] for row in before] == [row["key"] for row in after] != []
    step = list(episodes.read(small / "g", 1))
    assert [(row["group"], row["k"]) for row in step] == [(g, k) for g in range(3) for k in range(3)]
    for row in step:
        assert row["reward"] == pytest.approx(sum(row["parts"].values()))
    for group in episodes.groups(step):
        assert sum(row["advantage"] for row in group) == pytest.approx(0, abs=1e-5)
        rewards = [row["reward"] for row in group]
        assert group[int(np.argmax(rewards))]["advantage"] >= 0
    assert here("chat", "--model", "g", "--help").code == 0
    assert (small / "g" / "model.safetensors").exists()


def test_it_resumes_bit_for_bit_with_the_price_of_divergence(
    here: Here, small: Path, judge: Path, tmp_path: Path
) -> None:
    def run(name: str, *more: str) -> None:
        flags = ["--kl", "0.1", "--kl-target", "0.5", "--save-every", "1", "--keep", "9"]
        said = here("grpo", "--model", "pocket-sft", "--task", judge, "--data", tmp_path / "rows.jsonl", "--name", name,
                    "--iters", "3", *FEW, *flags, *more)  # fmt: skip
        assert said.code == 0, said

    run("whole")
    run("cut")
    for step in (2, 3):  # as a kill after step 1 leaves it
        shutil.rmtree(small / "cut" / "checkpoints" / f"{step:06d}")
    run("cut", "--resume")
    for name in ("model.safetensors", "checkpoints/000003/optimizer.safetensors"):
        same(small / "whole" / name, small / "cut" / name)
    assert len({(small / run / "checkpoints/000003/penalty.json").read_text() for run in ("whole", "cut")}) == 1
    for step in (1, 2, 3):
        a, b = (list(episodes.read(small / name, step)) for name in ("whole", "cut"))
        assert a == b
        assert a[0]["ref_logp"] is not None
    keys = ("step", "reward", "kl", "loss")
    assert [[r[k] for k in keys] for r in rows(small / "whole")] == [[r[k] for k in keys] for r in rows(small / "cut")]
    price = json.loads((small / "whole" / "checkpoints/000003/penalty.json").read_text())["price"]
    assert price != 0.1


def test_adapters_are_trained_alone_and_their_reference_is_the_model_without_them(
    here: Here, small: Path, judge: Path, tmp_path: Path
) -> None:
    said = here("grpo", "--model", "pocket-sft", "--task", judge, "--data", tmp_path / "rows.jsonl", "--iters", "2",
                "--fine-tune-type", "lora", "--kl", "0.1", "--learning-rate", "1e-2", "--name", "l", *FEW)  # fmt: skip
    assert said.code == 0, said
    assert (small / "l" / "adapters.safetensors").exists()
    assert not (small / "l" / "model.safetensors").exists()
    first, second = rows(small / "l")
    assert first["kl"] == pytest.approx(0, abs=1e-3)  # adapters begin at nothing
    assert abs(second["kl"]) > 1e-3


def test_equal_rewards_are_said_and_change_nothing(here: Here, small: Path, tmp_path: Path) -> None:
    file = tmp_path / "same.py"
    file.write_text("def reward(prompts, completions, answers):\n    return [0.0] * len(completions)\n")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Say {i}.", "answer": str(i)}) + "\n" for i in range(40))
    )
    said = here("grpo", "--model", "pocket-sft", "--task", file, "--data", tmp_path / "rows.jsonl", "--iters", "6",
                "--name", "e", *FEW)  # fmt: skip
    assert said.code == 0, said
    assert "Begin above 1 right in 20" in said.out
    assert "nan" not in said.out + said.err  # such a step has no loss, which is shown as a dash
    same(*(small / "e" / "checkpoints" / step / "model.safetensors" for step in ("000000", "000006")))


def test_rejection_keeps_right_replies_once_and_resumes_within_a_round(here: Here, small: Path, tmp_path: Path) -> None:
    file = tmp_path / "short.py"
    file.write_text(
        "def reward(prompts, completions, answers):\n    return [float(len(text) > 2) for text in completions]\n"
    )
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Hello {i}!", "answer": "x"}) + "\n" for i in range(60))
    )

    def run(name: str, *more: str) -> None:
        said = here("rejection", "--model", "pocket-sft", "--task", file, "--data", tmp_path / "rows.jsonl", "--name", name,
                    "--iters", "4", "--steps-per-round", "2", "--rows", "4", "--most", "2", "--save-every", "1", "--keep", "9",
                    "--batch-size", "4", "--group-size", "4", "--examine", "2", "--max-tokens", "40", *more)  # fmt: skip
        assert said.code == 0, said

    run("whole")
    run("cut")
    for step in (2, 3, 4):
        shutil.rmtree(small / "cut" / "checkpoints" / f"{step:06d}")
    run("cut", "--resume")
    same(small / "whole" / "model.safetensors", small / "cut" / "model.safetensors")
    for group in episodes.groups(list(episodes.read(small / "whole", 1))):
        kept = [row for row in group if row["advantage"]]
        assert len(kept) <= 2
        assert all(row["reward"] == 1 and row["stop"] == "end" for row in kept)
        assert len({tuple(row["ids"]) for row in kept}) == len(kept)


def test_bad_flags_are_refused(refused: Refused, small: Path, tmp_path: Path) -> None:
    for flags, says in (
        (["--group-size", "1"], "compared with others"),
        (["--temp", "0"], "greedy"),
        (["--kl-target", "1"], "--kl"),
        (["--task", "nosuch"], "problems"),
        (["--call-price", "-1"], "call-price"),
        (["--truncate", "0.5"], "truncate"),
        (["--replay", "-1"], "replay"),
    ):
        refused("grpo", "--model", "pocket-sft", *flags, says=says)


# -- lessons of before, beside -----------------------------------------------------------------------------------------


def test_beside_a_task_of_the_pocket_world_it_learns_on_what_it_was_taught(
    here: Here, small: Path, judge: Path, tmp_path: Path
) -> None:
    def lost(name: str, *flags: object) -> list[float | None]:
        said = here("grpo", "--model", "pocket-sft", "--iters", "2", "--name", name, *FEW, *flags)
        assert said.code == 0, said
        return [row.get("replay_loss") for row in rows(small / name)]

    told = lost("beside", "--task", "counting", "--replay", "4", "--save-every", "1")
    assert all(loss is not None and 0 < loss < 20 for loss in told), told
    shutil.copytree(small / "beside", small / "cut")
    shutil.rmtree(small / "cut" / "checkpoints" / "000002")
    said = here("grpo", "--name", "cut", "--resume")
    assert said.code == 0, said
    same(small / "beside" / "model.safetensors", small / "cut" / "model.safetensors")
    assert lost("alone", "--task", "counting", "--replay", "0") == [None, None]
    assert lost("own", "--task", judge, "--data", tmp_path / "rows.jsonl", "--replay", "4") == [None, None]
    assert not np.array_equal(*(network_of(small / name) for name in ("beside", "alone")))


def network_of(folder: Path) -> np.ndarray:
    """Its embeddings."""
    return np.array(weights.load(str(folder)).network.model.embed_tokens.weight)


def test_what_the_task_is_about_is_not_demonstrated_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped line, whose stages were taught all of these."""
    monkeypatch.setenv("LAB_HOME", str(REPO / "weights"))
    model = weights.load(str(REPO / "weights" / "pocket-rlhf"))
    found = marks(model.tokenizer)
    pairs = {"think": found.think, "search": found.search, "code": found.code}

    def opened(but: before.Skill) -> dict[str, int]:
        drawn = before.school(model, but).draw(0, 1, 200)
        return {name: sum(pair[0] in one.ids for one in drawn) for name, pair in pairs.items() if pair}

    whole = opened("")
    assert whole.keys() == pairs.keys()
    assert min(whole.values()) > 10, whole
    for but, none in (("solving", "think"), ("computing", "code")):
        told = opened(but)
        assert [name for name in told if not told[name]] == [none], (but, told)


def test_when_to_search_is_not_demonstrated_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only lookups that a person asks for are: they say how, and nothing about when."""
    monkeypatch.setenv("LAB_HOME", str(REPO / "weights"))
    model = weights.load(str(REPO / "weights" / "pocket-search"))
    opens = marks(model.tokenizer).search
    assert opens
    said = [
        model.tokenizer.decode(one.ids)
        for one in before.school(model, "knowing").draw(0, 1, 300)
        if opens[0] in one.ids
    ]
    assert len(said) > 20
    asking = ("look it up", "search for it", "look this up")
    assert all(any(words in one.lower() for words in asking) for one in said)


def test_every_task_of_the_pocket_world_says_what_it_is_about() -> None:
    assert grpo.ABOUT.keys() == POCKET.keys()


def test_a_model_that_our_lessons_never_taught_is_not_taught_them(here: Here, small: Path) -> None:
    base = weights.load(str(small / "pocket-base"))
    assert before.rehearsal(base, 0, 8) is None
    taught = weights.load(str(small / "pocket-sft"))
    assert before.rehearsal(taught, 0, 0) is None
    assert before.rehearsal(taught, 0, 8) is not None


# -- the pocket's own tasks ---------------------------------------------------------------------------------------------


def test_a_pocket_reply_is_right_only_as_the_whole_answer() -> None:
    task = load_task("problems")
    one = task.problem(3)
    tries = {one.answer: 1, f"{one.answer}.": 1, f" {one.answer}. ": 1, f"{one.answer} + 1 is {one.answer}.": 0, "": 0,
             f"{one.answer}0": 0, f"It is {one.answer}": 0}  # fmt: skip
    for text, right in tries.items():
        score = task.judge([one], [{"role": "assistant", "content": text}])[0]
        assert score.value == right, text


def test_styles_are_read_off_a_reply() -> None:
    for i, style in enumerate(solve.STYLES):
        shares = [float(i == k) for k in range(3)]
        for seed in range(20):
            talk = solve.lesson(Random(seed), shares)
            assert solve.style(talk[1]) == style
            one = load_task("problems").judge([POCKET["problems"].problem(seed)], [talk[1]])[0]
            assert one.notes[f"style {style}"] == 1


def test_no_problem_is_both_trained_and_held_out() -> None:
    for name in POCKET:
        trained = {POCKET[name].problem(i).key for i in range(2000)}
        assert not trained & {POCKET[name].held_out(i).key for i in range(400)}, name


def test_countdowns_come_out() -> None:
    for seed in range(200):
        numbers, target, found = solve.countdown(Random(seed))
        assert sorted(map(int, found.replace("+", " ").replace("-", " ").replace("*", " ").split())) == sorted(numbers)
        assert eval(found) == target  # of our own making
    assert any(solve.tries(solve.countdown_lesson(Random(s), 0.9)[1]) for s in range(5))


def test_several_updates_on_the_same_replies_are_clipped_and_say_so(
    here: Here, small: Path, judge: Path, tmp_path: Path
) -> None:
    common = ["grpo", "--model", "pocket-sft", "--task", judge, "--data", tmp_path / "rows.jsonl", "--iters", "2", *FEW]
    for name, more in (
        ("fresh", ()),
        ("again", ("--inner-steps", "3", "--learning-rate", "0.01")),
        ("cut", ("--truncate", "2")),
    ):
        assert here(*common, "--name", name, *more).code == 0
    assert "clip_fraction" not in rows(small / "fresh")[0]
    assert all(0 < row["clip_fraction"] <= 1 for row in rows(small / "again"))
    assert all(row["gap"] <= 2e-5 for row in rows(small / "cut"))  # fp32: sampler and trainer agree
    assert rows(small / "cut")[0]["grad_norm"] == pytest.approx(rows(small / "fresh")[0]["grad_norm"], rel=1e-3)


def test_figures_by_hand() -> None:
    from lab.rollout import Episode
    from lab.samples import Sample
    from lab.task import Problem, Score, asked

    def one(correct: float, style: str, tokens: int) -> Episode:
        sample = Sample(
            np.zeros(tokens + 1, np.int32),
            np.array([0] + [1] * tokens, np.float32),
            np.array([0] + [-0.5] * tokens, np.float32),
        )
        notes = {f"style {s}": float(s == style) for s in ("direct", "prose")}
        return Episode(
            Problem("k", asked("?")),
            0,
            sample,
            1,
            {"role": "assistant", "content": ""},
            Score({"correct": correct}, notes),
            "end",
        )

    nobody = one(0, "direct", 2)
    nobody.score = Score(None)  # what could not be judged is neither right nor wrong
    told = reinforce.figures([[one(1, "direct", 2), nobody], [nobody, nobody], [one(0, "direct", 2), nobody]])
    assert (told["pass"], told["all_right"], told["all_wrong"], told["unscored"]) == (0.5, 0.5, 0.5, 4 / 6)
    told = reinforce.figures([[one(1, "direct", 2), one(0, "direct", 2)], [one(1, "prose", 10), one(1, "prose", 10)]])
    assert told["pass"] == 0.75
    assert told["pass@2"] == 1
    assert told["all_right"] == 0.5
    assert told["length"] == 6
    assert told["entropy"] == pytest.approx(0.5)
    assert told["right direct"] == 0.5
    assert told["length prose"] == 10
    assert grpo.priced(one(1, "direct", 2), 0.1).value == 1


@pytest.mark.parametrize("tools", [("code",), ("search", "code"), ()])
def test_a_model_that_calls_by_json_is_told_of_its_tools_in_training_as_in_a_chat(
    home: Path, tmp_path: Path, tools: tuple[str, ...]
) -> None:
    tokenizer = Tokenizer.load(build_hermes(tmp_path / "hermes", CHATML))
    network = Transformer(Shape(tokenizer.vocab_size, 32, 1, 2, 2, 16, 64))
    network.initialise(0)
    weights.save(home / "hermes", network, tokenizer)
    index.build(tmp_path / "notes.db", [("Ada", "Ada flies a kite.")])
    config = grpo.Config(
        model="hermes", search=str(tmp_path / "notes.db") if "search" in tools else None, code="code" in tools
    )
    model = reinforce.opened(config)
    asked: list[Message] = [{"role": "user", "content": "Who flies a kite?"}]
    said = model.tokenizer.decode(chat.prompt(model.tokenizer, asked), specials=True)
    assert [name for name in ("search", "code") if f'"name": "{name}"' in said] == list(tools)
    with reinforce.toolbox(config, model) as box:
        assert chat.prompt(model.tokenizer, asked) == chat.prompt(offering(tokenizer, tools), asked)
        assert bool(box.banned) or not tools


@pytest.mark.parametrize("recipe", ["grpo", "rejection", "demonstrate"])
def test_plans(here: Here, small: Path, recipe: str) -> None:
    flags = ["--batch-size", "4"] + ([] if recipe == "demonstrate" else ["--group-size", "3", "--max-tokens", "12"])
    said = here("plan", recipe, "--model", "pocket-sft", "--json", *flags)
    told = {row["event"]: row for row in map(json.loads, said.out.splitlines())}
    assert told["plan"]["steps"] == (demonstrate.ITERS if recipe == "demonstrate" else reinforce.ITERS)
    assert told["plan"]["memory"]["need"] > 4 * told["plan"]["parameters"]
    assert told["plan"]["disk"]["need"] > 0
    parts = {"grpo": {"steps", "looks", "start"}, "rejection": {"rounds", "steps", "looks", "start"}}
    assert parts.get(recipe, {"steps"}) <= set(told["time"]["parts"])
    assert 1 < told["time"]["seconds"] < 3600
