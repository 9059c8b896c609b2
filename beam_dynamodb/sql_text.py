"""SQL as tokens with their places, and errors that point at one of them.

The tokens are sqlglot's, by Flink's rules: identifiers in backticks, text in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import sqlglot
from sqlglot import Dialect, ParseError, TokenError, TokenType, exp, tokens

from beam_dynamodb.errors import SqlError

__all__ = ["Flink", "Token", "TokenStream", "parsed", "statements"]


class Flink(Dialect):
    """How Flink writes SQL; sqlglot has no dialect of this name."""

    INDEX_OFFSET = 1
    TYPED_DIVISION = True

    class Tokenizer(tokens.Tokenizer):
        """Flink's quotes and comments, which are those of Calcite's grammar."""

        COMMENTS = ["--", "//", ("/*", "*/")]  # noqa: RUF012 - as sqlglot declares it
        NESTED_COMMENTS = False
        IDENTIFIERS = ["`"]  # noqa: RUF012
        QUOTES = ["'"]  # noqa: RUF012
        COMMANDS: ClassVar[set[TokenType]] = set()  # no word makes the rest one text


@dataclass(frozen=True, slots=True)
class Token:
    """A word of SQL and where it stands.

    Attributes:
        text: The word; of a quoted one what stands between the quotes.
        kind: `word`, `name` (in backticks), `text` (in single quotes), `number`, `sign` or `end`.
        line: From 1 on.
        column: From 1 on.
        start: Its first character's index in the whole text.
        end: The index after its last character.
    """

    text: str
    kind: str
    line: int
    column: int
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords or signs."""
        return self.kind in ("word", "sign") and self.text.upper() in words

    def fail(self, message: str, *, option: str | None = None) -> NoReturn:
        """Raises an SqlError that points here."""
        raise SqlError(
            f"{message} (line {self.line}, column {self.column})",
            line=self.line,
            column=self.column,
            option=option,
        )


_KINDS = {
    TokenType.IDENTIFIER: "name",
    TokenType.STRING: "text",
    TokenType.NUMBER: "number",
}


_SHOWN = ("<EOF>", "=", ",", "(", ")")
"""What errors show of a clause with secrets in it."""

_CLOSED = re.compile(r"--[^\n]*|/\*.*?\*/|'[^']*'|`[^`]*`", re.DOTALL)


def statements(text: str) -> Iterator[TokenStream]:
    """The statements of a script, one after the other, without empty ones.

    Raises:
        SqlError: A quote or a comment has no end.
    """
    found: list[Token] = []
    for token in _tokens(text):
        if token.is_word(";") or token.kind == "end":
            if found:
                yield TokenStream(text, [*found, token])
            found = []
        else:
            found.append(token)


def parsed(text: str, dialect: type[Dialect]) -> exp.Expr:
    """A query or an expression as sqlglot's tree.

    Args:
        text: It, standing where it stands in the whole text, as `TokenStream.rest` gives it.
        dialect: How it is written.

    Raises:
        SqlError: It is none; it says where.
    """
    try:
        return sqlglot.parse_one(text, read=dialect)
    except ParseError as fault:
        first = fault.errors[0]
        shown, reason = first["highlight"] or "<EOF>", first["description"] or ""
        end = _place(text, len(text.rstrip()) - 1)
        line, last = first["line"] or end[0], first["col"] or end[1]
        column = max(1, last - len(shown) + 1)  # it counts to the end of what it shows
        raise SqlError(
            f'SQL parse failed. Encountered "{shown}" at line {line}, column {column}. '
            f"{'An expression is missing.' if 'Required' in reason else reason}",
            line=line,
            column=column,
        ) from None


def _tokens(text: str) -> list[Token]:
    try:
        raw = Flink().tokenize(text)
    except TokenError:
        place = _unclosed(text)
        line, column = _place(text, place)
        shown = text[place : place + 2] if text[place] == "/" else text[place]
        raise SqlError(
            f"SQL parse failed. What {shown} begins has no end (line {line}, column {column})",
            line=line,
            column=column,
        ) from None
    return [*(token for each in raw for token in _split(text, each)), _end(text)]


