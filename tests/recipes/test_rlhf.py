"""RLHF as a command: the record, what is held out, penalties, resume bit for bit, gold that measures and trains nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import episodes, reward, weights
from lab.calls import Toolbox
from lab.kl import Penalty
from lab.learn import Learner, Schedule
from lab.loss import logprobs, policy_gradient
from lab.rankings import Ranking, held_out, key_of
from lab.reward import RewardModel, Scorer
from lab.runs import find, inspect, read_json, read_lines
from lab.samples import bucketed
from lab.task import Score
from recipes import gold_judge, reinforce, rlhf, taste
from recipes.pocket.jokes import joke, joke_prompts
from recipes.rlhf import Look, best, over
from tests.recipes.conftest import Here, Refused, same

FEW = ["--batch-size", "3", "--group-size", "3", "--examine", "2", "--max-tokens", "16", "--steps-per-eval", "2"]


def judge(folder: Path, members: int = 1) -> Path:
    """A reward model nobody trained: the shipped assistant's body, and heads that like something or other."""
    model = weights.load("pocket-sft")
    scorers = [Scorer(model.network, seed) for seed in range(members)]
    rm = RewardModel(model, scorers, about={"policy": "pocket-sft"})
    rm.normalise([rm.encode(prompt.replace(":", "."), text) for prompt, text in map(joke, range(24))])
    shutil.copytree(find("pocket-sft")[0], folder)
    for k in range(1, members):
        reward.member_folder(folder, k).mkdir()
        shutil.copy(folder / "model.safetensors", reward.member_folder(folder, k))
    rm.save_heads(folder)
    return folder


@pytest.fixture
def taste_of(small: Path) -> Path:
    """A reward model called `taste` beside the shipped assistant."""
    return judge(small / "taste")


def rows(run: Path, key: str = "loss") -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if key in row and "event" not in row]


def events(run: Path, name: str) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if row.get("event") == name]


def learn(here: Here, name: str, *more: str) -> str:
    said = here("rlhf", "--reward", "taste", "--name", name, *FEW, *more)
    assert said.code == 0, said
    return said.out


