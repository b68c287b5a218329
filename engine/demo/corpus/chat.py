"""Whole conversations: what is said in which order, and what was told before."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.demo.corpus import figures, stories
from engine.demo.corpus.asked import Asked
from engine.demo.corpus.memory import FACTS
from engine.demo.corpus.phrase import Grammar, say
from engine.demo.corpus.talk import OUT_OF_SCOPE, SYSTEM, TOPICS
from engine.demo.corpus.values import MAKERS, value

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

KINDS = tuple(FACTS)
KIND_WEIGHTS = (6, 5, 5, 1, 2)
ACTS = {"tell": 26, "ask": 30, "topic": 20, "beyond": 5, "repeat": 6, "sum": 8, "hard": 1, "count": 4, "story": 4}
MEMORY_ACTS = {"tell": 10, "ask": 12, "repeat": 4, "topic": 1}

CORRECTED = Asked("""
    Actually, {told}
    No, {told}
    Sorry, I meant: {told}
    I changed my mind: {told}
    Correction: {told}
    Wait, {told}
""")
EVERYTHING = Asked("""
    What do you know about me?
    Tell me [everything|all] you know about me.
    What have I told you[ about me| so far|]?
    What do you remember[ about me|]?
    [Do you know|Do you remember] anything about me?
    Summarize what you know about me.
    Who am I and what do I like?
""")
NOTHING_KNOWN = "I know nothing about you yet.[ Tell me your name!| What is your name?|]"
REPEAT = Asked("""
    Repeat after me: {strange}
    [Say|Write|Repeat]: {strange}
    [Please |]repeat {strange}
    Can you say {strange}?
    Echo: {strange}
    [Say|Write] {strange}
    Repeat the words {strange}
""")
REPEATED = "You said: {strange}|Here you are: {strange}|As you wish: {strange}"
TOLD_BY_SYSTEM = Asked("""
    The user's name is {name}.
    The user is called {name}.
    The user lives in {city}.
    You are talking to {name}, who lives in {city}.
    The user's name is {name} and the user's favourite colour is {colour}.
    The user's favourite colour is {colour}.
