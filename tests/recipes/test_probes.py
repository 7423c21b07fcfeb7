"""Probes: figures by hand, models that were made to know the answer, and the whole command on real models."""

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import lab  # noqa: F401  (OpenBLAS before MLX)
from lab import data, weights
from lab.batch import complete
from lab.learn import Learner, Schedule
from lab.loss import Batch, bits_per_byte, nll
from lab.model import Shape, Transformer
from lab.runs import inspect, read_json, read_lines
from lab.tokenizer import Tokenizer
from recipes import pocket, probes
from recipes.probing import assistant, calibration, few_shot, figures, position, regurgitation, windows
from recipes.probing.passages import PASSAGES, QUESTIONS
from recipes.probing.subject import QUICK, Sizes, Subject, lineage, open_subject
from recipes.probing.text import buckets
from tests.conftest import REPO, stories
from tests.recipes.conftest import Here, Refused, Start, until

BASE = REPO / "weights" / "pocket-base"


def subject_of(network: Transformer, tokenizer: Tokenizer, texts: list[str], told: float | None = None) -> Subject:
    ids = [i for text in texts for i in (*tokenizer.begin, *tokenizer.encode(text), tokenizer.end)]
    stream, context = np.array(ids, dtype=np.int32), network.shape.max_position_embeddings
    return Subject(network, tokenizer, "made", context, 64, told, "stories", stream, QUICK, 0)