# -- the record --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_record(here: Here, small: Path, taste_of: Path) -> None:
    said = learn(here, "r", "--iters", "3", "--max-tokens", "14")
    run = small / "r"
    assert "most overrated: proxy" in said
    assert "held out: proxy" in said
    found = rows(run)
    assert [row["step"] for row in found] == [1, 2, 3]
    drawn = {key for chart in rlhf.CHARTS for key in chart["keys"]}
    logged = {key for row in read_lines(run / "metrics.jsonl") for key in row}
    assert drawn - {"spread", "held_spread"} <= logged
    assert not logged & {"pass", "held_pass", "all_right"}  # a taste knows no right and wrong
    assert found[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert abs(found[-1]["kl"]) > 1e-5
    seen = rows(run, "held_reward")
    assert [row["step"] for row in seen] == [0, 2, 3]
    (end,) = events(run, "report")
    assert end["best_gold"] == max(row["held_gold"] for row in seen)
    assert f"{end['best_step']:06d}" == (run / "best").read_text().strip()
    assert find("r@best")[1] == run / "checkpoints" / f"{end['best_step']:06d}"
    assert weights.load("r@best").chats
    gaps = events(run, "gap")
    assert [row["step"] for row in gaps] == [0, 2, 3]
    for row in gaps:
        assert row["gold"] == gold_judge.scores(row["prompt"], [row["text"]])[0]


def test_its_episodes_hold_proxy_gold_and_text(here: Here, small: Path, taste_of: Path) -> None:
    learn(here, "r", "--iters", "2", "--missing-end", "1.5")
    step = [row for row in episodes.read(small / "r", 2) if not row.get("held_out")]
    assert len(step) == 9
    rm = reward.load("taste")
    for row in step:
        prompt = row["messages"][0]["content"]
        assert row["notes"]["gold"] == gold_judge.scores(prompt, [row["said"]])[0]
        if row["stop"] == "end":
            assert row["parts"] == {
                "score": pytest.approx(float(rm.scores([rm.encode(prompt, row["said"])])[0]), abs=1e-4)
            }
        else:
            assert row["parts"] == {"no END": -1.5}
        assert row["reward"] == pytest.approx(sum(row["parts"].values()))
    assert {row["stop"] for row in step} == {"end", "length"}
    for group in episodes.groups(step):
        # what is compared is the score less the price of the divergence, summed over drawn tokens
        earned = [row["reward"] - 0.05 * float(np.array(row["drawn"]) @ (np.array(row["logp"]) - np.array(row["ref_logp"])))
                  for row in group]  # fmt: skip
        np.testing.assert_allclose([row["advantage"] for row in group], np.array(earned) - np.mean(earned), atol=1e-3)
    told = rows(small / "r")[-1]
    assert told["gold"] == pytest.approx(np.mean([row["notes"]["gold"] for row in step]))
    assert told["reward"] == pytest.approx(np.mean([row["reward"] for row in step]))


def test_it_resumes_bit_for_bit_with_best_and_the_price(here: Here, small: Path, taste_of: Path) -> None:
    flags = ["--iters", "4", "--kl-target", "0.2", "--kl-horizon", "50", "--save-every", "1", "--keep", "9"]
    learn(here, "whole", *flags)
    learn(here, "cut", *flags)
    for step in (3, 4):  # as a kill after step 2 leaves it
        shutil.rmtree(small / "cut" / "checkpoints" / f"{step:06d}")
    said = here("rlhf", "--name", "cut", "--resume")
    assert said.code == 0, said
    for name in ("model.safetensors", "checkpoints/000004/optimizer.safetensors"):
        same(small / "whole" / name, small / "cut" / name)
    whole, cut = small / "whole", small / "cut"
    assert (whole / "best").read_text() == (cut / "best").read_text()
    keys = ("step", "reward", "gold", "kl", "kl_price", "held_gold", "text")
    both = [[{k: row.get(k) for k in keys} for row in read_lines(run / "metrics.jsonl")
             if row.get("event") not in ("resume", "checkpoint")] for run in (whole, cut)]  # fmt: skip
    assert both[0] == both[1]
    prices = [row["kl_price"] for row in rows(whole)]
    assert prices[0] == 0.05
    assert len(set(prices)) == 4


# -- gold --------------------------------------------------------------------------------------------------------------


def test_gold_trains_nothing(here: Here, small: Path, taste_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gold: the same weights, rewards and texts, bit for bit; only what is called best differs."""
    learn(here, "one", "--iters", "2")
    turned = gold_judge.scores
    monkeypatch.setattr(gold_judge, "scores", lambda prompt, said: -3 * turned(prompt, said))
    learn(here, "other", "--iters", "2")
    for name in ("model.safetensors", "checkpoints/000002/optimizer.safetensors"):
        same(small / "one" / name, small / "other" / name)
    told = [[(row["step"], row["reward"], row["kl"]) for row in rows(small / run)] for run in ("one", "other")]
    assert told[0] == told[1]
    a, b = (rows(small / run)[-1]["gold"] for run in ("one", "other"))
    assert a == pytest.approx(-b / 3)


def test_gains_are_measured_in_the_spread_of_many_replies_of_the_start(
    here: Here, small: Path, taste_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply that rambles is worth so little that it decides what the spread of a look is."""
    judge, said = gold_judge.scores, list[float]()
    monkeypatch.setattr(gold_judge, "scores", lambda *asked: (said.append(float(judge(*asked)[0])), judge(*asked))[1])
    learn(here, "r", "--iters", "1", "--examine", "2")
    a_look = 2 * reinforce.LOOKS
    many = said[a_look : a_look * (1 + rlhf.START)]  # behind those of the look itself
    first, last = rows(small / "r", "held_reward")
    assert (first["held_gold"], first["held_gold_std"]) == pytest.approx((np.mean(many), np.std(many)))
    (end,) = events(small / "r", "report")
    assert end["gold_gain"] == pytest.approx((last["held_gold"] - np.mean(many)) / np.std(many))
    assert last["held_gold"] == pytest.approx(np.mean(said[-a_look:]))


def test_it_ends_when_gold_falls_and_keeps_the_best(
    here: Here, small: Path, taste_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(gold_judge, "scores", lambda prompt, said: np.array([-float(next(clock))]))
    flags = ["--iters", "9", "--steps-per-eval", "1", "--patience", "2", "--keep", "1", "--examine", "1"]
    said = learn(here, "r", *flags)
    assert "step 2: ends here, gold was best at step 0, 2 looks ago" in said
    run = small / "r"
    info = inspect(run)
    assert (info.state, info.step, info.total) == ("done", 2, 2)
    assert (run / "best").read_text().strip() == "000000"
    assert {f.name for f in (run / "checkpoints").iterdir()} == {"000000", "000002"}  # the best stays
    assert events(run, "end")[0]["step"] == 2
    again = here("rlhf", "--name", "r", "--resume")
    assert again.code == 0, again
    assert inspect(run).step == 2  # it has ended, and does not go on


def test_it_ends_when_it_has_gone_too_far(here: Here, small: Path, taste_of: Path) -> None:
    flags = ["--iters", "6", "--steps-per-eval", "6", "--max-kl", "1e-9", "--learning-rate", "3e-3"]
    said = learn(here, "r", *flags)
    assert "more than --max-kl 1e-09" in said
    last = rows(small / "r")[-1]
    assert last["step"] < 6
    assert "held_gold" in last  # what it ends with is looked at
    assert last["kl"] > 1e-9


def test_when_to_end_and_which_is_best() -> None:
    def looks(*gold: float) -> list[Look]:
        return [Look(10 * i, 0.0, g, 0.0) for i, g in enumerate(gold)]

    config = rlhf.Config(patience=2, max_kl=5.0)
    assert over(config, looks(1, 2, 3), 1.0) == ""
    assert over(config, looks(1, 3, 2), 1.0) == ""
    assert "best at step 10, 2 looks ago" in over(config, looks(1, 3, 2, 1), 1.0)
    assert "best at step 10" in over(config, looks(1, 3, 2, 3), 1.0)  # as good is not better
    assert over(rlhf.Config(), looks(3, 2, 1, 0, 0, 0), 99.0) == ""
    assert "more than --max-kl 5" in over(config, looks(1, 2, 3), 5.1)
    unknown = float("nan")
    assert best(looks(unknown, unknown)) is None
    assert over(config, looks(unknown, unknown, unknown, unknown), 1.0) == ""
    found = best(looks(1, unknown, 2, 2))
    assert found is not None
    assert found.step == 20


# -- the judge ---------------------------------------------------------------------------------------------------------


def test_no_prompt_is_both_asked_and_held_out(small: Path, taste_of: Path, tmp_path: Path) -> None:
    rm, model = reward.load("taste"), weights.load("pocket-sft")
    task = taste.opened(rm, model, None)
    first = {task.problem(i).key for i in range(len(task.train))}
    assert (
        len(first) == len(task.train) == len({task.problem(i).key for i in range(len(task.train), 2 * len(task.train))})
    )
    apart = {task.held_out(i).key for i in range(len(task.apart))}
    assert not first & apart
    assert apart == {key_of(prompt.replace(":", ".")) for prompt in joke_prompts("test")}
    with pytest.raises(LookupError):
        task.held_out(len(task.apart))

    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {i}."}) + "\n" for i in range(60)) + "{}\n")
    own = taste.opened(rm, model, str(file))
    assert len(own.train) + len(own.apart) == 60
    for side, held in ((own.train, False), (own.apart, True)):  # as rankings of these prompts are split
        assert all(held_out(Ranking(taste.prompt_of(one), ["a", "b"], [0, 1])) == held for one in side)


def test_scores_are_those_of_the_reward_model_less_what_its_members_differ(small: Path) -> None:
    judge(small / "two", members=2)
    rm, model = reward.load("two"), weights.load("pocket-sft")
    task = taste.opened(rm, model, None, pessimism=0.7)
    problems = [task.problem(i) for i in range(3)]
    texts = ["The cow went home.", "A sock, a sock.", "word " * 3000]
    found = task.judge(problems, [{"role": "assistant", "content": text} for text in texts])
    for one, text, score in list(zip(problems, texts, found, strict=True))[:2]:
        each = rm.each([rm.encode(taste.prompt_of(one), text)])[:, 0]
        assert score.value == pytest.approx(float(each.mean() - 0.7 * each.std()), abs=1e-4)
        assert score.notes["spread"] == pytest.approx(float(each.std()), abs=1e-4)
    assert found[2] == Score(None)  # it does not fit into the context: no score, which is not 0


def test_a_step_makes_what_the_reward_model_likes_likelier(here: Here, small: Path, taste_of: Path) -> None:
    """The sign: Ziegler et al. 2019, section 4.4, tell of a flipped one."""
    model, rm = weights.load("pocket-sft"), reward.load("taste")
    config = rlhf.Config(batch_size=2, group_size=4, max_tokens=16, kl=0.0)
    task = taste.opened(rm, model, None)
    with Toolbox(model.tokenizer, []) as tools:
        groups = reinforce.replies(config, model, task, [task.problem(0), task.problem(1)], 4, "1", tools)
        ones = [one for group in groups for one in group]
        for one in ones:
            one.score = taste.ended(one, 1.0)
        for group in groups:
            values = [float(one.score.value or 0) for one in group]
            for one, value in zip(group, values, strict=True):
                one.advantage = value - float(np.mean(values))
        was = said(model, ones)

        learner = Learner(model.network, Schedule(3e-4, 1, 0), "adamw")
        pad = model.tokenizer.pad or 0
        learner.step(1, bucketed([one.sample.weighted(one.advantage) for one in ones], pad), policy_gradient())
    change = said(model, ones) - was
    advantages = np.array([one.advantage for one in ones])
    assert (change * advantages).sum() > 0
    assert change[np.argmax(advantages)] > 0 > change[np.argmin(advantages)]


def said(model: Any, ones: Any) -> np.ndarray:
    """log p of each reply."""

    found = logprobs(model.network, [one.sample for one in ones], 0)
    return np.array([float((lp * one.sample.weight).sum()) for lp, one in zip(found, ones, strict=True)])


def test_the_price_follows_the_published_controller() -> None:
    """Ziegler et al. 2019, section 2.2: e = clip((KL - target) / target, -.2, .2), beta *= 1 + K e, K = n / horizon."""
    penalty = Penalty(0.15, target=6.0, horizon=10_000)
    penalty.update(12.0, 256)
    assert penalty.price == pytest.approx(0.15 * (1 + 0.2 * 0.0256))
    penalty.update(5.4, 256)
    assert penalty.price == pytest.approx(0.15 * (1 + 0.2 * 0.0256) * (1 - 0.1 * 0.0256))
    fixed = Penalty(0.15)
    fixed.update(99.0, 256)
    assert fixed.price == 0.15


# -- your own ----------------------------------------------------------------------------------------------------------


def test_own_prompts_adapters_and_a_model_that_measures(
    here: Here, small: Path, taste_of: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"prompt": f"Say {i}."}) + "\n" for i in range(40)))
    flags = ["--data", "own.jsonl", "--fine-tune-type", "lora", "--learning-rate", "1e-2", "--iters", "2"]
    learn(here, "l", *flags, "--gold", "pocket-base", "--patience", "3")
    run = small / "l"
    assert (run / "adapters.safetensors").exists()
    seen = rows(run, "held_reward")
    assert seen[0]["held_gold"] == 0.5  # the start against itself
    assert 0 <= seen[-1]["held_gold"] <= 1
    assert "gold" not in rows(run)[0]
    assert len(read_json(run / "start.json")["replies"]) == 2
    learn(here, "n", *flags)
    assert not (run.parent / "n" / "best").exists()  # nobody measured
    assert "held_gold" not in rows(small / "n", "held_reward")[0]


