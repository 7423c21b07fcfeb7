"""The everyday words of the pocket world, by category, and the syllables its invented words are made of."""

from __future__ import annotations

from random import Random

from recipes.pocket.atlas import ELEMENTS
from recipes.pocket.seeds import terms

GIRLS = terms(
    "Ada Anna Bella Cora Dana Elsa Emma Fay Greta Hana Ida Iris Jane Julia Kate Lena Lily Lucy Maya Mira Nina Nora "
    "Olga Pia Rosa Sara Tess Vera Wilma Zoe"
)
BOYS = terms(
    "Adam Alan Ben Carl Dan Eric Felix Finn Gus Hugo Ivan Jack Jon Karl Leo Luke Mark Max Milo Nick Otto Paul Pete "
    "Ralf Sam Theo Tim Tom Victor Will"
)
FIRST_NAMES = [name for pair in zip(GIRLS, BOYS, strict=True) for name in pair]

# Surnames: one or two of the first row, then one of the second. Whole syllables become single BPE pieces.
OPENINGS = terms("ba bel bor cal dar do fal fen gar hal ka kel lo mar mel na nor pa ra sel ta tol va wes")
ENDINGS = terms("ban den dor fin gan lek lin mon nard rick ros sen tin ven wick zer")

ANIMALS = terms(
    "ant bear bee bird cat chicken cow deer dog donkey duck elephant fish fox frog goat goose hen horse kitten lion "
    "monkey mouse owl penguin pig pony puppy rabbit rat sheep snail snake spider tiger turtle whale wolf"
)
FOODS = terms(
    "apple banana bean berry bread butter cake candy carrot cheese cherry cookie corn egg grape honey jam lemon "
    "milk nut onion orange pancake pea peach pear pepper pie potato pumpkin rice salad salt sandwich soup "
    "strawberry sugar tomato"
)
THINGS = terms(
    "ball balloon basket bell bike blanket boat book bottle bowl box brush bucket button camera candle card chair "
    "clock cup desk doll door drum feather flag fork hammer hat jar kettle key kite ladder lamp letter map marble "
    "mirror nail needle paper pencil pen picture pillow plate pot puzzle ribbon ring robot rope shell spoon stamp "
    "table teapot ticket toy train truck umbrella wagon wheel window"
)
PLACES = terms(
    "bakery bank barn beach bridge castle cave church farm field forest garden harbor hill house island kitchen "
    "lake library market meadow mountain museum palace park pond river road school shop station theater tower town "
    "valley village yard zoo"
)
NATURE = terms(
    "autumn cloud day dust earth evening fire flower fog grass ice leaf light moon morning night rain rainbow rock "
    "sand sea sky snow spring star stone storm summer sun thunder tree water weather wind winter wood"
)
BODY = terms("arm back ear eye face finger foot hair hand head heart knee leg mouth neck nose shoulder tail tooth wing")
CLOTHES = terms("belt boot cap coat dress glove jacket pocket scarf shirt shoe skirt sock sweater")
COLOURS = terms("black blue brown green grey pink purple red white yellow")
FEELINGS = terms(
    "afraid angry brave bored calm clever excited glad happy hungry kind lonely proud sad shy sleepy tired"
)
QUALITIES = terms(
    "big broken clean cold cute dark deep dirty dry empty fast flat funny heavy hot large little long loud narrow "
    "new noisy old pretty quick quiet round sharp short slow small smooth soft strong sweet tall thick tiny warm "
    "wet wide wild young"
)
DEEDS = terms(
    "answer ask bake begin bring build buy call carry catch climb close come cook count cry cut dance dig draw "
    "dream drink drive eat fall feed feel fill find fix fly follow forget give grow hear help hide hold hope hug "
    "jump keep kick laugh learn leave listen look lose love make meet need open paint pick plant play pull push "
    "read remember rest ride run sail save see sell send share shout show sing sit sleep smile speak stand stay "
    "stop swim swing talk teach tell think throw touch try turn visit wait wake walk wash watch wear win wish work "
    "write"
)
FAMILY = terms("aunt baby brother child cousin daughter family father friend mother neighbor parent sister son uncle")
OTHERS = terms(
    "afternoon always behind birthday breakfast circle corner dinner distance everything favorite hundred hurry "
    "idea lesson lunch message middle minute moment music party question secret silence something story suddenly "
    "surprise thousand together tomorrow trouble weekend yesterday"
)

CATEGORIES = {
    "animal": ANIMALS, "food": FOODS, "thing": THINGS, "place": PLACES, "colour": COLOURS, "body": BODY,
    "clothes": CLOTHES,
}  # fmt: skip
EVERYDAY = sorted(
    {
        *ANIMALS, *FOODS, *THINGS, *PLACES, *NATURE, *BODY, *CLOTHES, *COLOURS, *FEELINGS, *QUALITIES, *DEEDS, *FAMILY,
        *OTHERS,
    }
)  # fmt: skip

_ONSETS = terms("b d f g h k l m n p r s t v z")
_VOWELS = terms("a e i o u")
_CODAS = terms("b d f g k l m n p r s t")


def syllable(r: Random) -> str:
    """A random closed syllable, such as `mip`; one of nearly 900."""
    while (made := r.choice(_ONSETS) + r.choice(_VOWELS) + r.choice(_CODAS)) in ELEMENTS:
        pass
    return made


def invented_word(r: Random) -> str:
    """A random word of one or two syllables that means nothing, such as `tor` or `fabem`."""
    while True:
        word = syllable(r) if r.random() < 0.5 else r.choice(_ONSETS) + r.choice(_VOWELS) + syllable(r)
        # `radon` is made of two syllables as well, and names that are never told must not occur at all.
        if word not in ELEMENTS:
            return word
