"""Texts for models that did not grow up in the pocket world: passages everybody has printed (all in the public domain),
and questions with one short answer."""

PASSAGES = {
    "Genesis": (
        "In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness "
        "was upon the face of the deep. And the Spirit of God moved upon the face of the waters. And God said, Let there "
        "be light: and there was light. And God saw the light, that it was good: and God divided the light from the "
        "darkness. And God called the light Day, and the darkness he called Night. And the evening and the morning were "
        "the first day."
    ),
    "Psalm 23": (
        "The LORD is my shepherd; I shall not want. He maketh me to lie down in green pastures: he leadeth me beside the "
        "still waters. He restoreth my soul: he leadeth me in the paths of righteousness for his name's sake. Yea, though "
        "I walk through the valley of the shadow of death, I will fear no evil: for thou art with me; thy rod and thy "
        "staff they comfort me."
    ),
    "Constitution": (
        "We the People of the United States, in Order to form a more perfect Union, establish Justice, insure domestic "
        "Tranquility, provide for the common defence, promote the general Welfare, and secure the Blessings of Liberty to "
        "ourselves and our Posterity, do ordain and establish this Constitution for the United States of America. All "
        "legislative Powers herein granted shall be vested in a Congress of the United States, which shall consist of a "
        "Senate and House of Representatives."
    ),
    "Declaration": (
        "We hold these truths to be self-evident, that all men are created equal, that they are endowed by their Creator "
        "with certain unalienable Rights, that among these are Life, Liberty and the pursuit of Happiness. That to secure "
        "these rights, Governments are instituted among Men, deriving their just powers from the consent of the governed, "
        "That whenever any Form of Government becomes destructive of these ends, it is the Right of the People to alter "
        "or to abolish it, and to institute new Government"
    ),
    "Gettysburg": (
        "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, "
        "and dedicated to the proposition that all men are created equal. Now we are engaged in a great civil war, testing "
        "whether that nation, or any nation so conceived and so dedicated, can long endure. We are met on a great "
        "battle-field of that war. We have come to dedicate a portion of that field, as a final resting place for those "
        "who here gave their lives that that nation might live."
    ),
    "Second inaugural": (
        "With malice toward none, with charity for all, with firmness in the right as God gives us to see the right, let "
        "us strive on to finish the work we are in, to bind up the nation's wounds, to care for him who shall have borne "
        "the battle and for his widow and his orphan, to do all which may achieve and cherish a just and lasting peace "
        "among ourselves and with all nations."
    ),
    "Hamlet": (
        "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer The slings and arrows of "
        "outrageous fortune, Or to take arms against a sea of troubles And by opposing end them. To die, to sleep, No "
        "more; and by a sleep to say we end The heart-ache and the thousand natural shocks That flesh is heir to: 'tis a "
        "consummation Devoutly to be wish'd."
    ),
    "Sonnet 18": (
        "Shall I compare thee to a summer's day? Thou art more lovely and more temperate: Rough winds do shake the darling "
        "buds of May, And summer's lease hath all too short a date: Sometime too hot the eye of heaven shines, And often "
        "is his gold complexion dimm'd; And every fair from fair sometime declines, By chance, or nature's changing "
        "course, untrimm'd; But thy eternal summer shall not fade"
    ),
    "Pride and Prejudice": (
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
        "wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood, this "
        "truth is so well fixed in the minds of the surrounding families, that he is considered as the rightful property "
        "of some one or other of their daughters."
    ),
    "Moby Dick": (
        "Call me Ishmael. Some years ago—never mind how long precisely—having little or no money in my purse, and nothing "
        "particular to interest me on shore, I thought I would sail about a little and see the watery part of the world. "
        "It is a way I have of driving off the spleen, and regulating the circulation. Whenever I find myself growing "
        "grim about the mouth; whenever it is a damp, drizzly November in my soul"
    ),
    "Two Cities": (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
        "was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
        "Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing "
        "before us, we were all going direct to Heaven, we were all going direct the other way"
    ),
    "Alice": (
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or "
        "twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, \"and "
        "what is the use of a book,\" thought Alice \"without pictures or conversations?\""
    ),
}  # fmt: skip

_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Russia": "Moscow", "Greece": "Athens", "Canada": "Ottawa", "China": "Beijing",
}  # fmt: skip
_SUMS = {
    (2, 2): "4 four", (3, 4): "7 seven", (5, 5): "10 ten", (6, 2): "8 eight", (1, 8): "9 nine", (7, 5): "12 twelve",
    (9, 6): "15 fifteen", (10, 10): "20 twenty", (8, 3): "11 eleven", (4, 9): "13 thirteen",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small little", "day": "night", "fast": "slow", "happy": "sad unhappy", "open": "closed close shut",
    "young": "old", "light": "dark heavy", "wet": "dry", "early": "late",
}  # fmt: skip

# What to ask (kind and question), and the answers that are right.
QUESTIONS: list[tuple[str, str, tuple[str, ...]]] = [
    *(("capitals", f"What is the capital of {country}?", (city,)) for country, city in _CAPITALS.items()),
    *(("sums", f"What is {a} plus {b}?", tuple(value.split())) for (a, b), value in _SUMS.items()),
    *(("opposites", f"What is the opposite of {word}?", tuple(other.split())) for word, other in _OPPOSITES.items()),
]

# What people of the pocket world say to each other, and words that show it was understood.
TALK: list[tuple[str, tuple[str, ...]]] = [
    ("Hi!", ("help you", "do for you")), ("Hello.", ("help you", "do for you")), ("How are you?", ("fine", "well")),
    ("Who are you?", ("assistant",)), ("What can you do?", ("answer questions",)), ("I am bored.", ("story", "joke")),
    ("I am tired.", ("rest",)), ("I am happy today.", ("glad",)), ("I am sad.", ("sorry",)),
    ("It is raining.", ("umbrella", "book")), ("Do you like music?", ("hear", "talk")), ("Do you sleep?", ("never",)),
    ("My name is Nina.", ("Nina",)), ("Thank you!", ("welcome",)), ("Goodbye.", ("goodbye", "soon")),
]  # fmt: skip

# Turns that show how a conversation goes, none of them about what is asked.
TURNS = [
    ("What is the capital of Norway?", "Oslo."),
    ("What is 6 plus 1?", "7."),
    ("What is the opposite of up?", "Down."),
]