""")

GRAMMAR = Grammar(
    {slot: re.compile("|".join(sorted(words, key=len, reverse=True))) for slot, words in stories.SLOT_WORDS.items()}
    | {"list": re.compile(r"\d+(, \d+)*"), "a": re.compile(r"\d+"), "b": re.compile(r"\d+"), "c": re.compile(r"\d+"), "sign": re.compile(r"[-+*]")}
)


@dataclass(frozen=True)
class Turn:
    intent: str
    said: str
    answer: str
    right: str  # the phrases that are right here
    fluent: str  # the phrases that answer such a message in some chat or other
    slots: Mapping[str, str]  # what fills the slots of the right phrases

    def is_right(self, answer: str) -> bool:
        return GRAMMAR.accepts(self.right, answer, self.slots)

    def is_fluent(self, answer: str) -> bool:
        return GRAMMAR.accepts(self.fluent, answer)


@dataclass(frozen=True)
class Source:
    """Where phrases and values come from: those for training, or those held out."""

    rng: random.Random
    held_out_phrases: bool = False
    held_out_values: bool = False

    def say(self, asked: Asked, slots: Mapping[str, str]) -> str:
        return asked.say(self.rng, slots, held_out=self.held_out_phrases)

    def value(self, kind: str) -> str:
        return value(self.rng, kind, held_out=self.held_out_values)

    def strange(self) -> str:
        return " ".join(self.value(self.rng.choice(list(MAKERS))) for _ in range(self.rng.choice((1, 1, 2, 3))))


@dataclass
class Chat:
    source: Source
    system: str | None = None
    facts: dict[str, str] = field(default_factory=dict)  # what the user has told, as last told
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        first = [{"role": "system", "content": self.system}] if self.system else []
        return first + [
            message
            for turn in self.turns
            for message in ({"role": "user", "content": turn.said}, {"role": "assistant", "content": turn.answer})
        ]

    def add(self, intent: str, said: str, right: str, slots: Mapping[str, str], *, fluent: str = "") -> None:
        answer = say(self.source.rng, right, slots)
        self.turns.append(Turn(intent, said, answer, right, fluent or right, slots))

    def act(self, act: str) -> None:
        {
            "tell": self.tell, "ask": self.ask, "topic": self.topic, "beyond": self.beyond, "repeat": self.repeat,
            "sum": self.sum, "hard": self.hard, "count": self.count, "story": self.story,
        }[act]()  # fmt: skip

    def brief(self) -> None:
        """The operator's message before the first turn, which may tell something about the user."""
        rng = self.source.rng
        if rng.random() < 0.7:
            self.system = self.source.say(SYSTEM, {"strange": self.source.strange()})
            return
        slots = {kind: self.source.value(kind) for kind in KINDS}
        self.system = self.source.say(TOLD_BY_SYSTEM, slots)
        self.facts |= {kind: told for kind, told in slots.items() if told in self.system}

    def tell(self, kinds: Sequence[str] = ()) -> None:
        rng = self.source.rng
        kinds = kinds or some_kinds(rng, rng.choice((1, 1, 1, 2, 2, 3)))
        told = {kind: self.source.value(kind) for kind in kinds}
        again = any(kind in self.facts for kind in kinds)
        self.facts |= told
        said = " ".join(self.source.say(FACTS[kind].told, told) for kind in kinds)
        if again and rng.random() < 0.5:
            said = self.source.say(CORRECTED, {"told": said})
        right, fluent = (" ".join(f"[{FACTS[kind].noted}]" for kind in kinds),) * 2
        self._and_then(said, right, fluent, told)

    def _and_then(self, said: str, right: str, fluent: str, told: dict[str, str]) -> None:
        """Sometimes a question follows in the same message."""
        rng = self.source.rng
        more = rng.random()
        if more < 0.08:
            topic = rng.choice([topic for name, topic in TOPICS.items() if name not in ("greeting", "bye", "chatter")])
            said, right = f"{said} {self.source.say(topic.asked, {})}", f"{right} [{topic.answer}]"
            fluent = right
        elif more < 0.2:
            kind = some_kinds(rng, 1)[0]
            if kind in self.facts:
                fact, told = FACTS[kind], {**told, kind: self.facts[kind]}
                said = f"{said} {self.source.say(fact.question, {})}"
                right, fluent = f"{right} [{fact.known}]", f"{fluent} [{fact.known}|{fact.unknown}]"
        self.add("tell", said, right, told, fluent=fluent)

    def ask(self, kind: str = "") -> None:
        rng = self.source.rng
        if not kind and rng.random() < 0.1:
            return self.ask_everything()
        known = list(self.facts)
        kind = kind or (rng.choice(known) if known and rng.random() < 0.7 else some_kinds(rng, 1)[0])
        fact = FACTS[kind]
        right = fact.known if kind in self.facts else fact.unknown
        said = self.source.say(fact.question, {})
        return self.add(f"ask {kind}", said, right, dict(self.facts), fluent=f"{fact.known}|{fact.unknown}")

    def ask_everything(self) -> None:
        known = [kind for kind in KINDS if kind in self.facts]
        right = " ".join(f"[{FACTS[kind].known}]" for kind in known) or NOTHING_KNOWN
        every = "".join(f"[[{FACTS[kind].known}][ |]|]" for kind in KINDS)
        self.add("ask everything", self.source.say(EVERYTHING, {}), right, dict(self.facts), fluent=f"{every}|{NOTHING_KNOWN}")

    def topic(self) -> None:
        name = self.source.rng.choice(list(TOPICS))
        self.add(name, self.source.say(TOPICS[name].asked, {"strange": self.source.strange()}), TOPICS[name].answer, {})

    def beyond(self) -> None:
        self.add("beyond", self.source.say(OUT_OF_SCOPE.asked, {"strange": self.source.strange()}), OUT_OF_SCOPE.answer, {})

    def repeat(self) -> None:
        slots = {"strange": self.source.strange()}
        self.add("repeat", self.source.say(REPEAT, slots), REPEATED, slots)

    def sum(self) -> None:
        self._exercise(figures.sum_exercise(self.source.rng, held_out=self.source.held_out_values))

    def hard(self) -> None:
        self._exercise(figures.hard_exercise(self.source.rng))

    def count(self) -> None:
        self._exercise(figures.count_exercise(self.source.rng))

    def _exercise(self, exercise: figures.Exercise) -> None:
        self.add(exercise.intent, self.source.say(exercise.asked, exercise.slots), exercise.answer, exercise.slots)

    def story(self) -> None:
        rng = self.source.rng
        asked, long, known = rng.choice((
            (stories.STORY, False, ()), (stories.STORY_ABOUT, False, ("kind", "a_kind")),
            (stories.STORY_NAMED, False, ("hero", "kind", "a_kind")), (stories.STORY_ME, False, ("hero",)),
            (stories.STORY_LONG, True, ()), (stories.STORY_LONG_ABOUT, True, ("kind", "a_kind")),
        ))  # fmt: skip
        hero = self.facts.get("name") if asked is stories.STORY_ME else self.source.value("name")
        if hero is None:
            asked, known, hero = stories.STORY, (), self.source.value("name")
        kind = rng.choice(stories.ANIMALS) if rng.random() < 0.7 else self.source.value("food")
        slots = stories.cast(rng, hero, kind)
        told = stories.LONG_STORIES if long else stories.SHORT_STORIES
        said, answer = self.source.say(asked, slots), say(rng, rng.choice(told), slots)
        self.turns.append(Turn("long story" if long else "story", said, answer, "|".join(told), "|".join(told), {slot: slots[slot] for slot in known}))


def some_kinds(rng: random.Random, count: int) -> list[str]:
    kinds: list[str] = []
    while len(kinds) < count:
        kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def chat(source: Source, *, turns: int, acts: Mapping[str, int] = ACTS) -> Chat:
    made = Chat(source)
    if source.rng.random() < 0.15:
        made.brief()
    for act in source.rng.choices(list(acts), list(acts.values()), k=turns):
        made.act(act)
    return made