def _unclosed(text: str) -> int:
    """Where the quote or comment begins that has no end."""
    blank = _CLOSED.sub(lambda found: " " * len(found[0]), text)
    return next((at.start() for at in re.finditer(r"['`]|/\*", blank)), 0)


def _split(text: str, raw: Any) -> Iterator[Token]:
    """One token, or several where sqlglot takes words such as `DOUBLE PRECISION` for one."""
    kind = _KINDS.get(raw.token_type)
    if kind is not None:
        yield Token(raw.text, kind, *_place(text, raw.start), raw.start, raw.end + 1)
        return
    for found in re.finditer(r"\S+", text[raw.start : raw.end + 1]):
        word, start = found[0], raw.start + found.start()
        kind = "word" if word[0].isalpha() or word[0] == "_" else "sign"
        yield Token(word, kind, *_place(text, start), start, start + len(word))


def _end(text: str) -> Token:
    place = len(text.rstrip())
    return Token("end of text", "end", *_place(text, place), place, place)


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class TokenStream:
    """The tokens of one statement, taken from left to right."""

    def __init__(self, source: str, tokens: Sequence[Token]) -> None:
        self._source = source
        self._tokens = list(tokens)
        self._next = 0
        self._secret = False

    @property
    def next(self) -> Token:
        """The token that comes next; the last one again after the end."""
        return self._tokens[min(self._next, len(self._tokens) - 1)]

    def ahead(self, count: int) -> Token:
        """A token further on."""
        return self._tokens[min(self._next + count, len(self._tokens) - 1)]

    @property
    def ended(self) -> bool:
        """Whether the statement is over."""
        return self._next >= len(self._tokens) - 1

    def take(self) -> Token:
        """The next token, which is then gone."""
        token = self.next
        self._next += 1
        return token

    def found(self, *words: str) -> bool:
        """Takes these keywords or signs if they come next, all of them."""
        if all(self.ahead(count).is_word(word) for count, word in enumerate(words)):
            self._next += len(words)
            return True
        return False

    def expect(self, *words: str) -> Token:
        """Takes these keywords or signs.

        Raises:
            SqlError: Something else comes.
        """
        token = self.next
        for word in words:
            if not self.next.is_word(word):
                self.refuse(f'"{word}"')
            token = self.take()
        return token

    def name(self, what: str = "a name") -> Token:
        """Takes an identifier, in backticks or not."""
        if self.next.kind not in ("word", "name") or not self.next.text:
            self.refuse(what)
        return self.take()

    def text(self, what: str = "text in single quotes") -> Token:
        """Takes a text in single quotes."""
        if self.next.kind != "text":
            self.refuse(what)
        return self.take()

    def number(self) -> int:
        """Takes a whole number."""
        if self.next.kind != "number" or not self.next.text.isdigit():
            self.refuse("a whole number")
        return int(self.take().text)

    def keep_secret(self) -> None:
        """From here on errors show no words, since what was not quoted may be a secret."""
        self._secret = True

    def finish(self) -> None:
        """Makes sure that the statement ends here.

        Raises:
            SqlError: It goes on.
        """
        if not self.ended:
            self.refuse('";"')

    def rest(self) -> str:
        """The text of all that is left, after as many blanks as keep its places the same."""
        first, last = self.next, self._tokens[-1]
        self._next = len(self._tokens)
        return self._placed(first.start, last.start)

    def since(self, first: Token) -> str:
        """The text from a token up to what comes next, after blanks as in `rest`."""
        return self._placed(first.start, self._tokens[self._next - 1].end)

    def _placed(self, start: int, end: int) -> str:
        before = self._source[:start]
        blanks = "".join(each if each == "\n" else " " for each in before)
        return blanks + self._source[start:end]

    def refuse(self, expected: str) -> NoReturn:
        """Raises an error in the words of Flink's parser."""
        token = self.next
        shown = "<EOF>" if token.kind == "end" else token.text
        hidden = self._secret and shown not in _SHOWN
        found = "something else" if hidden else f'"{shown}"'
        raise SqlError(
            f"SQL parse failed. Encountered {found} at line {token.line}, column {token.column}. "
            f"Was expecting {expected}.",
            line=token.line,
            column=token.column,
        )
