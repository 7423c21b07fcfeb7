"""The chapters of the talk "Deep Dive into LLMs like ChatGPT", and where each is in this lab: the idea in our words, the code
to read, what to run, what to look at. `lab explain` tells it, and the README's map is made of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """One chapter. `code`: functions and classes as file:symbol; `claims`: the rows of the report card that it is about."""

    key: str
    title: str
    idea: str
    code: tuple[str, ...]
    commands: tuple[str, ...]
    look: str
    claims: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        "data", "Text from the internet",
        "A model becomes what it reads, so most of the work is choosing: the main text without menus, the wanted "
        "language, no near copies, no private numbers. Here the internet is a generated one, the pocket world, of "
        "which we know how often each fact is told; your own notes or a data set of the hub go the same way.",
        ("lab/clean.py:clean", "lab/rules.py:fineweb", "lab/near.py:Near", "recipes/pocket/corpus.py:corpus"),
        ("lab data pocket --show 2", "lab data notes/ --examples 3"),
        "how much is dropped and by which rule; in the window (lab, then d) document by document",
    ),
    Chapter(
        "tokens", "Tokenization",
        "A network reads numbers from a fixed list. Bytes make a short list and long texts; joining the pair that "
        "occurs most, again and again, makes texts shorter and the list longer. All a model sees later are these "
        "pieces, not letters.",
        ("lab/tokenizer.py:Tokenizer", "lab/explain.py:merge_tree"),
        ('lab tokens "strawberry" --trees', "lab tokens --train book.txt --table"),
        "where a word is cut, which pairs were joined first, and how the length falls while the vocabulary grows",
        ("Tokens shorten the text",),
    ),
    Chapter(
        "network", "The network",
        "A fixed expression of additions and multiplications turns a window of tokens into a probability for each "
        "token that may follow. Its parameters begin at random, so it begins by guessing evenly: the loss is ln V.",
        ("lab/model.py:Transformer", "lab/model.py:Attention", "lab/lookback.py:begin", "lab/loss.py:cross_entropy"),
        ("lab plan pretrain", "lab pretrain --iters 50 --name try"),
        "parameters, memory and FLOPs before a step is made; the first loss beside ln V",
        ("Training begins at ln V",),
    ),
    Chapter(
        "pretraining", "Pretraining",
        "Every step nudges the parameters so that what really followed becomes a little likelier. Nothing else is "
        "asked, and from it come spelling, grammar, facts in the measure in which they were told, and sums.",
        ("recipes/pretrain.py:run", "lab/learn.py:Learner", "lab/data.py:Tokens", "recipes/recall.py:exam"),
        ("lab pretrain", "lab journey --to pretrain"),
        "samples over the steps turning from noise into sentences; the exam at the end, by how often a fact was told",
        ("A base model learns statistics of text", "Knowledge follows how often it was told",
         "Sources that say it oftener win"),
    ),
    Chapter(
        "inference", "Inference",
        "To write, draw a token from the distribution, append it, ask again. Weights stay as they are; the dice make "
        "each reply a different one, and temperature says how bold they are.",
        ("lab/sample.py:draw", "lab/stream.py:Stream", "lab/batch.py:Batch"),
        ('lab generate -p "One day" --temp 0.7 --seed 1', "lab chat --model pocket-base"),
        "ctrl+t colours each token by its probability; left and right walk over them, 1 to 5 go on from another one",
    ),
    Chapter(
        "base", "What a base model is",
        "It simulates documents. What it read often it recites, the rest it remembers vaguely; a pattern in its "
        "prompt it takes up at once, and a prompt that looks like a talk with an assistant makes it answer like one.",
        ("recipes/probes.py:run", "recipes/probing/regurgitation.py:recite", "recipes/probing/few_shot.py:measure",
         "recipes/probing/assistant.py:transcript"),
        ("lab probes --model pocket-base",),
        "documents recited after 8 tokens by how often they were told; unseen rules right after 0, 1, 4 and 8 "
        "examples",
        ("What it saw often it recites", "Few-shot: it learns from its prompt",
         "A base model is an assistant by prompt"),
    ),
    Chapter(
        "conversations", "Post-training: conversations",
        "The same loss on another text: conversations, of which only the assistant's words are learnt. It is short "
        "and cheap, and what comes out is an imitation of the people who wrote them, their tone and what they refuse "
        "included.",
        ("lab/chat.py:render", "lab/mask.py:pieces", "recipes/sft.py:run", "recipes/tuning.py:tune"),
        ("lab sft", "lab show-chat talks.jsonl --model pocket-sft"),
        "which tokens are learnt (green); the share of cheerful replies beside the share that was taught",
        ("Fine-tuning is cheap", "It imitates its labellers"),
    ),
    Chapter(
        "hallucinations", "Hallucinations",
        "Labellers answer, so a model that imitates them answers too, also when it does not know. But it can be asked "
        "what it knows: again and again, its replies compared with the truth; what it never gets right it is taught "
        "to refuse. What it tells them apart by is shallower than it seems: a name that the text repeats is a token of "
        "its own, one it never saw is in pieces.",
        ("recipes/interrogate.py:run", "recipes/lessons/knowledge.py:interrogate",
         "recipes/lessons/knowledge.py:frontier", "recipes/probing/neurons.py:probe"),
        ("lab interrogate", "lab probe-knowledge --model pocket-base"),
        "knowledge.jsonl, what it was asked and taught; how much of what it knew it keeps for each name it no longer "
        "invents",
        ("Hallucination: an assistant invents", 'Interrogation teaches "I do not know"',
         "A neuron knows that it does not know"),
    ),
    Chapter(
        "tools", "Tools and working memory",
        "What stands in the window is at hand, what stands in the weights is a vague memory. So a model may write a "
        "search, a program runs it, and the result is put into the window as tokens that it did not write and is not "
        "taught.",
        ("recipes/search.py:run", "lab/tools.py:Search", "lab/calls.py:Toolbox", "recipes/commands/context.py:measure"),
        ("lab search", "lab index pocket --out pocket.db", "lab chat --model pocket-search --search pocket.db",
         "lab context --model pocket-search"),
        "the query, the passage it got, and the answer; facts right from the weights and with the passage",
        ("Search: look it up", "When to search is learnt from rewards", "Memory is vague, context is at hand"),
    ),
    Chapter(
        "self", "Knowledge of self",
        "Asked who made it, a model says what such texts say most often. It has no self that outlives the talk; what "
        "it says about itself is taught like everything else, by a few conversations or by a system message.",
        ("recipes/lessons/talk.py:styled", "recipes/lessons/talk.py:refusal"),
        ("lab chat --model pocket-sft",),
        'the presets of Chat ("Who made you?"), asked of a base model and of an assistant',
    ),
    Chapter(
        "thinking", "Models need tokens to think",
        "A token is a fixed amount of computing. An answer that takes more must come after the steps that lead to it; "
        "steps behind it are only a justification.",
        ("recipes/think.py:run", "recipes/lessons/solve.py:solved"),
        ("lab think",),
        "the same model tuned on as many tokens: at once, step by step, and the answer first",
        ("Models need tokens to think", "Steps after the answer come too late"),
    ),
    Chapter(
        "spelling", "Letters, counting, 9.11",
        "It sees pieces, not letters, and computes little at a time, so it fails where a child does not, beside "
        "things where no child succeeds. A line of code does the counting: copying a word into it is something that "
        "it can.",
        ("recipes/code.py:run", "recipes/lessons/letters.py:counted", "lab/tools.py:Python",
         "recipes/commands/decimals.py:measure"),
        ("lab code", "lab chat --model pocket-code --code", "lab decimals --model pocket-sft --against pocket-code"),
        "letters, sums and decimals by head and with code; which pairs of decimals go wrong",
        ("Counting needs code", "9.11 and 9.9"),
    ),
    Chapter(
        "practice", "Reinforcement learning: practice",
        "Reading and worked examples are not enough: one has to try. Of many tries at a problem with a known answer "
        "the right ones are kept and learnt, whichever way they went. Nobody knows beforehand which way suits this "
        "model.",
        ("recipes/rejection.py:run", "recipes/demonstrate.py:run", "recipes/tasks.py:Pocket", "lab/verify.py:number"),
        ("lab demonstrate", "lab rejection --model demonstrate-1"),
        "Rollouts (lab, then 3): the tries at one problem, the right ones framed green",
        ("Keep the right ones, and retrain",),
    ),
    Chapter(
        "reasoning", "Thinking emerges",
        "Rewarded for right answers alone, and never shown to prefer it, a model begins to think before it answers, "
        "and at greater length: tries that thought were right oftener. The reward cannot be fooled, so this may run "
        "on.",
        ("recipes/grpo.py:run", "lab/advantage.py:centred", "lab/loss.py:policy_gradient", "lab/rollout.py:rollout"),
        ("lab grpo --model demonstrate-1", "lab eval --task problems --model demonstrate-1 --model grpo-1",
         "lab skills --model grpo-1"),
        "share of replies that think, their length, and what is right, over the steps; one reply token by token",
        ("Thinking emerges", "... and thoughts lengthen", "The model finds which style suits it",
         "RL on what can be verified can run on", "One lineage keeps what it learnt"),
    ),
    Chapter(
        "alphago", "Past the teacher: move 37",
        "Who imitates is at best as good as the teacher. Who plays to win goes past, and finds moves that no teacher "
        "would have shown: here one that was left out of every demonstration on purpose.",
        ("recipes/selfplay.py:run", "recipes/arena.py:contest", "recipes/lessons/tictactoe.py:blind"),
        ("lab selfplay", "lab play --model selfplay-1"),
        "the score against the teacher crossing 0; the probability of the one move that nobody showed",
        ("RL passes its teacher", "Move 37: what nobody showed it"),
    ),
    Chapter(
        "taste", "Learning from preferences",
        "A joke has no right answer, but people can rank five. A second model learns to predict their rankings, and "
        "then judges thousands of replies that no person could read. Ranking is easier than writing, for people and "
        "for models.",
        ("recipes/commands/rank.py:run", "lab/pairwise.py:pairwise", "lab/reward.py:RewardModel",
         "recipes/commands/gap.py:run"),
        ("lab rank", "lab rank --by gold --out jokes.jsonl", "lab reward-model --rankings jokes.jsonl",
         "lab gap --reward reward-model-1"),
        "room 6, where you rank; pairs told right beside what length alone tells; what the best of n gains",
        ("It is easier to rank than to write", "A model of what people prefer"),
    ),
    Chapter(
        "rlhf", "RLHF, and why it must stop",
        "Practice against that judge improves a model, for a while. The judge is a network with blind spots, and "
        "practice finds them: replies that score high and are nonsense. Punish those, and it finds others; so one "
        "stops in time, and pays for divergence.",
        ("recipes/rlhf.py:run", "lab/kl.py:Penalty", "recipes/harden.py:run", "recipes/overoptimised.py:fitted"),
        ("lab rlhf", "lab rlhf --kl 0 --replay 0 --learning-rate 3e-4 --decay 0", "lab harden --rankings jokes.jsonl",
         "lab study --runs rlhf-1"),
        "proxy and gold over the steps: where they part; the text with the highest score and the least worth",
        ("RLHF helps", "RLHF is gamed", "... so stop in time", "Hardening never ends"),
    ),
    Chapter(
        "models", "Models of other people",
        "The same tools open what others have trained: from the hub, from GGUF files, from LM Studio and Ollama. Look "
        "at their tokens, probabilities and templates, tune them with LoRA, judge with them.",
        ("lab/weights.py:load", "lab/hub.py:is_id", "lab/lora.py:attach", "lab/judge.py:Judge"),
        ("lab models", "lab import HuggingFaceTB/SmolLM2-135M-Instruct", "lab journey --preset model=ID --dry-run"),
        "f3 in Chat: one message to two models; w: the exact tokens of the conversation",
    ),
)  # fmt: skip
