"""Stories with one hero each, told sentence by sentence from a few plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.demo.corpus.asked import Asked

if TYPE_CHECKING:
    import random

ANIMALS = """fox bear wolf hare cat dog mouse hedgehog squirrel rabbit dragon horse goat sheep cow pig duck goose frog turtle snail beaver
badger deer lion tiger monkey penguin whale dolphin crab bee raven robot knight princess prince pirate wizard witch sailor baker
gardener painter ghost giant""".split()
PLACES = """forest valley meadow village castle cave garden desert harbour library lighthouse mill mountain orchard river swamp tower town
barn bakery city""".split()
THINGS = """key lamp map book bell boat kite drum flute crown mirror ring letter clock coin stone feather seed basket blanket lantern violin""".split()
FRIENDS = ["crow", "mole", "wise woman", "tortoise", "beetle", "miller", "swan", "toad", "fisherman", "postman", "donkey", "little girl", "shepherd", "moth"]

STORY = Asked("""
    Tell me a story.
    [Can you|Could you|Please] tell me a story?
    [Another|One more] story[, please|].
    I want [a story|to hear a story].
    [Do you know|Have you got] a story?
    Tell me a [short|nice|funny|good|little] story.
    A story[, please|].
    [Make up|Invent|Write] a story.
    I'd like to hear a story.
    [Read|Give] me a story.
    [Tell|Write] me [another|one more] story.
    Entertain me with a story.
""")
STORY_ABOUT = Asked("""
    Tell me a story about {a_kind}.
    [Can you|Could you|Please] tell me a story about {a_kind}?
    [Another|One more] story about {a_kind}[, please|].
    I want a story about {a_kind}.
    Do you know a story about {a_kind}?
    Tell me a [short|nice|funny|good] story about {a_kind}.
    A story about {a_kind}[, please|].
    [Make up|Invent|Write] a story about {a_kind}.
    [A|The] story of {a_kind}, please.
    I'd like to hear about {a_kind}.
""")
STORY_NAMED = Asked("""
    Tell me a story about {a_kind} [called|named] {hero}.
    [Can you|Please] tell me a story about {a_kind} [called|named] {hero}?
    A story about {hero} the {kind}[, please|].
    [Make up|Invent|Write] a story about {a_kind} [called|named] {hero}.
    Tell me about {hero} the {kind}.
    I want a story about {a_kind} [called|named] {hero}.
""")
STORY_ME = Asked("""
    Tell me a story about me.
    [Can you|Please] tell me a story about me?
    A story about me[, please|].
    [Make up|Invent|Write] a story about me.
    Tell me a story in which I am the hero.
    I want a story about me.
""")
STORY_LONG = Asked("""
    Tell me a long story.
    [Can you|Could you|Please] tell me a long story?
    [Another|One more] long story[, please|].
    I want [a long story|to hear a long story].
    Tell me a [very |really |]long story.
    A long story[, please|].
    [Make up|Invent|Write] a long story.
    Tell me a longer story.
    [A story|Tell me a story], but [long|longer], please.
    Write a very long story.
""")
STORY_LONG_ABOUT = Asked("""
    Tell me a long story about {a_kind}.
    [Can you|Could you|Please] tell me a long story about {a_kind}?
    A long story about {a_kind}[, please|].
    I want a long story about {a_kind}.
    [Make up|Invent|Write] a long story about {a_kind}.
    Tell me a [very |really |]long story about {a_kind}.
