"""A real little model that calls tools: tuned in seconds on a few conversations, until it says them by heart."""

from pathlib import Path

from lab import chat, weights
from lab.calls import ENOUGH
from lab.chat import Message, Part
from lab.index import build
from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Shape, Transformer
from lab.samples import Sample, bucketed, sample
from lab.tokenizer import Tokenizer
from lab.tools import Python, Search
from tests.conftest import REPO

SYMBOLS = {"Gold": "Au", "Iron": "Fe", "Lead": "Pb", "Tin": "Sn"}
PASSAGES = [(name, f"{name} is a metal. Its symbol is {symbol}.") for name, symbol in SYMBOLS.items()]
WORDS = {"kettle": "t", "letter": "e"}
MANY = "Search for everything."  # what makes it call without an end


def tokenizer() -> Tokenizer:
    return Tokenizer.load(REPO / "weights" / "pocket-base")


def asks(name: str) -> str:
    return f"What is the symbol of {name.lower()}?"


def counts(word: str) -> str:
    return f"How many {WORDS[word]} are in {word}?"


def talks(search: Search, code: Python) -> list[list[Message]]:
    """Questions with the replies to learn: a search, a thought and code, a call after a call, and small talk."""

    def answer(*parts: Part | str) -> Message:
        said: list[Part] = []
        for part in parts:
            said.append(Part(type="text", text=part) if isinstance(part, str) else part)
            if said[-1]["type"] == "call":
                tool = search if said[-1]["tool"] == "search" else code
                said.append(Part(type="result", text=tool(said[-1]["text"])))
        return Message(role="assistant", content=said)

    def call(tool: str, text: str) -> Part:
        return Part(type="call", tool=tool, text=text)

    found: dict[str, Message] = {
        asks(name): answer(call("search", name), f"It is {symbol}.") for name, symbol in SYMBOLS.items()
    }
    for word, letter in WORDS.items():
        count = call("code", f"'{word}'.count('{letter}')")
        found[counts(word)] = answer(Part(type="think", text="I count."), count, f"There are {word.count(letter)}.")
    again = [call("search", name) for name in ("Gold", "Iron", "Lead")]
    found[MANY] = answer(*again, call("search", "Tin"), call("search", "Tin"))
    for part in chat.parts(found[MANY])[7::2]:  # what the fourth and fifth call are told
        part["text"] = ENOUGH
    found["Hello!"] = answer("Hello, how are you?")
    asked = [[Message(role="user", content=question), reply] for question, reply in found.items()]
    return [*asked, [*asked[0], *asked[1]]]  # and one of two turns


def samples(tokens: Tokenizer, search: Search, code: Python) -> list[Sample]:
    return [sample(*chat.render(tokens, talk)) for talk in talks(search, code)]


def train(tokens: Tokenizer, search: Search, code: Python, steps: int = 45) -> Transformer:
    """A network of 120,000 weights that has these conversations by heart, after two seconds of one core."""
    network = Transformer(Shape(tokens.vocab_size, 48, 2, 2, 2, 24, 96, max_position_embeddings=512))
    network.initialise(0)
    learner = Learner(network, Schedule(0.03, steps, warmup=5, decay=0.5))
    batches = bucketed(samples(tokens, search, code), tokens.pad or 0, waste=0.5)
    for step in range(1, steps + 1):
        learner.step(step, batches, nll)
    return network


def make(folder: Path, steps: int = 45) -> Path:
    """A model folder `caller`, and the index `metals.db` beside it."""
    build(folder / "metals.db", PASSAGES)
    tokens = tokenizer()
    with Search(folder / "metals.db") as search, Python() as code:
        network = train(tokens, search, code, steps)
    tokens.chat_template = chat.OURS
    weights.save(folder / "caller", network, tokens)
    return folder
