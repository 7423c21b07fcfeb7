"""What a judge is asked, with worked examples. No MLX."""

from typing import NamedTuple

Case = dict[str, str]
Cases = tuple[tuple[Case, bool], ...]


class Form(NamedTuple):
    """A question with two answers: the task, how a case is laid out ({field} for each of its fields), worked cases with
    what is right (True: the first of the two words). For calibration: the field that is judged, and cases that are not
    among the worked ones."""

    task: str
    layout: str
    shots: Cases
    words: tuple[str, str] = ("Yes", "No")
    judged: str = ""
    trials: Cases = ()


def _claims(*rows: tuple[str, str, str, bool]) -> Cases:
    return tuple(({"question": q, "answer": a, "reply": r}, right) for q, a, r, right in rows)


def _texts(*rows: tuple[str, str, str, bool]) -> Cases:
    return tuple(({"passage": p, "question": q, "answer": a}, right) for p, q, a, right in rows)


# Small models hang on the words: with SmolLM2-135M-Instruct in plain text a right reply ranks above a wrong one (AUROC) .74
# of the time as it is asked here, .56 where "Yes or No?" ends the question, about .5 for "does the reply say the same?".
SAME = Form(
    "Is each answer correct?",
    "Question: {question}\nThe correct answer is {answer}.\nStudent: {reply}\nIs the student right?",
    _claims(
        ("What is the capital of Austria?", "Vienna", "The capital of Austria is Vienna.", True),
        ("Who painted the Mona Lisa?", "Leonardo da Vinci", "It is Rembrandt.", False),
        ("How many legs has a spider?", "8", "The answer is 6.", False),
        ("In which year did the war end?", "1945", "It ended in 1945.", True),
        ("What is the longest river of France?", "Loire", "Loire", True),
        ("What do cows drink?", "water", "milk", False),
        ("Who wrote Faust?", "Goethe", "I believe it is Goethe.", True),
        ("What is the symbol of zinc?", "Zn", "Fe", False),
    ),
    judged="reply",
    trials=_claims(
        ("What is the capital of Peru?", "Lima", "It is Lima.", True),
        ("What is the capital of Peru?", "Lima", "It is Cairo.", False),
        ("Who wrote Hamlet?", "William Shakespeare", "Shakespeare wrote it.", True),
        ("Who wrote Hamlet?", "William Shakespeare", "Charles Dickens wrote it.", False),
        ("How many days has a week?", "7", "7", True),
        ("How many days has a week?", "7", "12", False),
        ("Which animal gives wool?", "the sheep", "The answer is sheep.", True),
        ("Which animal gives wool?", "the sheep", "The answer is the hen.", False),
    ),
)
BETTER = Form(
    "Which of the two replies to the request is better, A or B?",
    "Request: {prompt}\nReply A: {a}\nReply B: {b}",
    (
        ({"prompt": "What is the capital of Austria?", "a": "The capital of Austria is Vienna.", "b": "Rome."}, True),
        ({"prompt": "How many legs has a spider?", "a": "Blue.", "b": "A spider has eight legs."}, False),
    ),
    ("A", "B"),
)

MERCURY = "Mercury is the smallest planet of the Solar System. It goes around the Sun in 88 days."
OLIVES = "The olive tree grows around the Mediterranean Sea. Its oil has been pressed for 6,000 years."
BRIDGE = "The bridge over the Elbe was opened in 1893. It is painted light blue and has no pier in the river."
SUPPORTED = Form(
    "Is each answer right, going by its text?",
    "Text: {passage}\nQuestion: {question}\nStudent: {answer}\nIs the student right?",
    _texts(
        (MERCURY, "How long does Mercury take to go around the Sun?", "It takes 88 days.", True),
        (OLIVES, "Where does the olive tree grow?", "It grows in Norway.", False),
    ),
    judged="answer",
    trials=_texts(
        (BRIDGE, "When was the bridge opened?", "It was opened in 1893.", True),
        (BRIDGE, "When was the bridge opened?", "It was opened in 1950.", False),
        (BRIDGE, "What colour has the bridge?", "It is light blue.", True),
        (BRIDGE, "What colour has the bridge?", "It is dark red.", False),
    ),
)
ANSWERABLE = Form(
    "Does each text answer its question?",
    "Text: {passage}\nQuestion: {question}\nDoes the text say so?",
    _texts(
        (MERCURY, "Which planet is the smallest?", "", True),
        (OLIVES, "Who planted the first olive tree?", "", False),
    ),
    judged="passage",
    trials=_texts(
        (BRIDGE, "When was the bridge opened?", "", True),
        (BRIDGE, "Who built the bridge?", "", False),
        (BRIDGE, "Which river does the bridge cross?", "", True),
        (BRIDGE, "How long is the bridge?", "", False),
    ),
)
