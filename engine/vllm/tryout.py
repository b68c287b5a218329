"""Compiles grammars in a process of its own, which may take too much time or memory, or crash, and then is gone.

Lines of JSON: a grammar on standard input, why it is refused (or null) on standard output. Tokens are bytes here: what
a grammar costs to compile hardly depends on them, and no model's tokenizer has to be loaded again.
"""

import json
import resource
import signal
import sys

import llguidance

CPU_SECONDS = 0.5  # for one grammar
MEMORY = 512 << 20  # bytes for grammars
TOO_COMPLEX = "is too complex to follow"
_LIMITS = ("fuel", "too many", "too large", "too complex", "exceeded", "panic", "items; max", "limit")


def main() -> None:
    """Until standard input ends. The kernel ends the process sooner where a grammar takes more than its share."""
    tokenizer = llguidance.LLTokenizer("byte")
    _limit_memory()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        answer = refusal(json.loads(line), tokenizer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), flush=True)


def refusal(grammar: str, tokenizer: llguidance.LLTokenizer) -> str | None:
    """Compile it and take the first steps: what is too much shows at the first choice between properties."""
    _, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, tokenizer)
    if messages:
        return sentence(messages[0])
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    for _ in range(2):
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            return sentence(matcher.get_error())
        matcher.consume_tokens(matcher.compute_ff_tokens())
    return None


def sentence(message: str) -> str:
    """What a client can use of a library's message: no dumps of its state, no limits that only it knows."""
    message = message.partition("<state>")[0].partition("<backtrace>")[0].partition(" (parameter=")[0].strip()
    if any(limit in message for limit in _LIMITS):
        return TOO_COMPLEX
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[-1] if lines else "cannot be followed")[:300].removeprefix("error: ")


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


if __name__ == "__main__":
    main()