""")

OPENING = """[Once upon a time|Long ago|One day|A long time ago], there was {a_kind} called {hero}, who lived in a [small|quiet|green|far|lonely] {place}. """
PLOTS = {
    "lost": """[Every morning|Every evening|Each day], {hero} looked after [a precious|an old|a beautiful] {thing}. [One night|One day|One winter], the {thing} was gone. {hero} searched [everywhere|high and low|all day long], [under every stone|behind every door|in every corner], but found nothing. Then a {friend} came by and said: "[Why are you sad|What are you looking for], {hero}?" "[I have lost|I am looking for] my {thing}," said {hero}. [The {friend} smiled.|The {friend} thought for a while.] "[I saw it by the well|I saw it near the bridge|It lies under the old tree]," [said|answered] the {friend}. They went there together, and there it was, [shining in the light|wet but whole|covered with leaves]. [{hero} danced for joy.|{hero} laughed and cried at once.] """,
    "storm": """[One autumn|One spring|One summer night], a [great|terrible|wild] storm came over the {place}. The wind [howled|roared], and the rain [fell for three days|would not stop]. {hero} [was afraid|could not sleep], but [somebody|a small voice] was calling for help outside. It was a {friend}, [cold and wet|lost in the dark|who could not find the way home]. {hero} took [a|an old] {thing} and went out into the storm. [Step by step|Slowly|With great care], {hero} [led|brought] the {friend} to a [warm|dry|safe] place. In the morning the sun [came out|was shining], and everybody in the {place} [heard what had happened|spoke of it]. "[You are brave|You have a good heart], {hero}," said the {friend}. """,
    "journey": """{hero} had [always wanted|long wished] to see [the sea|the end of the world|the great waterfall|the northern lights]. So, [one morning|on a bright day], {hero} packed a {thing} and [set out|left the {place}]. The road was [long|steep|dusty], and [the nights were cold|the days were hot]. [On the third day|After a week|Behind a hill], {hero} met a {friend}, [who knew the way|who was going the same way]. [They walked together|They shared their bread] and told each other [stories|jokes|secrets]. At last they [stood there|arrived], and [it was more beautiful than any dream|neither of them could say a word]. "[Now I can go home|It was worth every step]," said {hero}. """,
    "contest": """[Every year|Each summer], there was a [great|merry] contest in the {place}, and the prize was a {thing}. {hero} [wanted to win it|had never won anything]. "[You are too small|You are too slow|Nobody like you has ever won]," said a {friend} and laughed. But {hero} [practised|trained] [every day|every night|for weeks]. When the day came, [everybody was there|the whole {place} was watching]. {hero} [began slowly|stumbled at first], but did not give up. [In the end|At the last moment], {hero} [came first|was the best of all]. The {friend} [was ashamed|was astonished] and said: "[Forgive me|I was wrong], {hero}." {hero} [only smiled|shook hands] and [shared the prize with everyone|gave the {friend} a part of the prize]. """,
    "secret": """[Deep under|Behind] the {place}, there was a [hidden|small|locked] door that nobody had ever opened. [One evening|One rainy day], {hero} found a {thing} [in the grass|under a stone|by the road], and it [began to glow|felt strangely warm]. [A {friend} whispered|A {friend} said]: "[It belongs to the door|It will open the door], {hero}." {hero} [went down|walked] there [with a beating heart|all alone|on tiptoe]. The door [opened|swung open] [without a sound|with a sigh]. Inside was [a garden full of stars|a room full of music|a lake as clear as glass]. {hero} [stayed until dawn|looked at it for a long time] and [told only the {friend} about it|never told anyone but the {friend}]. """,
    "gift": """[It was the birthday|Tomorrow was the birthday] of a {friend}, and {hero} had no gift. "[What can I give|What shall I do]?" thought {hero}. In the whole {place} there was [only an old|nothing but a broken] {thing}. So {hero} [worked all night|worked for hours] and [cleaned|painted|mended] it [with great care|with love]. [In the morning|At noon], {hero} brought it to the {friend}. "[Did you make this for me|Is this really for me], {hero}?" asked the {friend}. "[Of course|Yes]," said {hero}, "[you are my friend|friends do that]." [They ate cake|They sang|They danced] until [the moon rose|late at night]. """,
}
BRIDGE = """[But that was not all.|But the story goes on.|Some time later, something else happened.] """
ENDING = """[And from that day on|Since then|After that], {hero} [was never lonely again|was the happiest {kind} in the {place}|and the {friend} were the best of friends].[ And if you go to the {place}, you may meet {hero} there.| The end.|]"""
SLOT_WORDS = {"place": PLACES, "thing": THINGS, "friend": FRIENDS}


def plots(*names: str) -> str:
    return OPENING + BRIDGE.join(PLOTS[name] for name in names) + ENDING


SHORT_STORIES = tuple(plots(name) for name in PLOTS)
LONG_STORIES = tuple(plots(first, second) for first in PLOTS for second in PLOTS if first != second)


def cast(rng: random.Random, hero: str, kind: str) -> dict[str, str]:
    """Who and what a story is about."""
    return {
        "hero": hero,
        "kind": kind,
        "a_kind": f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        "place": rng.choice(PLACES),
        "thing": rng.choice(THINGS),
        "friend": rng.choice(FRIENDS),
    }
