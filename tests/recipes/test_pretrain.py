"""The pretraining recipe from the outside: its record, its numbers, its promises about words and passes."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UserError
from lab.loss import Batch, nll
from lab.runs import checkpoints, inspect, read_json, read_lines
from recipes import pretrain
from recipes.cli import main
from tests.conftest import TINY, Lab


def test_a_short_run_on_text_leaves_a_whole_record(cli: Lab, home: Path, text_file: Path) -> None:
    done = cli("pretrain", "--data", text_file, "--iters", "40", "--steps-per-eval", "20", "--name", "t", *TINY)
    assert done.returncode == 0, done.stderr
    rows = list(read_lines(home / "t" / "metrics.jsonl"))
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 40
    assert losses[0] == pytest.approx(math.log(384), abs=0.05)
    assert losses[-1] < losses[0] - 1
    watched = [(row["step"], row["bits_per_byte"]) for row in rows if "bits_per_byte" in row]
    assert [step for step, _ in watched] == [0, 20, 40]
    assert watched[-1][1] < watched[0][1] / 1.5
    assert {row["step"] for row in read_lines(home / "t" / "samples.jsonl")} == {0, 20, 40}
    info = inspect(home / "t")
    assert info.state == "done"
    assert info.headline.endswith("bits/byte")
    assert "ln V = 5.951" in done.stdout
    assert "lab chat --model t" in done.stdout
    assert read_json(home / "t" / "run.json")["config"]["iters"] == 40
    said = cli("generate", "--model", "t", "-p", "Ada took a", "--max-tokens", "20", "--seed", "1")
    assert said.returncode == 0
    assert said.stdout.startswith("Ada took a")


def test_one_pass_is_the_default_and_the_text_is_tokenised_once(cli: Lab, home: Path, text_file: Path) -> None:
    for name in ("one", "two"):
        assert cli("pretrain", "--data", text_file, "--name", name, *TINY).returncode == 0
    cached = list((home / ".cache" / "tokens").iterdir())
    assert len(cached) == 2  # training and held-out text, shared by both runs
    tokens = json.loads((cached[0] / "meta.json").read_text())
    assert tokens["documents"] > 0
    assert (home / "one" / "model.safetensors").stat().st_size == (home / "two" / "model.safetensors").stat().st_size
    total = inspect(home / "one").total
    assert total > 20
    assert inspect(home / "two").total == total


def test_mix_is_read_and_refused_in_words() -> None:
    assert pretrain.parse_mix("stories=2, jokes=0") == {"stories": 2.0, "jokes": 0.0}
    for bad, said in (
        ("storys=1", "did you mean stories"),
        ("jokes=x", "write a number"),
        ("jokes=-1", "between 0 and 100"),
    ):
        with pytest.raises(UserError, match=said):
            pretrain.parse_mix(bad)


def test_the_dial_and_its_overrides() -> None:
    assert pretrain.shape(pretrain.Config(), 2560).parameters == 1_508_736
    wide = pretrain.shape(pretrain.Config(width=192, qk_norm=False, tie=True), 2560)
    assert (wide.hidden_size, wide.num_attention_heads, wide.head_dim, wide.intermediate_size) == (192, 6, 32, 576)
    with pytest.raises(UserError, match="does not divide"):
        pretrain.shape(pretrain.Config(width=100, heads=3), 2560)


@pytest.mark.slow
def test_the_pocket_world_trains_and_sits_its_exam(cli: Lab, home: Path) -> None:
    done = cli("pretrain", "--iters", "20", "--name", "p", timeout=300)
    assert done.returncode == 0, done.stderr
    report = next(row for row in read_lines(home / "p" / "metrics.jsonl") if row.get("event") == "report")
    assert report["ln_v"] - 0.3 < report["first_loss"] < report["ln_v"] + 0.02  # two heads copy from the start
    assert report["ln_v"] == pytest.approx(math.log(2560))
    assert 0 <= report["recall_100"] <= 1
    for told in ("100x", " 30x", "  0x", "two sources at 9:1", "sums never shown", "never told, and answered"):
        assert told in done.stdout


def test_not_a_number_stops_and_keeps_the_last_good_checkpoint(
    home: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The eleventh loss is made infinite; real divergence looks the same to the learner."""
    calls = 0

    def fragile(model: Any, batch: Batch) -> Any:
        nonlocal calls
        calls += 1
        total, count = nll(model, batch)
        return (total * math.inf if calls == 11 else total), count

    monkeypatch.setattr(pretrain, "nll", fragile)
    argv = ["pretrain", "--data", str(text_file), "--iters", "30", "--save-every", "4", "--name", "n", *TINY]
    assert main(argv) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "step 11" in said
    assert "step 8" in said
    assert "--learning-rate" in said
    assert [int(c.name) for c in checkpoints(home / "n")][-1] == 8
    assert inspect(home / "n").state == "failed"
    monkeypatch.undo()
    monkeypatch.setenv("LAB_HOME", str(home))
    assert main(["pretrain", "--name", "n", "--resume"]) == 0
    assert [row["step"] for row in read_lines(home / "n" / "metrics.jsonl") if "loss" in row] == list(range(1, 31))


def test_resume_from_the_first_checkpoint_doubles_nothing(home: Path, text_file: Path) -> None:
    argv = ["pretrain", "--data", str(text_file), "--iters", "8", "--name", "z", *TINY]
    assert main(argv) == 0
    for checkpoint in checkpoints(home / "z")[1:]:
        shutil.rmtree(checkpoint)
    assert main(["pretrain", "--name", "z", "--resume"]) == 0
    rows = list(read_lines(home / "z" / "metrics.jsonl"))
    assert [row["step"] for row in rows if "bits_per_byte" in row] == [0, 8]
    assert [row["step"] for row in read_lines(home / "z" / "samples.jsonl")] == [0, 8]


def test_resume_refuses_a_text_that_has_changed(
    home: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["pretrain", "--data", str(text_file), "--iters", "4", "--name", "c", *TINY]
    assert main(argv) == 0
    weights_before = (home / "c" / "model.safetensors").read_bytes()
    tokenizer_before = (home / "c" / "tokenizer.model").read_bytes()
    text_file.write_text(text_file.read_text() + "\n\nSomething quite different.")
    assert main(["pretrain", "--name", "c", "--resume"]) == 2
    assert "the text has changed" in capsys.readouterr().err
    assert (home / "c" / "model.safetensors").read_bytes() == weights_before
    assert (home / "c" / "tokenizer.model").read_bytes() == tokenizer_before


def test_mix_goes_with_the_pocket_world_only(text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--data", str(text_file), "--mix", "jokes=0"]) == 2
    assert "leave it out" in capsys.readouterr().err
