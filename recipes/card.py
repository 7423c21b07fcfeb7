"""The rows of the report card: what the talk claims, which figure of which experiment speaks for it, and what must hold.

No figure stands here. `source` is a claim of docs/claims.json, or the run of that stage where there is no such claim; keys are
those of its figures, "a - b" is a difference, and "other:key" one of another source.
"""

from dataclasses import dataclass
from typing import Literal

from recipes.record import Bound

Form = Literal["share", "number"]
SHIPS = {  # the shipped model whose record tells what a claim would, for one seed
    "pretrain": "pocket-base", "sft": "pocket-sft", "interrogate": "pocket-honest", "search": "pocket-search",
    "code": "pocket-code",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One claim. `must` holds for every seed."""

    claim: str
    experiment: str
    source: str
    before: str
    after: str
    must: tuple[Bound, ...]
    command: str  # what measures it
    form: Form = "share"


ROWS = (
    Row("Tokens shorten the text", "bytes of text a token", "pretrain", "", "log.bytes_a_token",
        (("log.bytes_a_token", ">=", 2.0),), "lab pretrain", "number"),
    Row("Training begins at ln V", "loss of a uniform guess -> before the first update", "pretrain", "ln_v", "first_loss",
        (("ln_v - first_loss", ">=", -0.1), ("ln_v - first_loss", "<=", 0.5)), "lab pretrain", "number"),
    Row("A base model learns statistics of text", "held-out bits a byte, before -> after", "pretrain",
        "first.bits_per_byte", "bits_per_byte_final", (("bits_per_byte_final", "<=", 1.0),), "lab pretrain", "number"),
    Row("What it saw often it recites", "documents recited, told once -> 100 times", "probes",
        "regurgitation.told_1_recited_share", "regurgitation.told_100_recited_share",
        (("regurgitation.told_100_recited_share", ">=", 0.9), ("regurgitation.told_1_recited_share", "<=", 0.1)),
        "lab probes --only regurgitation"),
    Row("Knowledge follows how often it was told", "facts right, told once -> 100 times", "pretrain", "recall_1", "recall_100",
        (("recall_100", ">=", 0.9), ("recall_1", "<=", 0.3)), "lab pretrain"),
    Row("Sources that say it oftener win", "repeated of two sources at 9:1, the lighter -> the heavier", "pretrain",
        "lighter_9:1", "heavier_9:1", (("heavier_9:1", ">=", 0.8),), "lab pretrain"),
    Row("Few-shot: it learns from its prompt", "unseen rules right after 0 -> 8 examples", "probes",
        "few-shot.shots_0_right_share", "few-shot.shots_8_right_share",
        (("few-shot.shots_8_right_share - few-shot.shots_0_right_share", ">=", 0.3),), "lab probes --only few-shot"),
    Row("A base model is an assistant by prompt", "small talk answered, bare -> in a transcript", "probes",
        "assistant.bare_kinds_talk_share", "assistant.turns_1_kinds_talk_share",
        (("assistant.turns_1_kinds_talk_share - assistant.bare_kinds_talk_share", ">=", 0.3),), "lab probes --only assistant"),
    Row("Fine-tuning is cheap", "compute, as a share of pretraining's", "sft", "", "compute_share",
        (("compute_share", "<=", 0.25),), "lab sft"),
    Row("It imitates its labellers", "replies in the style of 70 in 100 demonstrations", "sft", "", "sunny",
        (("sunny", ">=", 0.6), ("sunny", "<=", 0.8)), "lab sft"),
    Row("Hallucination: an assistant invents", "never told, and answered all the same", "interrogate", "",
        "invented_never_before", (("invented_never_before", ">=", 0.8),), "lab interrogate"),
    Row('Interrogation teaches "I do not know"', "never-told names invented, before -> after", "interrogate",
        "invented_never_before", "invented", (("invented", "<=", 0.25), ("kept", ">=", 0.8)), "lab interrogate"),
    Row("A neuron knows that it does not know", "AUROC of the name's spelling -> of one number inside", "probe-knowledge",
        "spelling.auroc", "neuron.auroc", (("neuron.low - spelling.high", ">=", 0.0),),
        "lab probe-knowledge --model pocket-base", "number"),
    Row("Search: look it up", "never-told facts right, before -> with search", "search", "interrogate:right_never_after",
        "right_never", (("right_never", ">=", 0.9),), "lab search"),
    Row("When to search is learnt from rewards", "known names looked up, before -> once a call has a price", "when-to-search",
        "before_called known", "held_called known",
        (("before_called known - held_called known", ">=", 0.5), ("held_pass - before_pass", ">=", 0.0)),
        "lab grpo --task facts --search facts.db --call-price 0.4 --model always"),
    Row("Memory is vague, context is at hand", "facts told 3 times right, from weights -> with the passage", "context",
        "rows.3.weights", "rows.3.context", (("rows.3.context - rows.3.weights", ">=", 0.5),),
        "lab context --model pocket-search"),
    Row("Models need tokens to think", "word problems right, at once -> step by step", "think", "answer_problems",
        "steps_problems", (("steps_problems - answer_problems", ">=", 0.3),), "lab think"),
    Row("Steps after the answer come too late", "word problems right, at once -> the answer, then its steps", "think",
        "answer_problems", "after_problems",
        (("after_problems - answer_problems", "<=", 0.05), ("steps_problems - after_problems", ">=", 0.3)), "lab think"),
    Row("Counting needs code", "letters counted right, by head -> with code", "code", "counting_head", "counting_code",
        (("counting_code", ">=", 0.95), ("counting_head", "<=", 0.7)), "lab code"),
    Row("9.11 and 9.9", "where the longer number is the smaller, by head -> with code", "code",
        "decimals_longer_smaller_head", "decimals_longer_smaller_code",
        (("decimals_longer_smaller_code", ">=", 0.95), ("decimals_longer_smaller_head", "<=", 0.7)), "lab code"),
    Row("Keep the right ones, and retrain", "held-out problems right, before -> after", "rejection", "before_pass", "held_pass",
        (("held_pass - before_pass", ">=", 0.1),), "lab rejection --model demonstrate-1"),
    Row("Thinking emerges", "replies that think, before -> after GRPO", "grpo", "before_thinks", "held_thinks",
        (("held_thinks - before_thinks", ">=", 0.5), ("held_pass - before_pass", ">=", 0.1)), "lab grpo --model demonstrate-1"),
    Row("... and thoughts lengthen", "tokens of a reply, before -> after GRPO", "grpo", "before_length", "held_length",
        (("held_length - before_length", ">=", 10.0),), "lab grpo --model demonstrate-1", "number"),
    Row("The model finds which style suits it", "thoughts in words, which were right oftener, before -> after GRPO", "grpo",
        "before_style prose", "held_style prose",
        (("held_style prose", ">=", 0.8), ("demonstrate:right prose - right steps", ">=", 0.05)),
        "lab grpo --model demonstrate-1"),
    Row("RL on what can be verified can run on", "held-out problems right, the last three looks of 60 -> of 150 steps",
        "grpo-long", "grpo:late.held_pass", "late.held_pass", (("late.held_pass - grpo:late.held_pass", ">=", -0.02),),
        "lab grpo --model demonstrate-1 --iters 150"),
    Row("RL passes its teacher", "tic-tac-toe, wins less losses against it, imitation -> self-play", "selfplay",
        "teacher_score_before", "teacher_score_after",
        (("teacher_score_before", "<=", 0.0), ("teacher_score_after", ">=", 0.3)), "lab selfplay", "number"),
    Row("Move 37: what nobody showed it", "probability of the move no demonstration held", "selfplay",
        "blind_spot_before", "blind_spot_after", (("blind_spot_before", "<=", 0.01), ("blind_spot_after", ">=", 0.5)),
        "lab selfplay"),
    Row("It is easier to rank than to write", "top jokes written -> pairs told right", "gap",
        "models.0.best_of.1.top.mean", "models.0.tells.mean",
        (("models.0.tells.mean", ">=", 0.6), ("models.0.best_of.16.gold.mean", ">=", 0.3)), "lab gap --reward reward-model-1"),
    Row("A model of what people prefer", "held-out pairs told, by length -> by the reward model", "reward-model",
        "length_accuracy", "held_accuracy", (("held_accuracy - length_accuracy", ">=", 0.05),),
        "lab reward-model --rankings jokes.jsonl"),
    Row("RLHF helps", "hidden quality of jokes, before -> after", "rlhf", "before_gold", "held_gold",
        (("gold_gain", ">=", 0.8),), "lab rlhf", "number"),
    Row("RLHF is gamed", "hidden quality: 80 rankings, no price on divergence", "rlhf-free", "before_gold", "held_gold",
        (("held_reward - before_reward", ">=", 0.0), ("gold_gain", "<=", -1.0)),
        "lab rlhf --reward few --kl 0 --replay 0 --learning-rate 3e-4 --decay 0 --iters 150", "number"),
    Row("... so stop in time", "hidden quality at the end -> where it was best", "rlhf-free", "held_gold", "best_gold",
        (("best_gain", ">=", 0.5), ("best_gold - held_gold", ">=", 0.0)),
        "lab rlhf --reward few --kl 0 --replay 0 --learning-rate 3e-4 --decay 0 --patience 3", "number"),
    Row("Hardening never ends", "bad texts found, first -> last round", "harden", "first.found", "last.found",
        (("last.found", ">=", 1.0),), "lab harden --rankings jokes.jsonl", "number"),
    Row("One lineage keeps what it learnt", "what the skill that lost most has lost, all stages on", "skills", "", "worst",
        (("worst", "<=", 0.05),), "lab skills --model pocket-rlhf"),
)  # fmt: skip
