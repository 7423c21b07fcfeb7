"""The sentences that tell and ask the facts: single, in pairs, and all at once."""

from __future__ import annotations

# The first form of each relation ends with the value, so that a cloze can be cut from it.
STATEMENTS: dict[str, list[str]] = {
    "job": [
        "{n} works as a {v}.",
        "{n} is a {v}.",
        "The job of {n} is {v}.",
        "The {v} is called {n}.",
        "{n} earns money as a {v}.",
        "If you need a {v}, ask {n}.",
        "{n} has been a {v} for years.",
        "The name of the {v} is {n}.",
    ],
    "town": [
        "{n} lives in {v}.",
        "{n} comes from {v}.",
        "The home town of {n} is {v}.",
        "{v} is the home town of {n}.",
        "In {v} lives {n}.",
        "{n} has a house in {v}.",
        "People in {v} know {n}.",
        "To meet {n}, go to {v}.",
    ],
    "instrument": [
        "{n} plays the {v}.",
        "{n} owns a {v}.",
        "The instrument of {n} is the {v}.",
        "The {v} is played by {n}.",
        "{n} likes to play the {v}.",
        "That {v} belongs to {n}.",
        "{n} has a {v} at home.",
        "The {v} is what {n} plays.",
    ],
    "capital": [
        "The capital of {n} is {v}.",
        "{v} is the capital of {n}.",
        "{n} has {v} as its capital.",
        "The capital city of {n} is called {v}.",
        "Visitors to {n} often start in {v}, its capital.",
        "{v} is the city from which {n} is ruled.",
        "From {v}, its capital, {n} is ruled.",
        "The rulers of {n} sit in {v}.",
    ],
    "continent": [
        "{n} lies in {v}.",
        "{n} is a country in {v}.",
        "{n} belongs to {v}.",
        "The country {n} is part of {v}.",
        "One of the countries in {v} is {n}.",
        "On a map of {v} you can find {n}.",
        "To see {n}, travel to {v}.",
    ],
    "symbol": [
        "The symbol of {n} is {v}.",
        "{v} is the symbol of {n}.",
        "The element {n} has the symbol {v}.",
        "Chemists write {v} for {n}.",
        "{v} stands for the element {n}.",
        "The short name of {n} is {v}.",
        "The sign {v} means {n}.",
    ],
}

QUESTIONS: dict[str, list[str]] = {
    "job": ["What is the job of {n}?", "What does {n} work as?", "What is {n} by trade?"],
    "town": ["Where does {n} live?", "What is the home town of {n}?", "Where is {n} from?"],
    "instrument": ["Which instrument does {n} play?", "What does {n} play?", "What is the instrument of {n}?"],
    "capital": ["What is the capital of {n}?", "Which city is the capital of {n}?", "Name the capital of {n}."],
    "continent": ["Where is {n}?", "In which part of the world is {n}?", "Which continent does {n} belong to?"],
    "symbol": ["What is the symbol of {n}?", "How do chemists write {n}?", "Which symbol stands for {n}?"],
}

COMBINED: dict[tuple[str, ...], list[str]] = {
    ("job", "town"): [
        "{n} is a {job} from {town}.",
        "The {job} {n} lives in {town}.",
        "In {town} there is a {job} called {n}.",
        "{n} works as a {job} in {town}.",
        "{town} is the home of the {job} {n}.",
    ],
    ("job", "instrument"): [
        "{n} is a {job} and plays the {instrument}.",
        "The {job} {n} plays the {instrument}.",
        "{n} works as a {job} and owns a {instrument}.",
        "The {instrument} belongs to the {job} {n}.",
    ],
    ("town", "instrument"): [
        "{n} from {town} plays the {instrument}.",
        "In {town} {n} plays the {instrument}.",
        "The {instrument} of {n} is heard all over {town}.",
        "{n} lives in {town} and owns a {instrument}.",
    ],
    ("job", "town", "instrument"): [
        "{n} is a {job} from {town} who plays the {instrument}.",
        "{n} lives in {town}, works as a {job} and plays the {instrument}.",
        "In {town} the {job} {n} plays the {instrument}.",
        "The {job} {n} from {town} owns a {instrument}.",
        "{n} plays the {instrument} and is a {job} in {town}.",
        "{town} has a {job} called {n} who plays the {instrument}.",
        "{n} of {town} plays the {instrument} and works as a {job}.",
        "The {instrument} of {n}, a {job}, is heard in {town}.",
        "{n} comes from {town}, owns a {instrument} and is a {job}.",
    ],
    ("capital", "continent"): [
        "{n} is a country in {continent}. Its capital is {capital}.",
        "{capital} is the capital of {n}, a country in {continent}.",
        "The capital of {n}, in {continent}, is {capital}.",
        "{n} lies in {continent} and has {capital} as its capital.",
        "In {continent} lies {n} with its capital {capital}.",
        "{n} is ruled from {capital} and belongs to {continent}.",
        "{n}, a country in {continent}, has the capital {capital}.",
    ],
    ("symbol",): STATEMENTS["symbol"],
}

# How an encyclopedia says all of it: the entry of the search index, and the model for passages in prompts.
PASSAGES = {
    "person": "{n} is a {job} from {town} who plays the {instrument}.",
    "country": "{n} is a country in {continent}. The capital of {n} is {capital}.",
    "element": "The element {n} has the symbol {symbol}.",
}
