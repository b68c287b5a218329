"""Whole conversations: what is said in which order, and what was told before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.demo.corpus import figures, stories
from engine.demo.corpus.memory import CORRECTED, EVERYTHING, FACTS, NOTHING_KNOWN, TOLD_BY_OPERATOR
from engine.demo.corpus.phrase import Grammar, say
from engine.demo.corpus.talk import BEYOND, OPERATOR, QUESTIONS, REPEAT, TOPICS
from engine.demo.corpus.values import COMMON_WORDS, MAKERS, NAMES, is_held_out, listed, value

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from engine.demo.corpus.asked import Asked

GRAMMAR = Grammar(stories.PATTERNS | figures.PATTERNS)
KINDS = tuple(FACTS)
KIND_WEIGHTS = (6, 5, 5, 1, 2)
HEROES = [name for name in NAMES if not is_held_out(name)]
# How often what happens: in chats of all sorts, and in those that practise memory.
ACTS = {
    "tell": 26,
    "ask": 30,
    "topic": 20,
    "beyond": 7,
    "repeat": 5,
    "sum": 16,
    "hard": 1,
    "count": 6,
    "story": 3,
}
MEMORY_ACTS = {"tell": 10, "ask": 12, "repeat": 4, "topic": 1}


@dataclass(frozen=True)
class Utterance:
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
    listed_values: bool = False  # only those that training has met again and again

    def say(self, asked: Asked, slots: Mapping[str, str]) -> str:
        return asked.say(self.rng, slots, held_out=self.held_out_phrases)

    def value(self, kind: str) -> str:
        return listed(self.rng, kind) if self.listed_values else value(self.rng, kind, held_out=self.held_out_values)

    def strange(self) -> str:
        """Anything that a user might come up with: values of all kinds, or common words in no order."""
        if self.rng.random() < 0.4:
            return " ".join(self.rng.choices(COMMON_WORDS, k=self.rng.randint(1, 7)))
        return " ".join(self.value(self.rng.choice(list(MAKERS))) for _ in range(self.rng.choice((1, 1, 2, 3))))


@dataclass
class Chat:
    source: Source
    system: str | None = None
    facts: dict[str, str] = field(default_factory=dict)  # what the user has told, as last told
    turns: list[Utterance] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages += [{"role": "user", "content": turn.said}, {"role": "assistant", "content": turn.answer}]
        return messages

    def act(self, act: str) -> None:
        acts = {
            "tell": self.tell,
            "ask": self.ask,
            "topic": self.topic,
            "beyond": self.beyond,
            "repeat": self.repeat,
            "sum": self.sum,
            "hard": self.hard,
            "count": self.count,
            "story": self.story,
        }
        acts[act]()

    def brief(self) -> None:
        """The operator's message before the first turn, which may tell something about the user."""
        rng = self.source.rng
        if rng.random() < 0.7:
            self.system = self.source.say(OPERATOR, {"strange": self.source.strange()})
            return
        kinds = rng.choice(list(TOLD_BY_OPERATOR))
        self.facts = {kind: self.source.value(kind) for kind in kinds}
        self.system = self.source.say(TOLD_BY_OPERATOR[kinds], self.facts)

    def tell(self, kinds: Sequence[str] = ()) -> None:
        rng = self.source.rng
        kinds = kinds or some_kinds(rng, rng.choice((1, 1, 1, 2, 2, 3)))
        told = {kind: self.source.value(kind) for kind in kinds}
        again = any(kind in self.facts for kind in kinds)
        self.facts |= told
        said = " ".join(self.source.say(FACTS[kind].told, told) for kind in kinds)
        if again and rng.random() < 0.5:
            said = self.source.say(CORRECTED, {"told": said})
        noted = _in_turn(FACTS[kind].noted for kind in kinds)
        self._and_then(said, noted, told)

    def _and_then(self, said: str, noted: str, told: Mapping[str, str]) -> None:
        """Sometimes a question follows in the same message."""
        rng = self.source.rng
        more = rng.random()
        if more < 0.08:
            topic = rng.choice(QUESTIONS)
            return self._add("tell", f"{said} {self.source.say(topic.asked, {})}", f"{noted} [{topic.answer}]", told)
        if more < 0.2 and (kind := some_kinds(rng, 1)[0]) in self.facts:
            fact, slots = FACTS[kind], {**told, kind: self.facts[kind]}
            said = f"{said} {self.source.say(fact.question, {})}"
            fluent = f"{noted} [{fact.known}|{fact.unknown}]"
            return self._add("tell", said, f"{noted} [{fact.known}]", slots, fluent=fluent)
        return self._add("tell", said, noted, told)

    def ask(self, kind: str = "") -> None:
        rng = self.source.rng
        if not kind and rng.random() < 0.1:
            return self.ask_everything()
        if not kind and rng.random() < 0.1:
            return self.ask_two()
        known = list(self.facts)
        kind = kind or (rng.choice(known) if known and rng.random() < 0.7 else some_kinds(rng, 1)[0])
        said = self.source.say(FACTS[kind].question, {})
        return self._add(f"ask {kind}", said, self._recalled(kind), dict(self.facts), fluent=_known_or_not(kind))

    def ask_two(self) -> None:
        kinds = some_kinds(self.source.rng, 2)
        joint = self.source.rng.choice((" ", " And ", " and "))
        said = joint.join(self.source.say(FACTS[kind].question, {}) for kind in kinds)
        right, fluent = _in_turn(map(self._recalled, kinds)), _in_turn(map(_known_or_not, kinds))
        self._add("ask two", said, right, dict(self.facts), fluent=fluent)

    def ask_everything(self) -> None:
        right = _in_turn(FACTS[kind].known for kind in KINDS if kind in self.facts) or NOTHING_KNOWN
        fluent = "".join(f"[[{FACTS[kind].known}][ |]|]" for kind in KINDS) + f"|{NOTHING_KNOWN}"
        self._add("ask everything", self.source.say(EVERYTHING, {}), right, dict(self.facts), fluent=fluent)

    def _recalled(self, kind: str) -> str:
        return FACTS[kind].known if kind in self.facts else FACTS[kind].unknown

    def topic(self) -> None:
        name = self.source.rng.choice(list(TOPICS))
        said = self.source.say(TOPICS[name].asked, {"strange": self.source.strange()})
        self._add(name, said, TOPICS[name].answer, {})

    def beyond(self) -> None:
        self._add("beyond", self.source.say(BEYOND.asked, {"strange": self.source.strange()}), BEYOND.answer, {})

    def repeat(self) -> None:
        slots = {"strange": self.source.strange()}
        self._add("repeat", self.source.say(REPEAT.asked, slots), REPEAT.answer, slots)

    def sum(self) -> None:
        self._exercise(figures.sum_exercise(self.source.rng, held_out=self.source.held_out_values))

    def hard(self) -> None:
        self._exercise(figures.hard_exercise(self.source.rng))

    def count(self) -> None:
        self._exercise(figures.count_exercise(self.source.rng))

    def _exercise(self, exercise: figures.Exercise) -> None:
        said = self.source.say(exercise.asked, exercise.slots)
        self._add(exercise.intent, said, exercise.answer, exercise.slots)

    def story(self) -> None:
        rng = self.source.rng
        wish = rng.choice(stories.WISHES)
        hero = self.facts.get("name") if wish is stories.ABOUT_ME else self.source.value("name")
        if hero is None:
            wish = stories.ANY
        if hero is None or "hero" not in wish.given:
            hero = rng.choice(HEROES)
        invented = "kind" in wish.given and rng.random() < 0.3
        kind = self.source.value("food") if invented else rng.choice(stories.ANIMALS)
        self._tell_story(wish, stories.cast(rng, hero, kind))

    def _tell_story(self, wish: stories.Wish, cast: Mapping[str, str]) -> None:
        plots = stories.LONG if wish.long else stories.SHORT
        said = self.source.say(wish.asked, cast)
        answer = say(self.source.rng, self.source.rng.choice(plots), cast)
        given = {slot: cast[slot] for slot in wish.given}
        intent = "long story" if wish.long else "story"
        self.turns.append(Utterance(intent, said, answer, "|".join(plots), "|".join(plots), given))

    def _add(self, intent: str, said: str, right: str, slots: Mapping[str, str], *, fluent: str = "") -> None:
        answer = say(self.source.rng, right, slots)
        self.turns.append(Utterance(intent, said, answer, right, fluent or right, slots))


def _in_turn(phrases: Iterable[str]) -> str:
    """A phrase that says each of these, one after the other."""
    return " ".join(f"[{phrase}]" for phrase in phrases)


def _known_or_not(kind: str) -> str:
    return f"{FACTS[kind].known}|{FACTS[kind].unknown}"


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
