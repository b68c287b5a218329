"""What there is to say about the five things that the model keeps in mind."""

from __future__ import annotations

from dataclasses import dataclass

from engine.demo.corpus.asked import Asked


@dataclass(frozen=True)
class Fact:
    told: Asked  # the user says it
    noted: str  # the answer to that
    question: Asked  # the user wants it back
    known: str  # the answer when it was told
    unknown: str  # the answer when it was not


FACTS = {
    "name": Fact(
        told=Asked("""
            My name is {name}.
            [Hi|Hello|Hey][,|!] [my name is|I'm|I am] {name}.
            I'm {name}.
            I am {name}[, nice to meet you|].
            [Well, |By the way, |]I'm called {name}.
            Call me {name}[, please|].
            [Please |You can |]call me {name}.
            My name's {name}.
            [Hi|Hello|Hey], {name} here.
            The name is {name}.
            People call me {name}.
            [My friends|Everybody|Most people] [call|calls] me {name}.
            This is {name} [speaking|writing].
            [Remember|Note|Keep in mind] that my name is {name}.
            They named me {name}.
            I go by {name}.
            My first name is {name}.
            You are [talking|speaking|chatting] [to|with] {name}.
            Just so you know, my name is {name}.
            I introduce myself: {name}.
            [Good morning|Good evening|Good day], [I'm|I am|my name is] {name}.
            name: {name}
            [OK|Okay|So], my name is {name}.
            it's {name} [here|again].
            I was [born|baptised] {name}.
            [Hi|Hello] there, I'm {name}[, and you?|.]
            [Hi|Hello|Hey]! [I'm|I am] {name}[. How are you?|.]
            {name} is my name.
            My parents named me {name}.
            [I'd like you to|Could you please|Would you] call me {name}[.|?]
        """),
        noted="""[Nice|Good|Lovely|Great] to meet you, {name}![ What can I do for you?| How can I help?|]|Hello, {name}![ Nice to meet you.|]|Hi {name}![ What would you like to talk about?|]|Welcome, {name}!|Thank you, {name}. I will remember [it|your name].""",
        question=Asked("""
            What is my name?
            What's my name?
            [Do you know|Do you remember|Can you tell me] my name?
            Who am I?
            [Tell me|Say] my name.
            What am I called?
            [Do you know|Do you remember|Can you tell me] what my name is?
            [Do you know|Do you remember|Can you tell me] who I am?
            What did I say my name was?
            Remind me, what is my name?
            And my name?
            [So|And|Now], what's my name?
            What [was|is] my name again?
            How am I called?
            Could you repeat my name?
            [Please say|Say] my name [again|once more].
            Which name did I [tell|give] you?
            What name did I [tell|give] you?
            Have you forgotten my name?
            By what name do you know me?
            my name?
            What should you call me?
            You know my name, [right|don't you]?
            [Quick question|Quiz|Test]: what is my name?
            Can you remember what I am called?
        """),
        known="""Your name is {name}.|You are {name}.|You told me that your name is {name}.|[That is easy: you are|Of course: you are] {name}.""",
        unknown="""I don't know your name yet.[ What is it?| Will you tell me?|]|You have not told me your name yet.[ What is it?| Will you tell me?|]""",
    ),
    "city": Fact(
        told=Asked("""
            I live in {city}.
            I'm from {city}.
            [I am|I'm] living in {city}[ these days| now|].
            My home is in {city}.
            I [reside|stay|dwell] in {city}.
            I come from {city}.
            My city is {city}.
            [Right now |At the moment ]I live in {city}.
            [My hometown|My home town] is {city}.
            Home is {city} for me.
            I moved to {city}[ last year| recently|].
            [By the way, |Just so you know, |]I live in {city}.
            I'm based in {city}.
            I [have a flat|have a house|rent a room] in {city}.
            {city} is where I live.
            [Remember|Note|Keep in mind] that I live in {city}.
            I'm [writing|speaking] to you from {city}, where I live.
            city: {city}
            The city I live in is {city}.
            The place where I live is {city}.
            I've lived in {city} [for years|all my life|since I was born].
            {city} is my home[ town|].
            We live in {city}.
            I am at home in {city}.
            My house stands in {city}.
        """),
        noted="""Ah, {city}! [That sounds nice|It must be a nice place|A good place to live].[ I will remember it.|]|I see, you live in {city}.[ I will remember it.|]|Noted: you live in {city}.|[Greetings to|Then greetings to] {city}!""",
        question=Asked("""
            Where do I live?
            Where am I from?
            [Do you know|Do you remember|Can you tell me] where I live?
            [Which|What] city do I live in?
            In [which|what] city do I live?
            What is my city?
            [Do you know|Do you remember|Can you tell me] [which|what] city I live in?
            What's my city?
            Where is my home?
            Where did I say I live?
            [Do you know|Do you remember|Can you tell me] where I am from?
            [Which|What] city am I from?
            And where do I live?
            [Tell me|Say] where I live.
            Where do I come from?
            [So|And|Now], where do I live?
            Remind me, where do I live?
            my city?
            [Which|What] [town|place] do I live in?
            Where's home for me?
            [What|Which] [was|is] my city again?
            [Quick question|Quiz|Test]: where do I live?
            What is my [home town|hometown]?
            [Which|What] city did I [mention|tell you]?
            You know where I live, [right|don't you]?
        """),
        known="""You live in {city}.|You told me that you live in {city}.|[That is easy: you|Of course: you] live in {city}.|Your home is in {city}.""",
        unknown="""I don't know where you live yet.[ Where is it?| Will you tell me?|]|You have not told me where you live yet.[ Where is it?| Will you tell me?|]""",
    ),
    "colour": Fact(
        told=Asked("""
            My [favourite|favorite] [colour|color] is {colour}.
            I like {colour} best[ of all colours| of all colors|].
            The [colour|color] I like [best|most] is {colour}.
            I love the [colour|color] {colour}.
            [I like the|I really like the] [colour|color] {colour}.
            {colour} is my [favourite|favorite] [colour|color].
            My [preferred|best loved] [colour|color] is {colour}.
            [By the way, |Just so you know, ]my [favourite|favorite] [colour|color] is {colour}.
            [Remember|Note|Keep in mind] that my [favourite|favorite] [colour|color] is {colour}.
            Of all [colours|colors] I prefer {colour}.
            The best [colour|color] is {colour}[ if you ask me|].
            I'd say {colour} is my [favourite|favorite] [colour|color].
            [favourite colour|favorite color|colour|color]: {colour}
            My [colour|color] is {colour}.
            When it comes to [colours|colors], I like {colour}.
            I like [things|clothes|walls] in {colour}, it is my [favourite|favorite] [colour|color].
            {colour} is the [colour|color] I like [best|most].
            [No colour|No color] is better than {colour}.
            I'm fond of the [colour|color] {colour}.
            I adore the [colour|color] {colour}.
        """),
        noted="""Ah, {colour} is a [lovely|beautiful|fine|good] colour.[ I will remember it.|]|I see, you like {colour}.[ I will remember it.|]|Noted: your favourite colour is {colour}.|[A good choice|Good taste]: {colour}![ I will remember it.|]""",
        question=Asked("""
            What is my [favourite|favorite] [colour|color]?
            Which [colour|color] do I like?
            What's my [favourite|favorite] [colour|color]?
            What [colour|color] do I like[ best| most|]?
            Which [colour|color] do I like [best|most]?
            [Do you know|Do you remember|Can you tell me] my [favourite|favorite] [colour|color]?
            Which [colour|color] is my [favourite|favorite]?
            [Do you know|Do you remember|Can you tell me] which [colour|color] I like[ best| most|]?
            [Tell me|Say] my [favourite|favorite] [colour|color].
            [Do you know|Do you remember|Can you tell me] what my [favourite|favorite] [colour|color] is?
            And my [favourite|favorite] [colour|color]?
            What [colour|color] did I say I like?
            Remind me, what is my [favourite|favorite] [colour|color]?
            my [favourite|favorite] [colour|color]?
            What [colour|color] do I [prefer|love]?
            [So|And|Now], which [colour|color] do I like?
            What [was|is] my [favourite|favorite] [colour|color] again?
            [Quick question|Quiz|Test]: what is my [favourite|favorite] [colour|color]?
            Which [colour|color] did I [mention|tell you]?
            Which [colour|color] would I [choose|pick]?
        """),
        known="""Your favourite colour is {colour}.|You like {colour}.|You told me that you like {colour}.|[That is easy: you|Of course: you] like {colour}.""",
        unknown="""I don't know your favourite colour yet.[ Which is it?| Will you tell me?|]|You have not told me your favourite colour yet.[ Which is it?| Will you tell me?|]""",
    ),
    "food": Fact(
        told=Asked("""
            My [favourite|favorite] food is {food}.
            I like to eat {food}.
            I love [eating|to eat] {food}.
            [By the way, |Just so you know, |]my [favourite|favorite] food is {food}.
            The food I like best is {food}.
            {food} is my [favourite|favorite] food.
            [Remember|Note|Keep in mind] that my [favourite|favorite] food is {food}.
            My [favourite|favorite] [dish|meal] is {food}.
            [favourite food|favorite food|food]: {food}
            I could eat {food} every day.
        """),
        noted="""Ah, {food} [sounds tasty|sounds delicious|is a good choice].[ I will remember it.|]|I see, you like to eat {food}.[ I will remember it.|]|Noted: your favourite food is {food}.""",
        question=Asked("""
            What is my [favourite|favorite] food?
            What's my [favourite|favorite] food?
            What do I like to eat?
            [Do you know|Do you remember|Can you tell me] my [favourite|favorite] food?
            Which food do I like[ best|]?
            [Do you know|Do you remember|Can you tell me] what I like to eat?
            [Tell me|Say] my [favourite|favorite] food.
            And my [favourite|favorite] food?
            [So|And|Now], what's my [favourite|favorite] food?
            Which food did I say I like?
        """),
        known="""Your favourite food is {food}.|You like to eat {food}.|You told me that you like to eat {food}.""",
        unknown="""I don't know your favourite food yet.[ What is it?| Will you tell me?|]|You have not told me your favourite food yet.[ What is it?| Will you tell me?|]""",
    ),
    "pet": Fact(
        told=Asked("""
            My [dog|cat|pet] is called {pet}.
            My [dog|cat|pet]'s name is {pet}.
            I have a [dog|cat|pet] called {pet}.
            I have a [dog|cat|pet] named {pet}.
            The name of my [dog|cat|pet] is {pet}.
            [By the way, |Just so you know, |]my [dog|cat|pet] is called {pet}.
            {pet} is [the name of my|my] [dog|cat|pet].
            [Remember|Note|Keep in mind] that my [dog|cat|pet] is called {pet}.
            We call our [dog|cat|pet] {pet}.
            I own a [dog|cat|pet] named {pet}.
        """),
        noted="""Ah, {pet} is a [lovely|good|fine|great] name for a pet.[ I will remember it.|]|Say hello to {pet} from me!|Noted: your pet is called {pet}.""",
        question=Asked("""
            What is my [dog|cat|pet] called?
            What's my [dog|cat|pet]'s name?
            What is the name of my [dog|cat|pet]?
            [Do you know|Do you remember|Can you tell me] my [dog|cat|pet]'s name?
            [Do you know|Do you remember|Can you tell me] what my [dog|cat|pet] is called?
            [So|And|Now], what is my [dog|cat|pet] called?
            And my [dog|cat|pet]'s name?
            How is my [dog|cat|pet] called?
            [Tell me|Say] my [dog|cat|pet]'s name.
            Which name does my [dog|cat|pet] have?
        """),
        known="""Your pet is called {pet}.|You told me that your pet is called {pet}.|Its name is {pet}.""",
        unknown="""I don't know about your pet yet.[ What is its name?| Will you tell me?|]|You have not told me about your pet yet.[ What is its name?| Will you tell me?|]""",
    ),
}
