"""vLLM's structural tags, which say how a model writes its calls, as grammars that llguidance reads.

vLLM describes a call in xgrammar's words alone. Arguments in JSON become a `%json` of the grammar; a model that writes
them in tags of its own has no translation.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ANY_OBJECT = {"type": "object"}
ANY_TEXT = r"/(.|\n)*/"


class Untranslatable(Exception):  # noqa: N818
    """This tag cannot be said in a grammar of llguidance's."""


class LarkGrammar:
    """Builds one grammar. `special` are tokens that no text stands for, by their text; `as_text` says them as text,
    for a trial without the model's tokens.
    """

    def __init__(self, special: Mapping[str, int], *, flexible_whitespace: bool, as_text: bool = False) -> None:
        self._special = special
        self._as_text = as_text
        self._splitter = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        self._options = {"x-guidance": {"whitespace_flexible": flexible_whitespace}}
        self._rules: list[str] = []

    def of_tag(self, tag: Mapping[str, Any], instead: dict[str, Any] | None = None) -> str:
        """The grammar of a structural tag, or of an answer to the schema `instead`. Raises Untranslatable."""
        start = self._expression(tag["format"])
        if instead is not None:
            start = f"{start} | {self._json(instead)}"
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules, ""])

    def _expression(self, format: Any) -> str:
        kinds: dict[str, Callable[[Any], str]] = {
            "const_string": lambda format: self._literal(format["value"]),
            "json_schema": self._arguments,
            "sequence": lambda format: " ".join(map(self._rule, format["elements"])),
            "or": lambda format: " | ".join(map(self._rule, format["elements"])),
            "optional": lambda format: f"{self._rule(format['content'])}?",
            "plus": lambda format: f"{self._rule(format['content'])}+",
            "star": lambda format: f"{self._rule(format['content'])}*",
            "tag": self._tag,
            "token": lambda format: self._token(format["token"]),
            "regex": lambda format: f"/{format['pattern'].replace('/', chr(92) + '/')}/",
            "triggered_tags": self._triggered,
            "tags_with_separator": self._separated,
        }
        kind = format.get("type")
        if kind not in kinds:
            raise Untranslatable(f"a structural tag of type {kind}")
        return kinds[kind](format)

    def _rule(self, format: Any) -> str:
        return self._named(self._expression(format))

    def _named(self, expression: str, attribute: str = "") -> str:
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attribute}: {expression}")
        return name

    def _arguments(self, format: Mapping[str, Any]) -> str:
        if format.get("style", "json") != "json":
            raise Untranslatable(f"arguments in {format['style']}")
        schema = format["json_schema"]
        return self._json(schema if isinstance(schema, dict) else ANY_OBJECT)

    def _json(self, schema: dict[str, Any]) -> str:
        return f"%json {json.dumps(schema | self._options)}"

    def _tag(self, tag: Mapping[str, Any]) -> str:
        return f"{self._literal(tag['begin'])} {self._tag_rest(tag)}"

    def _tag_rest(self, tag: Mapping[str, Any]) -> str:
        ends = tag["end"] if isinstance(tag["end"], list) else [tag["end"]]
        end = " | ".join(map(self._literal, ends))
        return f"{self._rule(tag['content'])} {self._named(end) if len(ends) > 1 else end}"

    def _triggered(self, format: Mapping[str, Any]) -> str:
        """Any text, and a tag wherever its trigger comes up in it. What else the text should not hold, it may."""
        calls = [self._triggered_by(trigger, format["tags"]) for trigger in format["triggers"]]
        call = self._named(" | ".join(calls))
        if format.get("stop_after_first"):
            return call if format.get("at_least_one") else f"{call} | {ANY_TEXT}"
        return f"{call}{'+' if format.get('at_least_one') else '*'} {ANY_TEXT}"

    def _triggered_by(self, trigger: str, tags: Sequence[Mapping[str, Any]]) -> str:
        rests: list[str] = []
        for tag in tags:
            if not isinstance(tag["begin"], str):
                raise Untranslatable("a tag that begins with a token")
            if tag["begin"].startswith(trigger):
                rests.append(self._named(f"{self._literal(tag['begin'][len(trigger) :])} {self._tag_rest(tag)}"))
        if not rests:
            raise Untranslatable("a trigger without a tag")
        if trigger in self._special and not self._as_text:
            return self._named(f"{ANY_TEXT} {self._token(trigger)} ( {' | '.join(rests)} )")
        if self._splitter.search(trigger) and not self._as_text:
            raise Untranslatable("a trigger of several special tokens")
        begin = self._named(f"{ANY_TEXT} {json.dumps(trigger, ensure_ascii=False)}", "[lazy]")
        return self._named(f"{begin} ( {' | '.join(rests)} )")

    def _separated(self, format: Mapping[str, Any]) -> str:
        tag = self._named(" | ".join(map(self._rule, format["tags"])))
        if format.get("stop_after_first"):
            return tag if format.get("at_least_one") else f"{tag}?"
        separator = self._literal(format.get("separator", ""))
        many = self._named(f"{tag} ( {separator} {tag} )*")
        return many if format.get("at_least_one") else f"{many}?"

    def _literal(self, text: Any) -> str:
        """Text and the special tokens in it."""
        if isinstance(text, Mapping):
            return self._token(text["token"])
        parts: list[str] = []
        at = 0
        for match in self._splitter.finditer(text):
            parts += [_quoted(text[at : match.start()]), self._token(match[0])]
            at = match.end()
        return " ".join(filter(None, [*parts, _quoted(text[at:])]))

    def _token(self, token: int | str) -> str:
        if isinstance(token, str):
            if token not in self._special:
                raise Untranslatable(f"no token is {token!r}")
            if self._as_text:
                return _quoted(token)
            token = self._special[token]
        return _quoted("token") if self._as_text else f"<[{token}]>"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""
