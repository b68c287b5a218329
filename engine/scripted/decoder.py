"""Tokens of a script as text: whole characters only, and nothing that may turn out to be a stop string."""

import codecs

from engine.base import Channel, Chunk, Delta, Finish, Logprob, Params, Said, TokenLogprob
from engine.scripted.script import END, Script, Token, token_bytes
from engine.unsaid import unsaid


class ScriptDecoder:
    """Reads one script in order and makes chunks of it, as an engine's detokenizer does."""

    def __init__(self, script: Script, params: Params) -> None:
        self._script = script
        self._params = params
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._channel = Channel.TEXT  # of the latest token
        self._hold = max(map(len, params.stop), default=1) - 1  # characters to hold back for a stop string
        self._held = ""  # text that was not shown yet, since a stop string may begin in it
        self._pending: list[Logprob] = []  # of tokens whose text is held back
        self.reasoning_tokens = 0

    def replay(self, said: Said) -> tuple[list[Delta], Finish | None]:
        """What the said ids hold that clients were not shown, and how the answer ended if they reach its end."""
        deltas: list[Delta] = []
        ended: Finish | None = None
        for index in range(len(said.token_ids)):
            new, ended = self._decode(index, self._token(index))
            deltas += new
        return unsaid(deltas, said), ended

    def chunk(self, index: int, count: int, cached: int) -> Chunk:
        """The next `count` tokens, or fewer if the answer ends."""
        ids: list[int] = []
        deltas: list[Delta] = []
        ended: Finish | None = None
        while ended is None and len(ids) < count:
            token = self._token(index + len(ids))
            new, ended = self._decode(index + len(ids), token)
            ids.append(token.id)
            deltas += new
        return Chunk(tuple(ids), tuple(deltas), ended, cached, self.reasoning_tokens if ended else 0)

    def _token(self, index: int) -> Token:
        if index >= self._script.length and not self._params.ignore_eos:
            return Token(END)
        return self._script.at(index)

    def _decode(self, index: int, token: Token) -> tuple[list[Delta], Finish | None]:
        self._switch(token.channel)
        text = self._decoder.decode(token_bytes(token.id))
        if token.channel is Channel.TEXT:
            return self._decode_text(index, token, text)
        if token.channel is Channel.REASONING:
            self.reasoning_tokens += 1
        shown = [Delta(token.channel, text, token.call)] if text or token.call else []
        return shown, self._length_finish(index)

    def _switch(self, channel: Channel) -> None:
        if channel is not self._channel:
            self._decoder.reset()
            self._channel = channel

    def _decode_text(self, index: int, token: Token, text: str) -> tuple[list[Delta], Finish | None]:
        ended = Finish.STOP if token.id == END else self._length_finish(index)
        if self._params.logprobs and token.id != END:
            self._pending.append(_logprob(token.id, self._params.top_logprobs))
        self._held += text
        ends = [at for at in map(self._held.find, self._params.stop) if at >= 0]
        if ends:
            self._held, ended = self._held[: min(ends)], Finish.STOP
        return self._release(len(self._held) - (0 if ended else self._hold)), ended

    def _release(self, count: int) -> list[Delta]:
        """Show this many characters of the held text."""
        if count <= 0:
            return []
        text, self._held = self._held[:count], self._held[count:]
        logprobs, self._pending = tuple(self._pending), []
        return [Delta(Channel.TEXT, text, None, logprobs)]

    def _length_finish(self, index: int) -> Finish | None:
        return Finish.LENGTH if index + 1 >= (self._params.max_tokens or index + 2) else None


def _logprob(token_id: int, top: int) -> Logprob:
    """The sampled token is the likeliest; each of the others has half of the probability before it."""
    others = [TokenLogprob(_name(token_id + rank), -0.7 * (rank + 1)) for rank in range(top)]
    return Logprob(_name(token_id), -0.7, tuple(others))


def _name(token_id: int) -> str:
    return token_bytes(token_id % END if token_id > END + 130 else token_id).decode(errors="replace")
