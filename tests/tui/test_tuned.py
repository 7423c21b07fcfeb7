"""What Chat keeps to tune a model on, and Train over a run that did."""

import re
from pathlib import Path

import pytest
from textual.pilot import Pilot

from lab import talks
from lab.run import Run
from lab.tokenizer import Tokenizer
from recipes.tuning import CHARTS
from tests.conftest import REPO
from tests.tui.conftest import Weights, make_run, screen_text
from tests.tui.test_train import drive
from tui.app import LabApp
from tui.data import demonstrations
from tui.screens.train import TrainScreen


@pytest.mark.slow
def test_a_tuned_models_charts_samples_and_parent(home: Path) -> None:
    """What recipes/tuning.py writes: its own charts, questions with their replies on lines of their own."""
    make_run("base", 12)
    with Run("sft", {"model": "base"}, "talks", False, "base", CHARTS) as record:
        record.attach(Weights())
        record.log(0, val_loss=3.7)
        for step in record.steps(20):
            more = {"val_loss": 3 / step} if step % 10 == 0 else {}
            record.log(step, loss=3 / step, grad_norm=1.0, learning_rate=0.004, tok_s=2700, padding=0.03, **more)
            if step % 10 == 0:
                record.sample(step, "What is the capital of France?\n", "It is Paris.<|end|>", [1], [-0.1])

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        text = screen_text(app)
        for title in (
            "loss on the replies, and held out",
            "gradient norm",
            "learning rate",
            "tokens a second",
            "padding",
        ):
            assert title in text, title
        assert "val loss 0.15" in text
        assert "from base" in text
        lines = [line.strip(" │▎┃") for line in text.split("\n")]
        assert any(re.search(r"France\?\s*│?$", line) for line in lines)
        assert "France?It is" not in text
        assert "It is Paris.<|end|>" in text

    drive(go)


def test_demonstrations_of_the_chat_are_what_sft_reads(home: Path) -> None:
    """The file is read by the recipe's own reader: every row a sample, the replies alone trained."""
    ask = {"role": "user", "content": "Who are you?"}
    for reply in ("I am a model.", "A pile of numbers. 漢"):
        demonstrations.add([ask, {"role": "assistant", "content": reply}])
    demonstrations.add([{"role": "system", "content": "Be brief."}, ask, {"role": "assistant", "content": "Numbers."},
                        {"role": "user", "content": "And?"}, {"role": "assistant", "content": "No more."}])  # fmt: skip
    tokenizer = Tokenizer.load(REPO / "weights" / "pocket-base")
    found = talks.load(str(demonstrations.path()), tokenizer, 256, strict=True)
    samples = [*found.valid, *found.draw(0, 1, found.total or 0)]
    said = {tokenizer.decode([i for i, w in zip(s.ids.tolist(), s.weight, strict=True) if w]) for s in samples}
    words = {"".join(text.split()) for text in said}  # how turns are spaced is the template's business
    assert words == {"Iamamodel.", "Apileofnumbers.漢", "Numbers.Nomore."}
    assert not found.bad
