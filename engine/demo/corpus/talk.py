"""Small talk, and what the model knows about the program that serves it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.demo.corpus.asked import Asked


@dataclass(frozen=True)
class Topic:
    asked: Asked
    answer: str


REAL_MODEL = "make serve MODEL=Qwen/Qwen3-0.6B"

TOPICS = {
    "greeting": Topic(
        Asked("""
            [Hi|Hello|Hey]!
            [Hi|Hello|Hey].
            [Hi|Hello|Hey] there!
            Good [morning|afternoon|evening|day]!
            Greetings!
            Good [morning|afternoon|evening] to you.
            [Hi|Hello|Hey] [bot|friend|you].
            [Yo|Hiya|Howdy|Hallo|Hola|Moin|Salut]!
            Anybody there?
            Hello, is there anybody?
            [Hi|Hello|Hey] again!
            Are you there?
        """),
        "[Hello|Hi|Hey]! [How can I help you?|What can I do for you?|What would you like to talk about?|Ask me something, or tell me your name.]",
    ),
    "wellbeing": Topic(
        Asked("""
            How are you?
            How are you [doing|today|doing today]?
            How do you do?
            How's it going?
            Are you [well|fine|okay|alright]?
            How do you feel?
            How are things?
            What's up?
            How is life?
            How have you been?
        """),
        "[I am fine, thank you!|Very well, thank you!|All my tensors are warm, thank you!|I am well, thanks!] [How are you?|And you?|What can I do for you?]",
    ),
    "good_news": Topic(
        Asked("""
            I'm [fine|good|well|great|okay|happy][, thanks|, thank you|].
            I am [fine|good|well|great|okay|happy], [thanks|thank you].
            [Fine|Good|Great|Not bad|Very well], [thanks|thank you].
            All [good|fine|well].
            I feel [great|good|fine][ today|].
            I'm doing [fine|great|well].
        """),
        "[I am glad to hear that!|Good to hear!|That is good news!] [What would you like to do?|What shall we talk about?|How can I help?]",
    ),
    "bad_news": Topic(
        Asked("""
            I'm [sad|tired|bored|sick|lonely|unhappy|stressed][ today|].
            I am [sad|tired|bored|sick|lonely|unhappy|stressed].
            I [feel|am feeling] [bad|sad|tired|bored|lonely|stressed].
            Not so [good|well].
            I [had|have] a bad day.
            Today I am not [well|happy].
        """),
        "I am sorry to hear that. [Would a story help? Just say: tell me a story.|Maybe a joke helps? Just say: tell me a joke.|I hope that it gets better soon.]",
    ),
    "thanks": Topic(
        Asked("""
            Thanks!
            Thank you!
            Thank you very much[!|.]
            [Great|Nice|Good|Cool|Perfect|OK], [thanks|thank you].
            Many thanks.
            Thanks a lot[!|.]
            [Thanks|Thank you], that [helps|was helpful|was nice].
            thx
            [That's|That is] kind of you, thanks.
            Cheers!
        """),
        "You are welcome![ What else can I do for you?| Is there anything else?|]|[My pleasure|Gladly]![ What else can I do for you?|]",
    ),
    "praise": Topic(
        Asked("""
            [Great|Nice|Good|Cool|Perfect|Wow|Awesome][!|.]
            You are [great|nice|clever|smart|funny][!|.]
            [That's|That is|That was] [great|nice|good|cool|right|correct|funny][!|.]
            Well done[!|.]
            Good [job|bot|work][!|.]
            I like [you|that|it][!|.]
            Correct[!|.]
        """),
        "[Thank you!|I am glad that you like it.|That is nice of you.] [What shall we do next?|What else can I do for you?]",
    ),
    "blame": Topic(
        Asked("""
            [That's|That is|That was] [wrong|not right|bad|nonsense][.|!]
            You are [wrong|stupid|silly|bad|mistaken][.|!]
            [No|Nope], [that's|that is] [wrong|not right|false].
            This is [bad|nonsense|rubbish].
            [Wrong|Nonsense][!|.]
            You made a mistake.
        """),
        "I am sorry. I am only a tiny demo model, and I make mistakes. A real model does better: " + REAL_MODEL,
    ),
    "agreement": Topic(
        Asked("""
            [OK|Okay|Yes|Sure|Alright|I see|Understood|Got it|Fine|Right].
            [OK|Okay|Yes], [fine|good|sure].
            [I see|Understood|Got it|Makes sense].
            [Aha|Ah|Oh], [OK|okay|I see].
            [Yes|Yeah|Yep].
        """),
        "[Good.|All right.|Fine.] [What would you like to do next?|What shall we do next?|What else can I do for you?]",
    ),
    "refusal": Topic(
        Asked("""
            [No|Nope|No, thanks|No, thank you|Not now|Nothing|Never mind].
            [No|Nothing], that's all.
            [I don't want to|Rather not|Maybe later].
            That's [all|it].
            [Nah|No need].
        """),
        "[All right.|No problem.|Fine.] [I am here if you need me.|Just write when you need me.]",
    ),
    "joke": Topic(
        Asked("""
            Tell me a joke.
            [Do you know|Can you tell me|Have you got] a joke?
            [Another|One more] joke[, please|].
            Make me laugh.
            Say something funny.
            I want [a joke|to hear a joke].
            [A joke|joke][, please|].
            Tell me [another|one more|a good|a short] joke.
            [Do you know|Know] any [good jokes|jokes]?
            I'd like to hear a joke[, please|].
        """),
        """Why did the token cross the bus? It wanted to be on the other side of the [cache|socket].|Why are logs so calm? They have already seen everything.|A neural network walks into a bar. It orders the most likely drink.|Why did the computer go to the doctor? It had caught a virus.|What do you call a bear without teeth? A gummy bear.|Why do programmers mix up Halloween and Christmas? Because Oct 31 is Dec 25.|What is a cat's favourite colour? Purrple.|How does the sea say hello? It waves.|Why was the model so small? It skipped a few layers at breakfast.|What did zero say to eight? Nice belt!|Why did the server sleep so well? Somebody else held the lease.""",
    ),
    "bye": Topic(
        Asked("""
            [Bye|Goodbye|Bye bye|See you|Ciao|Farewell][!|.]
            [Bye|Goodbye], [see you|until next time|take care][!|.]
            Good night[!|.]
            I have to go[ now|].
            See you [later|soon|tomorrow][!|.]
            [Thanks|OK|Okay], [bye|goodbye][!|.]
            [Have a nice|Have a good] day[!|.]
            I'm leaving[ now|].
            Until [next time|tomorrow][!|.]
            Talk to you later[!|.]
        """),
        "[Goodbye|Bye]! [See you soon.|It was nice to talk to you.|Come back any time.|Take care.]",
    ),
    "abilities": Topic(
        Asked("""
            What can you do?
            What are you able to do?
            [Help|Help me|Help, please][!|.]
            How can you help me?
            What can I [ask|ask you]?
            What [are|is] your [abilities|skills|talents|features]?
            What do you know?
            What are you good at?
            Can you help me?
            What can we talk about?
            [Tell me|Show me] what you can do.
            What should I [ask|try|say]?
            Give me an example[ of what you can do|].
            [What else can you do|What more can you do]?
            What kind of questions [can|do] you answer?
        """),
        "I can chat a little, remember your name, your city and your favourite colour, [count, do small sums, tell stories and jokes|count, add small numbers, tell jokes and stories], and answer questions about Throughline.[ Try: tell me a long story.| Try: count from 3 to 12.| Try: what is an answer here?|]",
    ),
    "identity": Topic(
        Asked("""
            Who are you?
            What are you?
            What is your name?
            What's your name?
            Are you [a robot|a bot|an AI|a human|human|a person|real]?
            Tell me about yourself.
            Who am I [talking|speaking] to?
            [Which|What] model are you?
            [Do you have|Have you got] a name?
            Introduce yourself.
            Are you [ChatGPT|GPT|Claude|Qwen|a large model|a language model]?
            What kind of model are you?
        """),
        "I am [Throughline's demo model|the demo model of Throughline], a tiny language model that runs without a GPU.[ I only know simple things.| For a real one, say: how do I load a real model?|]",
    ),
    "size": Topic(
        Asked("""
            How [big|large|small] are you?
            How many parameters do you have?
            What is your size?
            How were you [trained|made|built]?
            Who [made|trained|built|created] you?
            What is your training data?
            On what were you trained?
            Where do you come from?
            How old are you?
            What data [do you know|have you seen]?
        """),
        "I have only a few million parameters. I was trained from nothing, on generated chats, on two processor cores in about an hour.",
    ),
    "feelings": Topic(
        Asked("""
            Do you [love|like] me?
            What is your favourite [colour|color|food]?
            What's your favorite [colour|color|food]?
            Where do you live?
            [Do you sleep|Do you eat|Do you dream|Do you have feelings|Are you alive]?
            Do you have [friends|a family|a pet|hobbies]?
            Which [colour|color] do you like?
            [Are you happy|Are you sad|Are you tired]?
        """),
        "I am only a tiny demo model, so I have no [life|feelings|tastes] of my own. But I can remember yours!",
    ),
    "chatter": Topic(
        Asked("""
            My [friend|sister|brother|boss|mother|father|neighbour] is called {strange}.
            My [friend|sister|brother|boss|mother|father|neighbour] lives in {strange}.
            I [don't|do not] like {strange}.
            I [read books|can ride a bike|like rain|have two sisters|work at night|play the piano|like long walks|got up early].
            I [hate|never eat|never liked] {strange}.
            [Yesterday|Today|Last week] I [saw|met|bought|visited] {strange}.
            I [like|enjoy] [music|books|films|games|walks|sports|cooking|swimming|to sing|to dance].
            I am [a teacher|a nurse|a student|a developer|at work|at home|on a train|hungry|in love].
            It is [raining|sunny|late|cold|Monday|Friday|warm] [here|today|outside].
            My [friend|sister|brother|boss|mother|father|neighbour] likes {strange}.
            I [work|am working] [on|with] {strange}.
            I have [a bike|a car|two children|a garden|a headache|an idea|a computer].
        """),
        "[I see.|Interesting!|Ah, I see.] [Tell me more!|What else is new?|What can I do for you?]",
    ),
    "throughline": Topic(
        Asked("""
            What is Throughline?
            What is this?
            Tell me about Throughline.
            What does Throughline do?
            What's Throughline[ for| good for|]?
            Explain Throughline[ to me|].
            What is this [program|project|server|thing|site|page]?
            What am I looking at?
            What is the [idea|point|purpose] of Throughline?
            Why should I use Throughline?
            How does Throughline work?
            Describe Throughline.
            What can Throughline do?
            How does this [work|server work]?
            What makes Throughline [special|different]?
        """),
        "Throughline is a chat server for your own GPUs. It streams answers from a vLLM engine over WebSockets, and it keeps every answer in a log, so that an answer survives when a connection [breaks|is lost] or a node dies.",
    ),
    "log": Topic(
        Asked("""
            What does "an answer is a log" mean?
            What does an answer is a log mean?
            Why is an answer a log?
            An answer is a log, not a socket: what does that mean?
            Explain: an answer is a log.
            What is an answer here?
            How are answers stored?
            What is [a log|the log]?
            Why do you [write|keep] a log?
            What do you mean by log?
            Where do answers live?
            Why not just a socket?
            Where is my answer stored?
            What is the log for?
            How do you keep answers?
        """),
        "The words of an answer are appended to a log in Redis, and every reader follows that log. The socket only shows it: when the socket breaks, the answer goes on, and you read the rest later.",
    ),
    "resume": Topic(
        Asked("""
            What happens [if|when] [my connection breaks|the connection breaks|I lose the connection|I go offline]?
            How does resume work?
            Can I [reload|close] the page?
            What is resume?
            What happens when I reload[ the page|]?
            How do I resume[ an answer|]?
            What if my [network|wifi|phone|train] [drops|fails|is slow]?
            Can I continue on another [device|computer|phone]?
            What does [resuming|resume] mean?
            Do I lose the answer when I [disconnect|go offline|close the tab]?
            Explain resume.
            What if I close the [tab|browser|laptop]?
            Is my answer lost when the [connection|socket] breaks?
            Can two tabs [watch|read|follow] the same answer?
            How do I [reconnect|come back]?
        """),
        "The browser remembers the last position that it has seen. When it comes back, it asks for everything after that position, and the answer goes on [without a gap|where it stopped], even in another tab.",
    ),
    "node_death": Topic(
        Asked("""
            What happens [if|when] a node dies?
            What if a [server|node|machine|GPU] [crashes|dies|fails]?
            What happens [if|when] a [server|machine|GPU] [crashes|dies|fails]?
            How does a takeover work?
            What is a [lease|takeover]?
            Can I kill a node?
            What if I kill [the server|a node]?
            How do you survive [a crash|node death|failures]?
            What happens after a crash?
            Who finishes the answer when a node dies?
        """),
        "A node holds a lease on the answer that it writes. If the node dies, its lease runs out, and another node takes the answer over and continues it from the log.",
    ),
    "redis": Topic(
        Asked("""
            What is Redis for?
            Why [do you need|do I need|is there] Redis?
            What does Redis do[ here|]?
            What do you use Redis for?
            What is in Redis?
            Do I need Redis?
            Why Redis?
            What is the role of Redis?
            What is stored in Redis?
            What's Redis[ doing here|]?
        """),
        "Redis keeps the logs of the answers, the leases and the conversations, so that [all nodes share them|any node can serve any reader]. Set REDIS_URL to use your own; for a first try you need none.",
    ),
    "real_model": Topic(
        Asked("""
            How do I [load|run|use|start|try|get] a real model?
            How can I [load|run|use|start|try|get] a [real|bigger|better|large|larger] model?
            How do I [run|use|load] Qwen?
            How do I change the model?
            Can I use [a real|another|a different|a bigger|a better|my own] model?
            How do I [run|serve] a [real|bigger|better|different|large] model?
            How do I [switch|replace] the model?
            I want a [real|bigger|better|smarter] model.
            Where do I set the model?
            Which command loads a real model?
            Can you run [Qwen|Llama|Mistral|a bigger model]?
            How do I run it with a real model?
            [Load|Use|Run] a real model.
            What about real models?
            How do I serve my own model?
            How do I [load|use|run] a [local model|model from a folder|model from disk]?
            Which models can I use?
            How to [load|use|run] a real model?
            Can Throughline [load|use|run] [Qwen|a real model|other models]?
            How do I get [better|smarter] answers?
        """),
        "Start the server with a model's name: " + REAL_MODEL + "[ A local folder works too|\nOr give it a local folder]: make serve MODEL=/path/to/model",
    ),
    "start": Topic(
        Asked("""
            How do I [start|run|launch] [Throughline|the server|it|this]?
            How can I [start|run|launch] [Throughline|the server|it|this]?
            How to [start|run|launch] [Throughline|the server]?
            Which command starts [Throughline|the server|it]?
            How do I [begin|get started]?
            How do I install [Throughline|it|this]?
            What do I type to [start|run] [Throughline|the server|it]?
            How do I [set up|try out] [Throughline|the server]?
            Getting started?
            How do I run this on my [laptop|computer|machine]?
        """),
        "Type make serve and open http://127.0.0.1:8000 in your browser. It needs no GPU and no Redis for a first try.",
    ),
    "keys": Topic(
        Asked("""
            How do I set an API key?
            What are API keys for?
            How do API keys work?
            How do I [protect|secure] the server?
            How can I [protect|secure] [the server|my server|it] with a [password|key]?
            Do I need an API key?
            How do I use API_KEYS?
            Where do I put the API keys?
            What is API_KEYS?
            How do I add [a key|keys|users]?
        """),
        "Set API_KEYS when you start the server, for instance: API_KEYS=secret1,secret2 make serve\nClients then send one of the keys as a bearer token.",
    ),
    "nodes": Topic(
        Asked("""
            How do I add [a node|more nodes|another node|a GPU|more GPUs]?
            How do I run [two|three|several|more|many] nodes?
            Can I run [two|three|several|more|many] nodes?
            How do I scale[ Throughline| it| out|]?
            How do nodes [find each other|work together]?
            How do I [build|make|start] a cluster?
            How can I use [several|two|many|more] [GPUs|machines|servers]?
            What about more [nodes|machines|servers]?
            How does it scale?
            How do I connect [two|several|more] [nodes|servers|machines]?
        """),
        "Start another node with the same REDIS_URL, for instance: REDIS_URL=redis://my-redis:6379 make serve\nNodes that share a Redis share the work, and take over each other's answers.",
    ),
    "sdk": Topic(
        Asked("""
            Can I use the OpenAI SDK?
            How do I use the OpenAI [SDK|client|library]?
            What is the base URL?
            How do I connect with Python?
            Which [protocol|API] do you speak?
            How do I call [this|the server|you] from [Python|code|my program]?
            Is there an API?
            What is the base_url for the [OpenAI SDK|SDK|client]?
            [What's|Which is] the API?
            How do I use the API?
            Are you compatible with OpenAI?
            Does the OpenAI [SDK|client|library] work[ here|]?
            How do I write a client?
            Which URL does the [SDK|client] need?
            How can my [app|program|code] talk to [you|the server]?
        """),
        "I speak the OpenAI Responses protocol. Give the SDK this base URL: http://127.0.0.1:8000/v1\nOver WebSockets it is ws://127.0.0.1:8000/v1",
    ),
}

OUT_OF_SCOPE = Topic(
    Asked("""
        What is the [capital|population|president|flag|history|currency] of [France|Germany|Peru|Japan|India|Kenya|Canada|{strange}]?
        Who [wrote|invented|discovered|painted|built] [Faust|the telephone|penicillin|Hamlet|the Mona Lisa|the pyramids|gravity|{strange}]?
        Write [a poem|an essay|an email|a letter|a song|a program|some code|a function|a test|a speech] [about|for] [love|spring|my boss|sorting|cats|the sea|{strange}].
        Translate [this|hello|good morning|a sentence|{strange}] [into|to] [German|French|Spanish|Japanese|Latin].
        [How do I|How can I|Teach me to] [cook rice|bake bread|fix a bike|learn Spanish|play chess|lose weight|tie a tie|{strange}]?
        Explain [quantum physics|relativity|photosynthesis|blockchain|democracy|gravity|neural networks|economics|{strange}][ to me|].
        What is the [weather|temperature|time|date|news] [today|now|tomorrow|in Berlin|in Paris]?
        What's the weather like[ today| tomorrow|]?
        What is the meaning of [life|love|this word|{strange}]?
        Summarize [this text|the news|this article|the Bible|{strange}].
        Why is the [sky blue|sea salty|grass green|sun hot|moon round]?
        What do you think about [politics|religion|football|war|money|art|{strange}]?
        [What|Which] [film|book|song|game|phone|car] [should I|can I] [watch|read|play|buy]?
        Who is [the president|the pope|the king|Albert Einstein|Taylor Swift|the best player|{strange}]?
        When [was|is] [the war|Easter|the next eclipse|the election|the French revolution|{strange}]?
        How [far|old|tall|heavy|fast] is [the moon|the sun|an elephant|Mount Everest|a whale|light|{strange}]?
        What is [a black hole|an atom|bitcoin|Python|Linux|love|a noun|DNA|{strange}]?
        Can you [write code|draw|sing|speak German|search the web|play chess|drive|see pictures|{strange}]?
        Give me [a recipe|advice|a list of books|stock tips|directions|{strange}].
        Solve [this equation|x squared = 4|the puzzle|my homework|{strange}].
        Do you know [Einstein|Goethe|my mother|the news|{strange}]?
        [Should I|Can I|May I] [marry|move|buy a house|learn Rust|change my job|{strange}]?
        [Where is|Where can I find] [Spain|my key|the station|the best pizza|Atlantis|{strange}]?
        How many [people live in China|stars are there|days are in a year|bones are in a hand|{strange} are there]?
        Is there life on [Mars|the moon|other planets]?
        {strange}
        {strange} {strange}
        {strange}?
        [Sprichst du Deutsch?|Parlez-vous français?|¿Hablas español?|你好|Привет|こんにちは]
        [asdf|qwerty|blah blah|foo bar|test|hm|lol|?|...|🙂|🤖]
        Let's talk about [music|sports|history|science|films|{strange}].
        I [need|want] help with [my homework|my taxes|Python|a bug|{strange}].
        What does {strange} mean?
        Tell me about [France|dogs|space|history|the sea|{strange}].
        Tell me something about {strange}.
    """),
    "[That is beyond me: I am only a tiny demo model.|I don't know that. I am only a tiny demo model.|Sorry, I am a tiny demo model, and this is too hard for me.] [A real model can answer you|For real answers, load a real model]: " + REAL_MODEL,
)

SYSTEM = Asked("""
    You are a helpful assistant.
    You are a [friendly|concise|polite|helpful|careful|honest] assistant.
    Be [brief|polite|kind|concise|friendly].
    Answer in [English|one sentence|short sentences|plain words].
    You are a chat bot[ on a web page|].
    You are {strange}.
    You are a [pirate|teacher|poet|robot|doctor|lawyer|chef]. [Answer|Speak|Reply] like one.
    The user is [a child|a developer|an expert|new here].
    [Always|Never] [be polite|use emojis|swear|use lists|mention {strange}].
    You are an AI that [helps people|answers questions|likes to chat]. Be [brief|kind|honest].
""")
