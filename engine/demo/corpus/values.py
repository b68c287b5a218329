"""Random values for a chat to remember: names, places, colours, spelled in millions of ways so that only copying can give them back.

A tenth of all spellings, by their hash, is held out: training never sees them, in whatever way they come about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

ONSETS = "b c d f g h j k l m n p q r s t v w x y z br ch cr dr fl fr gl gr kh kl kr ph pr sh sk sl st sv th tr vl zh".split() + [""] * 4
VOWELS = "a e i o u a e i o y aa ae ai au ea ee ei ia ie io oa oo ou ue".split()
CODAS = [""] * 48 + "b d f g k l m n p r s t x z ck ld ll lm ln mp nd ng nn nt rd rk rn rt sh ss st th tz".split()
NAMES = """Emma Lukas Anna Ben Maria Paul Sofia Leon Mia Jonas Clara Felix Laura Max Julia Tom Sarah David Lena Peter Nina Oscar Ida Hugo Alice
Bob Carol Dave Erin Frank Grace Heidi Ivan Judy Kevin Linda Mallory Nora Olivia Peggy Quentin Rupert Sybil Trent Ursula Victor Walter Xavier
Yara Zoe Ahmed Fatima Omar Layla Yusuf Aisha Ravi Priya Arjun Ananya Wei Mei Hiro Yuki Sakura Kenji Minh Linh Kofi Ama Chidi Ngozi Diego Lucia
Carlos Elena Mateo Valentina Pedro Ines Joao Beatriz Pierre Chloe Louis Camille Giulia Marco Luca Chiara Sven Astrid Lars Freya Olga Dmitri
Natasha Boris Katya Milan Vesna Zoran Ivana Pavel Eva Jan Marta Piotr Agnes Andras Zsofia Ada Alan Grete Linus Guido Ken Dennis Margaret Barbara
John James Robert Michael William Mary Patricia Jennifer Elizabeth Susan Jessica Karen Daniel Matthew Anthony Mark Steven Andrew Joshua Emily
Sam Alex Chris Kim Robin Jamie Taylor Jordan Casey Morgan Lee Ali Noor Sasha Nikita Andrea Charlie Rosa Otto Fritz Hans Greta Liam Noah Ava""".split()
CITIES = """Berlin Paris London Madrid Rome Vienna Prague Warsaw Lisbon Dublin Oslo Helsinki Stockholm Copenhagen Amsterdam Brussels Zurich Geneva
Munich Hamburg Cologne Milan Naples Turin Athens Budapest Bucharest Sofia Belgrade Zagreb Kyiv Riga Vilnius Tallinn Istanbul Ankara Cairo Tunis
Lagos Nairobi Accra Dakar Johannesburg Boston Chicago Seattle Denver Austin Houston Dallas Atlanta Miami Detroit Portland Toronto Montreal
Vancouver Havana Lima Quito Bogota Santiago Caracas Brasilia Tokyo Osaka Kyoto Seoul Busan Beijing Shanghai Hanoi Bangkok Jakarta Manila Delhi
Mumbai Chennai Kolkata Lahore Karachi Dhaka Sydney Melbourne Perth Auckland Wellington Leipzig Dresden Bremen Graz Basel Bern Lyon Nice Porto
Seville Valencia Ghent Bruges Utrecht Malmo Bergen Turku Krakow Gdansk Brno Leeds Bristol York Oxford Cambridge Glasgow Cardiff Belfast""".split()
CITY_BEGINNINGS = ("New", "Old", "San", "Santa", "Saint", "Port", "Los", "Bad", "El", "North", "West", "Upper", "Fort", "Mount", "Lake")
COLOURS = """red blue green yellow orange purple pink black white brown grey gray teal turquoise violet indigo magenta cyan maroon navy olive beige
gold silver crimson scarlet lavender lilac mauve amber coral salmon peach ivory khaki lime mint mustard ochre plum rust sand sepia tan umber azure
bronze burgundy charcoal chartreuse copper cream emerald fuchsia jade mahogany rose ruby sapphire sienna tangerine vermilion wine""".split()
SHADES = "dark light pale bright deep soft neon dusty warm sea".split()
FOODS = """pizza pasta rice soup sushi bread cheese curry ramen tacos salad pancakes waffles noodles dumplings chocolate apples cherries olives
falafel hummus lasagna risotto goulash paella kimchi pho couscous porridge pie cake cookies mangoes strawberries potatoes spinach""".split()
PETS = """Rex Bello Luna Simba Felix Milo Nala Bruno Coco Max Bella Charlie Lucy Rocky Daisy Buddy Molly Oreo Tiger Shadow Smokey Minka Socks
Pepper Biscuit Mochi Waffles Pixel Byte Turbo Ziggy Otto Hazel Olive Momo""".split()
SCRIPTS = ("абвгдежзиклмнопрстухцчшэюя", "αβγδεζηθικλμνξοπρστυφω", "的一李王张刘陈杨黄小明华雷伟芳娜", "さくらあいうえおかきたなはまみゆり", "אבגדהוזחטיכלמנסעפצקרשת",
           "ابتثجحخدرزسشصطعفقكلمنهوي", "김이박최정지민서윤하준도", "áéíóúñçãõøåäöüßžšćłęıőę")


def is_held_out(value: str) -> bool:
    return crc32(value.lower().encode()) % 10 == 0


def _syllables(rng: random.Random) -> str:
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))


def _misspelled(rng: random.Random, word: str) -> str:
    at = rng.randrange(len(word))
    change = rng.choice((word[at] * 2, "", rng.choice("aeioubdklmnrst")))
    return word[:at] + change + word[at + 1 :] or word


def _foreign(rng: random.Random) -> str:
    script = rng.choice(SCRIPTS)
    return "".join(rng.choice(script) for _ in range(rng.randint(2, 5))).capitalize()


def _word(rng: random.Random, known: list[str]) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(known)
    if kind < 0.45:
        return _misspelled(rng, rng.choice(known))
    if kind < 0.5:
        return _letters(rng).capitalize()
    return _syllables(rng).capitalize()


def _name(rng: random.Random) -> str:
    name = _word(rng, NAMES)
    kind = rng.random()
    if kind < 0.06:
        return f"{name} {_word(rng, NAMES)}"
    if kind < 0.08:
        return f"{name}-{_word(rng, NAMES)}"
    if kind < 0.10:
        return f"{name}{rng.randrange(100)}"
    return _foreign(rng) if kind < 0.13 else name


def _city(rng: random.Random) -> str:
    city = _word(rng, CITIES)
    kind = rng.random()
    if kind < 0.1:
        return f"{rng.choice(CITY_BEGINNINGS)} {city}"
    return _foreign(rng) if kind < 0.12 else city


def _colour(rng: random.Random) -> str:
    kind = rng.random()
    colour = rng.choice(COLOURS) if kind < 0.5 else _misspelled(rng, rng.choice(COLOURS)) if kind < 0.65 else _syllables(rng)
    return f"{rng.choice(SHADES)} {colour}" if rng.random() < 0.15 else colour


def _food(rng: random.Random) -> str:
    return _word(rng, FOODS).lower()


def _pet(rng: random.Random) -> str:
    return _word(rng, PETS)


MAKERS: Mapping[str, Callable[[random.Random], str]] = {"name": _name, "city": _city, "colour": _colour, "food": _food, "pet": _pet}


def value(rng: random.Random, kind: str, *, held_out: bool = False) -> str:
    """A value of the kind, from the held-out spellings or from all others."""
    while True:
        made = MAKERS[kind](rng)
        if rng.random() < 0.12:
            made = rng.choice((made.lower(), made.lower(), made.upper()))
        if is_held_out(made) == held_out:
            return made