def learn(texts: list[str], tokenizer: Tokenizer, steps: int = 60) -> Transformer:
    """A small Transformer that knows these texts by heart."""
    network = Transformer(Shape(tokenizer.vocab_size, 64, 2, 2, 2, 32, 128))
    network.initialise(0)
    rows = [[*tokenizer.begin, *ids, tokenizer.end] for ids in tokenizer.encode_batch(texts)]
    width = max(map(len, rows))
    ids = np.array([row + [tokenizer.end] * (width - len(row)) for row in rows], dtype=np.int32)
    weight = np.array([[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows], dtype=np.float32)
    learner = Learner(network, Schedule(0.02, steps, 5))
    for step in range(1, steps + 1):
        learner.step(step, [Batch(ids, weight)], nll)
    return network


# -- figures -------------------------------------------------------------------------------------------------------


def test_hits_that_go_together_count_as_few() -> None:
    hits = [True] * 40 + [False] * 40
    alone = figures.wilson_of(hits, list(range(80)))
    assert alone == pytest.approx(figures.wilson(40, 80), abs=0.002)  # each about something of its own: Wilson's
    tens = [i // 10 for i in range(80)]  # eight names, of each all or none
    low, high = figures.wilson_of(hits, tens)
    assert (low, high) == pytest.approx(figures.wilson(3.5, 7), abs=0.01)  # n_eff = 8 less one degree of freedom
    mixed = figures.wilson_of(
        [True, False] * 40, tens
    )  # names that differ less than chance: never narrower than Wilson's
    assert mixed == pytest.approx(figures.wilson(40, 80), abs=1e-9)
    assert figures.wilson_of([], []) == (0.0, 1.0)
    assert figures.wilson_of([True] * 20, [0] * 10 + [1] * 10) == figures.wilson(2, 2)
    assert figures.wilson_of([True, False] * 20, [0] * 40) == figures.wilson(0.5, 1)  # one name says nothing of others


def test_wilson_intervals_are_those_of_the_tables() -> None:
    assert figures.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert figures.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert figures.wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert figures.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe 1998, table I
    assert figures.wilson(0, 0) == (0.0, 1.0)


def test_calibration_error_of_a_case_done_by_hand() -> None:
    confidence = np.array([0.85] * 10 + [0.35] * 10)
    hit = np.array([1] * 6 + [0] * 4 + [1] * 4 + [0] * 6)
    rows = figures.reliability(confidence, hit)
    assert [(row.count, row.low) for row in rows if row.count] == [(10, 0.3), (10, 0.8)]
    assert figures.calibration_error(rows) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    edges = figures.reliability(np.array([0.05, 0.1, 0.11, 1.0]), np.array([0, 0, 1, 1]))
    assert [row.count for row in edges] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert figures.calibration_error(figures.reliability(np.ones(5), np.ones(5))) == 0
    assert figures.calibration_error(figures.reliability(np.ones(5), np.zeros(5))) == 1


def test_the_error_by_chance_is_what_a_perfect_model_shows() -> None:
    r = np.random.default_rng(1)
    confidence = r.random(2000)
    perfect = figures.calibration_error(figures.reliability(confidence, r.random(2000) < confidence))
    boastful = figures.calibration_error(figures.reliability(confidence, r.random(2000) < confidence / 2))
    chance = figures.error_by_chance(confidence)
    assert 0.4 * chance < perfect < 2.5 * chance
    assert boastful > 5 * chance
    assert figures.error_by_chance(confidence[:100]) > 2 * chance


def test_diversity_by_hand() -> None:
    assert figures.distinct([1, 2, 1, 2], 1) == pytest.approx(2 / 4)
    assert figures.distinct([1, 2, 1, 2], 2) == pytest.approx(2 / 3)
    assert figures.repeated([1, 2, 3, 4, 5, 6, 7]) == 0
    assert figures.repeated([1, 2, 3, 4] * 3) == pytest.approx(1 - 4 / 9)
    assert figures.repeated([1, 2]) == 0


def test_an_answer_stands_as_whole_words() -> None:
    assert figures.says("It is paris, I think", ("Paris",))
    assert not figures.says("the Parish", ("Paris",))
    assert figures.says("The symbol is I.", ("I",))
    assert not figures.says("so i think", ("I",))  # a symbol keeps its case
    assert figures.says("the answer: 12", ("12", "twelve"))
    assert not figures.says("112 and 120", ("12", "twelve"))


def test_numbers_become_flat_rows() -> None:
    nested = {"shots_8": {"right": {"share": 0.61, "of": 9}, "list": [1]}, "cpu_s": 2}
    assert figures.flat(nested) == {"shots_8_right_share": 0.61, "shots_8_right_of": 9, "cpu_s": 2}


# -- regurgitation -------------------------------------------------------------------------------------------------


def test_a_model_that_learnt_two_documents_by_heart_recites_them(tokenizer: Tokenizer) -> None:
    told, other = [" ".join(stories(5, seed)) for seed in (1, 2)], " ".join(stories(5, 3))
    network = learn(told, tokenizer)
    for text in told:
        one = regurgitation.recite(network, tokenizer, text, 512)
        assert one.recited
        assert one.matched == one.rest > regurgitation.RECITED
        assert (one.hits, one.instead) == (1.0, None)
        assert text.endswith(tokenizer.decode(one.ids))
        cut = regurgitation.recite(network, tokenizer, text, 30)
        assert cut.matched == cut.rest == 30 - len(tokenizer.begin) - regurgitation.GIVEN
    stranger = regurgitation.recite(network, tokenizer, other, 512)
    assert not stranger.recited
    # What one forward pass tells is what greedy decoding does.
    ids = [*tokenizer.begin, *tokenizer.encode(other)]
    start = len(tokenizer.begin) + regurgitation.GIVEN
    said = complete(network, [ids[:start]], stranger.matched + 1, tokenizer.ends)[0]
    assert said[: stranger.matched] == stranger.ids == ids[start : start + stranger.matched]
    assert [*said, *tokenizer.ends][stranger.matched] == stranger.instead != ids[start + stranger.matched]
    found = regurgitation.measure(subject_of(network, tokenizer, told), [*told, other])
    assert (found.numbers["recited"]["right"], found.numbers["recited"]["of"]) == (2, 3)
    assert [len(said.ids) for said in found.said] == sorted((len(said.ids) for said in found.said), reverse=True)
    assert regurgitation.recite(network, tokenizer, "Ada", 512).recited is False  # nothing to say is nothing recited


def test_fresh_lists_look_like_those_told_and_are_not_among_them() -> None:
    fresh, told = regurgitation.fresh_lists(20, 0), [text for text, _ in pocket.lists()]
    assert not set(fresh) & set(told)
    assert fresh != regurgitation.fresh_lists(20, 1)
    assert all(260 <= len(text) <= max(map(len, told)) + 20 for text in fresh)
    assert {text.count(", ") > 30 for text in fresh[1::2]} == {text.count(", ") > 30 for text in told[1::2]}


def test_every_passage_is_long_enough_and_every_question_has_an_answer() -> None:
    assert len(PASSAGES) == 12
    assert all(50 <= len(text.split()) <= 120 for text in PASSAGES.values())
    assert len(QUESTIONS) == 30
    assert all(figures.says(f"I say {answer}.", answers) for _, _, answers in QUESTIONS for answer in answers)


# -- few-shot ------------------------------------------------------------------------------------------------------


def test_an_answer_ends_at_the_separator() -> None:
    assert few_shot.answer(" mip tor; next -> x", "; ") == "mip tor"
    assert few_shot.answer(" mip tor\nnext", ", ") == "mip tor"
    assert few_shot.answer(" mip tor.", " | ") == "mip tor"  # the full stop that ends a document
    assert few_shot.answer(" mip, tor", "\n") == "mip, tor"
    assert few_shot.answer("", "\n") == ""


def test_the_question_is_the_same_after_any_number_of_examples() -> None:
    for seed in range(30):
        made = pocket.mapping(seed, "test")
        cases = [few_shot.case(made, shots) for shots in few_shot.SHOTS]
        assert len({(one.query, one.truth) for one in cases}) == 1
        assert [len(one.shown) for one in cases] == list(few_shot.SHOTS)
        assert all(one.prompt.endswith(cases[0].prompt) for one in cases)
        assert all(cases[0].query not in (item for item, _ in made.examples(8)) for _ in cases)


def test_scores_of_answers_made_by_hand() -> None:
    cases = [few_shot.case(pocket.mapping(seed, "test"), 4) for seed in range(40)]
    plain = [one for one in cases if one.truth not in one.shown and one.truth != one.query]
    assert len(plain) > 10
    right = few_shot.score(cases, [f" {one.truth}{one.separator}more" for one in cases])
    assert right["right"]["share"] == 1
    assert right["copied_output"] == right["copied_input"] == 0
    assert all(n["right"] == n["of"] for n in right["rules"].values())
    assert sum(n["of"] for n in right["rules"].values()) == 40
    copied = few_shot.score(plain, [f" {one.shown[0]}{one.separator}" for one in plain])
    assert (copied["right"]["share"], copied["copied_output"]) == (0, 1)
    echoed = few_shot.score(plain, [f" {one.query}{one.separator}" for one in plain])
    assert (echoed["right"]["share"], echoed["copied_input"]) == (0, 1)
    assert few_shot.score(plain, ["nonsense"] * len(plain))["right"]["right"] == 0
    lazy = few_shot.score(cases, [f" {one.shown[-1]}" for one in cases])
    assert lazy["right"]["share"] == lazy["last_output"]


def test_models_that_know_all_answers_and_none() -> None:
    tokenizer = Tokenizer.load(BASE)
    cases = [few_shot.case(pocket.mapping(seed, "test"), 1) for seed in range(4)]
    ignorant = Transformer(Shape(tokenizer.vocab_size, 64, 2, 2, 2, 32, 128))
    ignorant.initialise(0)
    assert few_shot.measure(subject_of(ignorant, tokenizer, ["x"]), cases).numbers["right"]["right"] == 0
    wise = learn([f"{one.prompt} {one.truth}{one.separator}" for one in cases], tokenizer)
    found = few_shot.measure(subject_of(wise, tokenizer, ["x"]), cases)
    assert (found.numbers["right"]["right"], found.numbers["right"]["of"]) == (4, 4)
    assert found.said[0].text == f" {cases[0].truth} [right]"


def test_cases_that_do_not_fit_the_context_are_left_out(tokenizer: Tokenizer) -> None:
    network = Transformer(Shape(tokenizer.vocab_size, 64, 1, 2, 2, 32, 128, max_position_embeddings=16))
    made = subject_of(network, tokenizer, stories(20))
    assert few_shot.parts(made) == {}
    assert assistant.parts(made) == {}


# -- assistant -----------------------------------------------------------------------------------------------------


def test_a_reply_ends_where_the_human_speaks() -> None:
    assert assistant.reply(" Paris. Human: And Rome?") == ("Paris.", True)
    assert assistant.reply(" Paris") == ("Paris", False)
    told = assistant.transcript([("Hi!", "Hello!")], "Who?", "\n")
    assert told == "Human: Hi!\nAssistant: Hello!\nHuman: Who?\nAssistant:"


def test_a_model_that_knows_only_transcripts_answers_only_in_them(tokenizer: Tokenizer) -> None:
    things = {"ball": "Ada", "kite": "Bo", "drum": "Cleo"}
    asked = [assistant.Asked(thing, f"Who took the {thing}?", (who,)) for thing, who in things.items()]
    forms = {
        "bare": [(one, one.question) for one in asked],
        "turns_0": [(one, assistant.transcript([], one.question, " ")) for one in asked],
    }
    texts = [f"{prompt} {one.answers[0]}. Human: Thanks." for one, prompt in forms["turns_0"][:2]]
    texts.append(f"{forms['turns_0'][2][1]} Cleo{' and so on' * 12}")  # right, but it never stops
    network = learn([*texts, *(f"{one.question} " * 8 for one in asked)], tokenizer, 90)
    made = subject_of(network, tokenizer, texts)
    found = {key: assistant.measure(made, form) for key, form in forms.items()}
    inside = found["turns_0"].numbers
    assert [inside[key]["right"] for key in ("answers", "ends", "both")] == [3, 2, 2]
    assert {kind: n["right"] for kind, n in inside["kinds"].items()} == {"ball": 1, "kite": 1, "drum": 0}
    assert found["bare"].numbers["answers"]["right"] == 0
    assert "Answers and stops: 0 % when just asked, 67 % in a transcript" in assistant.tell(made, found)


# -- text, windows, subject ----------------------------------------------------------------------------------------


def test_position_and_calibration_agree_with_the_loss(tiny: Transformer, tokenizer: Tokenizer) -> None:
    made = subject_of(tiny, tokenizer, stories(40))
    rows = made.windows(64, 1000)
    assert rows.shape == (15, 65)
    found = position.measure(made, rows).numbers
    lengths = data.byte_lengths(tokenizer)
    assert found["bits_per_byte"] == pytest.approx(bits_per_byte(tiny, rows, lengths), rel=1e-5)
    first = found["buckets"]["0-7"]
    assert first["tokens"] == 15 * 8
    assert first["bits_per_byte"] == pytest.approx(
        bits_per_byte(tiny, [row[:9] for row in rows], lengths), rel=1e-5
    )  # causal: what stands after does not matter
    told = calibration.measure(made, rows).numbers
    total, count = nll(tiny, Batch(rows))
    assert told["nll"] == pytest.approx(float(total.item()) / float(count.item()), rel=1e-5)
    logits = np.array(tiny(mx.array(rows[:, :-1])))
    assert told["accuracy"] == pytest.approx(float((logits.argmax(-1) == rows[:, 1:]).mean()))
    top = np.exp(logits - logits.max(-1, keepdims=True))
    assert told["confidence"] == pytest.approx(float((1 / top.sum(-1)).mean()), rel=1e-4)
    assert sum(row["count"] for row in told["bins"].values()) == told["tokens"] == 15 * 64


def test_buckets_cover_a_window_once() -> None:
    assert buckets(40) == [(0, 8), (8, 16), (16, 32), (32, 40)]
    assert buckets(5) == [(0, 5)]


def test_a_step_is_timed_at_every_length(tiny: Transformer, tokenizer: Tokenizer) -> None:
    made = subject_of(tiny, tokenizer, stories(60))
    assert windows.parts(made) == {f"length_{t}": t for t in (32, 64, 128, 256, 512)}
    before = np.array(tiny.model.embed_tokens.weight)
    short, long = (windows.measure(made, length).numbers for length in (32, 512))
    assert (short["rows"], long["rows"]) == (16, 1)
    assert short["tokens"] == long["tokens"] == 512
    assert min(short["seconds"], short["cpu_s"], short["peak_gb"]) > 0
    assert long["peak_gb"] > short["peak_gb"]
    assert np.array_equal(before, np.array(tiny.model.embed_tokens.weight))  # measured, not trained


def test_the_lineage_says_what_a_model_was_told(tiny_run: Path, home: Path) -> None:
    model = weights.load(tiny_run)
    own = open_subject(model, None, QUICK, 0)
    assert own.told is None  # it was trained on text of its own
    assert own.trained_length == 32
    assert set(regurgitation.parts(own)) == {"famous", "never_story", "never_list"}
    (home / "base").mkdir()
    made = {"data": None, "mix": "lists=0.5", "max_seq_length": 96}
    (home / "base" / "run.json").write_text(json.dumps({"recipe": "pretrain", "config": made}))
    passport = read_json(tiny_run / "run.json") | {"recipe": "sft", "parent": "base"}
    (tiny_run / "run.json").write_text(json.dumps(passport))
    assert [row["recipe"] for row in lineage(tiny_run)] == ["sft", "pretrain"]
    child = open_subject(model, None, QUICK, 0)
    assert (child.told, child.trained_length) == (0.5, 96)
    assert {key: len(texts) for key, texts in regurgitation.parts(child).items()} == {
        "told_50": 10, "told_0": 20, "never": QUICK.documents,
    }  # fmt: skip
    (home / "base" / "run.json").write_text(json.dumps({"recipe": "pretrain", "parent": "tiny"}))
    assert lineage(tiny_run)  # a circle ends too


def test_own_text_is_held_out_where_the_model_was_trained_on_it(tiny_run: Path, tmp_path: Path) -> None:
    model = weights.load(tiny_run)
    trained_on = read_json(tiny_run / "run.json")["config"]["data"]
    sizes = replace(Sizes(), tokens=10**6)
    held_out = [text for text, _ in data.source(trained_on).held_out()]
    made = open_subject(model, trained_on, sizes, 0)
    assert model.tokenizer.decode(made.ids.tolist()) == "".join(held_out)
    other = tmp_path / "other.txt"
    other.write_text("One day.\n\nAnother day.")
    assert model.tokenizer.decode(open_subject(model, str(other), sizes, 0).ids.tolist()) == "One day.Another day."


# -- the command ---------------------------------------------------------------------------------------------------


def test_bad_flags_cost_one_line(refused: Refused, tmp_path: Path) -> None:
    refused("probes", says="no model yet")
    refused("probes", "--only", "fewshot", says="--only fewshot: no such probe; did you mean few-shot")
    refused("probes", "--model", "nothing", says="nothing: no such folder")
    refused("probes", "--data", tmp_path / "gone.txt", says="no such file or folder")
    refused("probes", "--seed", "-1", says="--seed -1: must lie between")
    (tmp_path / "empty").mkdir()
    refused("probes", "--model", tmp_path / "empty", says="no config.json")


def test_a_probe_leaves_a_record(here: Here, home: Path) -> None:
    said = here("probes", "--model", BASE, "--quick", "--only", "regurgitation", "--only", "temperature")
    assert said.code == 0, said.err
    folder = home / "probes-1"
    info = inspect(folder)
    assert (info.recipe, info.state, info.step, info.total) == ("probes", "done", 7, 7)
    assert re.match(r"recites (8|9|10)/10$", info.headline)
    found = read_json(folder / probes.RESULTS)
    assert found["model"] == str(BASE)
    assert set(found["probes"]) == {"regurgitation", "temperature"}
    told = found["probes"]["regurgitation"]
    assert told["told_100"]["recited"]["right"] >= 8
    assert told["never"]["recited"]["right"] == 0
    assert told["told_100"]["tokens"] > 60
    heat = found["probes"]["temperature"]
    assert heat["temp_0.0"]["different"] == 1
    assert heat["temp_1.5"]["distinct_2"] > heat["temp_0.0"]["distinct_2"]
    events = {row["probe"]: row for row in read_lines(folder / "metrics.jsonl") if row.get("event") == "probe"}
    assert events["regurgitation"]["told_100_recited_share"] == told["told_100"]["recited"]["share"]
    assert events["temperature"]["cpu_s"] == heat["cpu_s"] > 0
    assert any("[and then: " in row["text"] for row in read_lines(folder / "samples.jsonl"))
    assert "told 100 times" in said.out
    assert not list(folder.rglob("*.safetensors"))
    assert "probes-1" in here("runs").out
    assert here("probes", "--name", "probes-1", "--resume").code == 0  # nothing is left to do
    assert read_json(folder / probes.RESULTS) == found


def test_checkpoints_and_newest_models_can_be_probed(here: Here, tiny_run: Path, home: Path) -> None:
    assert here("probes", "--only", "calibration", "--quick", "--name", "a").code == 0
    assert here("probes", "--only", "calibration", "--quick", "--name", "b", "--model", "tiny@0").code == 0
    a, b = (read_json(home / name / probes.RESULTS) for name in "ab")
    assert (a["model"], b["model"]) == ("tiny", "tiny@0")
    last, first = (found["probes"]["calibration"]["held_out"]["nll"] for found in (a, b))
    assert last < first == pytest.approx(np.log(384), abs=0.05)


@pytest.mark.slow
def test_ctrl_c_keeps_whole_probes_and_resume_does_the_rest(start: Start, here: Here, home: Path) -> None:
    process = start("probes", "--model", BASE, "--quick", "--name", "cut")
    until(lambda: read_json(home / "cut" / probes.RESULTS).get("probes"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    first = read_json(home / "cut" / probes.RESULTS)
    assert inspect(home / "cut").state == "stopped"
    assert 1 <= len(first["probes"]) < len(probes.PROBES)
    assert "lab probes --name cut --resume" in out
    said = here("probes", "--name", "cut", "--resume")
    assert said.code == 0, said.err
    both = read_json(home / "cut" / probes.RESULTS)
    assert list(both["probes"]) == list(probes.PROBES)
    assert {name: both["probes"][name] for name in first["probes"]} == first["probes"]
    events = [row["probe"] for row in read_lines(home / "cut" / "metrics.jsonl") if row.get("event") == "probe"]
    assert events == list(probes.PROBES)
    assert re.fullmatch(r"few-shot \d+ -> \d+ %, recites \d+/10, \d\.\d{3} bits/byte", inspect(home / "cut").headline)
    for name in probes.PROBES:
        assert f"\n{name} (" in out + said.out


@pytest.mark.slow
def test_a_hub_model_is_probed_with_everything(here: Here, chat_model: Path, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("\n\n".join(stories(200)))
    said = here("probes", "--model", chat_model, "--data", text, "--quick", "--name", "hub")
    assert said.code == 0, said.err
    found = read_json(home / "hub" / probes.RESULTS)["probes"]
    assert "it did not grow up in the pocket world" in said.out
    assert set(found["regurgitation"]) == {"famous", "never_story", "never_list", "cpu_s"}
    assert found["regurgitation"]["famous"]["recited"]["right"] == 0
    assert "few-shot: left out" in said.out or set(found["few-shot"]) >= {"shots_0", "shots_8"}
    shutil.rmtree(home / "hub")