def test_refusals(refused: Refused, small: Path, taste_of: Path, tmp_path: Path) -> None:
    refused("rlhf", "--reward", "pocket-sft", says="pocket-sft: is no reward model")
    refused("rlhf", "--reward", "taste", "--kl", "-1", says="--kl -1.0: must be 0 or above")
    refused("rlhf", "--reward", "taste", "--kl", "0", "--kl-target", "3", says="--kl-target moves the price --kl")
    refused("rlhf", "--reward", "taste", "--pessimism", "1", says="has one member, so nothing differs")
    refused("rlhf", "--reward", "taste", "--group-size", "1", says="give 2 or more")
    refused("rlhf", "--reward", "taste", "--model", "pocket-base", says="has no chat template")
    (tmp_path / "own.jsonl").write_text('{"prompt": "One."}\n')
    refused("rlhf", "--reward", "taste", "--data", "own.jsonl", says="prompts to train on, .* held out")
    refused("rlhf", "--reward", "taste", "--data", "own.jsonl", "--patience", "2", says="name a model with --gold")
    shutil.rmtree(small / "taste")
    refused("rlhf", says="no reward model yet")


def test_plans(here: Here, small: Path, taste_of: Path) -> None:
    out = here("plan", "rlhf", "--reward", "taste", "--json", *FEW).out
    told = {row["event"]: row for row in map(json.loads, out.splitlines())}
    assert told["plan"]["steps"] == reinforce.ITERS
    assert told["plan"]["facts"]["judge"] == "taste, 1 member"
    assert told["plan"]["facts"]["prompts"].startswith("1,440, 3 a step, 3 replies each; held out 160")
    assert told["plan"]["memory"]["need"] > 4 * told["plan"]["parameters"]
    assert 1 < told["time"]["seconds"] < 3600
    assert set(told["time"]["parts"]) == {"steps", "looks", "start's replies", "start"}
