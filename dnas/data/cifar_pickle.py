"""The few opcodes of pickle that CIFAR's python files use, read without an unpickler.

Nothing that a file names is called or imported: names are texts, and the three constructors that occur (of a uint8
array, of its dtype, of a byte string) are implemented here. Opcodes as in
https://docs.python.org/3/library/pickletools.html; protocols 0 to 5, as Python 2 and 3 with numpy 1 and 2 write them.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# The largest official file, CIFAR-100's train, has 155 MB and about 400,000 opcodes.
LARGEST = 512 * 2**20
MOST_STEPS = 1_000_000
_LONGEST_LINE = 200  # characters of a number, a name or a place in a line of protocol 0
_LONGEST_TEXT = 1000  # characters of a label or of a file's name
_LONGEST_NUMBER = 8  # bytes

_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_FROM_BUFFER = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
_ARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_KNOWN = (*_RECONSTRUCT, *_FROM_BUFFER, _ARRAY, _DTYPE, _ENCODE)
_UINT8_STATE = (3, "|", None, None, None, -1, -1, 0)  # state of every dtype of one byte
_BYTES = (bytes, memoryview)


@dataclass(frozen=True)
class _Name:
    """The name of something that a pickle would import; it is never imported."""

    name: str


class _Uint8:
    """The only dtype that is supported."""


class _Images:
    """An array of uint8, empty until its state is read."""

    def __init__(self) -> None:
        self.values = np.empty(0, np.uint8)


def parse(content: bytes) -> dict[str, Any]:
    """The dictionary in one of CIFAR's python files: text, whole numbers, lists of them, and uint8 arrays.

    Raises:
        ValueError: another opcode, name, type or structure, or an early end; the message says which.
    """
    found = _Reader(content).read()
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not a dict")
    return {str(_plain(key)): _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value.values if isinstance(value, _Images) else _short(value)


def _short(value: Any) -> Any:
    """Byte strings as text; long ones are refused, since a list could hold one a million times."""
    if isinstance(value, str | bytes | memoryview) and len(value) > _LONGEST_TEXT:
        raise ValueError(f"it has a text of {len(value):,} characters, which no CIFAR file has")
    return bytes(value).decode("utf-8", "replace") if isinstance(value, _BYTES) else value


class _Reader:
    """A stack, a memo, and one method for each kind of opcode."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.text = content
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0  # total bytes of texts that were made byte strings

    def read(self) -> Any:
        for _ in range(MOST_STEPS):
            code = bytes(self.take(1))
            if code == b".":
                return self.pop()
            if code not in _OPCODES:
                raise ValueError(f"it uses opcode {code!r} of pickle, which no CIFAR file needs")
            _OPCODES[code](self)
        raise ValueError(f"it has more than {MOST_STEPS:,} opcodes, which no CIFAR file needs")

    # Bytes

    def take(self, count: int) -> memoryview:
        if count < 0 or self.at + count > len(self.content):
            raise ValueError("it ends too early")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def sized(self, size: int) -> memoryview:
        """The bytes after their length, which is a number of `size` bytes."""
        return self.take(self.number(size))

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        end = self.text.find(b"\n", self.at, self.at + longest + 1)
        if end < 0:
            raise ValueError(f"a line has no end within {longest:,} bytes")
        return bytes(self.take(end + 1 - self.at)[:-1])

    # Stack and memo

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("it takes more from the stack than is there")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.push(value)
        return value

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("it goes back to a mark that is not there")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put(self, place: int) -> None:
        self.memo[place] = self.top()

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise ValueError(f"place {place} of its memo is empty")
        self.push(self.memo[place])

    # Lists and dictionaries

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise ValueError(f"it appends to a {type(target).__name__}")
        target += items

    def set(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            raise ValueError(f"it sets an entry of a {type(target).__name__}")
        target.update(_entries(items))

    def last(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    # Constructors

    def name(self, module: str, name: str) -> None:
        if f"{module} {name}" not in _KNOWN:
            raise ValueError(f"it asks for {module}.{name}, which no CIFAR file needs")
        self.push(_Name(f"{module} {name}"))

    def name_from_stack(self) -> None:
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is no text")
        self.name(module, name)

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no name")
        made = _constructed(function.name, arguments)
        self.encoded += len(made) if isinstance(made, bytes) else 0
        if self.encoded > len(self.content):  # each text made once takes less than the file
            raise ValueError("it makes the same byte string many times")
        self.push(made)

    def build(self) -> None:
        target, state = self.last(2)
        if isinstance(target, _Uint8):
            if not isinstance(state, tuple) or tuple(map(_word, state)) != _UINT8_STATE:
                raise ValueError("an array is not of uint8")
        elif isinstance(target, _Images):
            if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
                raise ValueError("the state of an array has another form")
            _, shape, dtype, by_column, content = state
            target.values = _array(content, dtype, shape, "F" if by_column else "C")
        else:
            raise ValueError(f"it gives a state to a {type(target).__name__}")
        self.push(target)


def _entries(items: list[Any]) -> dict[Any, Any]:
    """A dictionary from alternating keys and values."""
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key, str | bytes | memoryview) for key in keys):
        raise ValueError("the entries of a dictionary are not texts with values")
    return {_word(key): value for key, value in zip(keys, items[1::2], strict=True)}


