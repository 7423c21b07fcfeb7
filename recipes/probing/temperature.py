"""Temperature: the same prompt drawn cold and hot. Cold repeats itself, hot falls apart."""

from lab.sample import Sampling
from lab.stream import Stream
from recipes.probing.figures import distinct, repeated, shorten
from recipes.probing.subject import Found, Said, Subject

PROMPT = "One day"
LEAST = 16  # tokens that there must be room for: fewer repeat nothing


def parts(subject: Subject) -> dict[str, float]:
    """Four temperatures."""
    if len(subject.prompts([PROMPT])[0]) + LEAST > subject.context:
        return {}
    return {f"temp_{temp}": temp for temp in (0.0, 0.5, 1.0, 1.5)}


def measure(subject: Subject, temp: float) -> Found:
    """Samples of one prompt, each with a seed of its own; at temperature 0 they are all the same, so one is drawn."""
    ids = subject.prompts([PROMPT])[0]
    stream = Stream(subject.network, subject.tokenizer, subject.context)
    rows, said, p = list[list[int]](), list[Said](), list[float]()
    for i in range(1 if temp == 0 else subject.sizes.samples):
        told = list(stream(ids, Sampling(temp=temp, max_tokens=subject.sizes.sampled), subject.seed + i))
        rows.append([t.id for t in told])
        p += [t.p for t in told]
        said.append(Said(PROMPT, "".join(t.text for t in told), rows[-1], [t.logp for t in told]))
    if temp == 0:
        rows *= subject.sizes.samples
    return Found(
        {
            "samples": len(rows),
            "tokens": sum(map(len, rows)) / len(rows),
            "different": len({tuple(row) for row in rows}),
            "distinct_1": sum(distinct(row, 1) for row in rows) / len(rows),
            "distinct_2": sum(distinct(row, 2) for row in rows) / len(rows),
            "repeated_4": sum(map(repeated, rows)) / len(rows),
            "p": sum(p) / max(1, len(p)),
        },
        said[:1],
    )


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table, its reading, and one sample of each temperature."""
    numbers = {key: found.numbers for key, found in parts.items()}
    lines = ["temperature  different texts  tokens  distinct-1  distinct-2  repeated 4-grams  mean p of a token"]
    for key, n in numbers.items():
        lines.append(
            f"{key.removeprefix('temp_'):>11}  {n['different']:8} of {n['samples']:<3}  {n['tokens']:6.0f}"
            f"  {n['distinct_1']:10.2f}  {n['distinct_2']:10.2f}  {n['repeated_4']:16.2f}  {n['p']:17.2f}"
        )
    cold, *_, hot = numbers.values()
    lines.append(
        f"From 0 to 1.5 the share of different word pairs goes {cold['distinct_2']:.2f} -> {hot['distinct_2']:.2f}, and "
        f"the probability it gives its own tokens {cold['p']:.2f} -> {hot['p']:.2f}: diversity is bought with likelihood."
    )
    for key, found in parts.items():
        lines += [f"  {key.removeprefix('temp_')}: {s.prompt}{shorten(s.text, 240)}" for s in found.said]
    return "\n".join(lines)