def _constructed(name: str, arguments: tuple[Any, ...]) -> Any:
    words = tuple(_word(item) for item in arguments)
    if name == _DTYPE and words[:1] in (("u1",), ("|u1",)):
        return _Uint8()
    if name in _RECONSTRUCT and words == (_Name(_ARRAY), (0,), "b"):
        return _Images()
    if name in _FROM_BUFFER and len(words) in (4, 5) and words[3] in ("C", "F") and words[4:] in ((), (None,)):
        images = _Images()
        images.values = _array(*arguments[:3], order=words[3])
        return images
    # Python 3 calls this to rebuild a byte string that was written in protocols 0 to 2.
    if name == _ENCODE and len(words) == 2 and isinstance(arguments[0], str) and words[1] == "latin1":
        return arguments[0].encode("latin1")
    raise ValueError(f"it calls {name.replace(' ', '.')} as no CIFAR file does; its arrays are of uint8")


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Uint8) or not isinstance(content, _BYTES):
        raise ValueError("an array is not of uint8")
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 4:
        raise ValueError("an array has no shape")
    values = np.frombuffer(content, np.uint8)
    return values.reshape(shape, order="F" if order == "F" else "C")


def _word(value: Any) -> Any:
    """Short byte strings as text: Python 2 has one type for both."""
    return bytes(value).decode("latin1") if isinstance(value, _BYTES) and len(value) <= _LONGEST_LINE else value


def _whole(text: bytes) -> int | bool:
    """A number of protocol 0; 00 and 01 are false and true."""
    if text in (b"00", b"01"):
        return text == b"01"
    number = text.removesuffix(b"L")
    if not 1 <= len(number) <= 20 or not number.removeprefix(b"-").isdigit():
        raise ValueError(f"{text[:20]!r} is no whole number")
    return int(number)


def _long(reader: _Reader) -> int:
    size = reader.number(1)
    if size > _LONGEST_NUMBER:
        raise ValueError(f"a number has {size} bytes, which no CIFAR file needs")
    return reader.number(size, signed=True)


def _quoted(reader: _Reader) -> bytes:
    """A byte string of protocol 0, which Python 2 writes as in its code."""
    line = reader.line(LARGEST)
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a text has no quotes")
    return codecs.escape_decode(line[1:-1])[0]  # pyright: ignore[reportAttributeAccessIssue], as pickle itself does


def _text(content: memoryview) -> str:
    return bytes(content).decode("utf-8", "surrogatepass")


def _skip(_: object) -> None:
    """Do nothing: neither the protocol nor the length of a frame matters."""


_OPCODES: dict[bytes, Callable[[_Reader], None]] = {
    b"\x80": lambda r: _skip(r.take(1)),
    b"\x95": lambda r: _skip(r.take(8)),
    # Numbers and constants
    b"N": lambda r: r.push(None),
    b"\x88": lambda r: r.push(True),
    b"\x89": lambda r: r.push(False),
    b"I": lambda r: r.push(_whole(r.line())),
    b"L": lambda r: r.push(_whole(r.line())),
    b"K": lambda r: r.push(r.number(1)),
    b"M": lambda r: r.push(r.number(2)),
    b"J": lambda r: r.push(r.number(4, signed=True)),
    b"\x8a": lambda r: r.push(_long(r)),
    # Byte strings and text
    b"S": lambda r: r.push(_quoted(r)),
    b"T": lambda r: r.push(r.sized(4)),
    b"U": lambda r: r.push(r.sized(1)),
    b"B": lambda r: r.push(r.sized(4)),
    b"C": lambda r: r.push(r.sized(1)),
    b"\x8e": lambda r: r.push(r.sized(8)),
    b"\x96": lambda r: r.push(r.sized(8)),
    b"V": lambda r: r.push(r.line(LARGEST).decode("raw-unicode-escape")),
    b"X": lambda r: r.push(_text(r.sized(4))),
    b"\x8c": lambda r: r.push(_text(r.sized(1))),
    b"\x8d": lambda r: r.push(_text(r.sized(8))),
    # Tuples, lists, dictionaries
    b"(": lambda r: r.mark(),
    b")": lambda r: r.push(()),
    b"t": lambda r: r.push(tuple(r.to_mark())),
    b"\x85": lambda r: r.push(tuple(r.last(1))),
    b"\x86": lambda r: r.push(tuple(r.last(2))),
    b"\x87": lambda r: r.push(tuple(r.last(3))),
    b"]": lambda r: r.push([]),
    b"l": lambda r: r.push(r.to_mark()),
    b"a": lambda r: r.append(r.last(1)),
    b"e": lambda r: r.append(r.to_mark()),
    b"}": lambda r: r.push({}),
    b"d": lambda r: r.push(_entries(r.to_mark())),
    b"s": lambda r: r.set(r.last(2)),
    b"u": lambda r: r.set(r.to_mark()),
    # Memo
    b"p": lambda r: r.put(int(_whole(r.line()))),
    b"q": lambda r: r.put(r.number(1)),
    b"r": lambda r: r.put(r.number(4)),
    b"\x94": lambda r: r.put(len(r.memo)),
    b"g": lambda r: r.get(int(_whole(r.line()))),
    b"h": lambda r: r.get(r.number(1)),
    b"j": lambda r: r.get(r.number(4)),
    # Constructors
    b"c": lambda r: r.name(r.line().decode("latin1"), r.line().decode("latin1")),
    b"\x93": lambda r: r.name_from_stack(),
    b"R": lambda r: r.call(),
    b"b": lambda r: r.build(),
}
