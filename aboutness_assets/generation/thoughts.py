"""Where a model's thoughts end and its answer begins, by the marks that models put around their thoughts."""

import regex  # type: ignore[import-untyped]

_THOUGHT = (
    r"(?:[\w.]{1,40}[:_-])??"  # a vendor's prefix, as in seed:think
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratch_?pad|analysis|monologue|draft)"
    r"(?:[:_-]\w{1,40})?"
)
_ANSWER = r"(?:final_?)?(?:answer|response|solution|output|result)|final"
_ATTRIBUTES = r"(?:\s[^<>]{0,200})?"
# <think>, <|begin_of_thought|>, <|START_THINKING|>, [THINK], ◁think▷; gpt-oss names a channel instead.
_MARK = regex.compile(
    rf"""
    (?P<end>
        [<◁]\|?\s*/\s*{_THOUGHT}\s*\|?[>▷] | \[/THINK\]
      | <\|end_(?:of_)?{_THOUGHT}\|> | <\|(?:begin|start)_(?:of_)?(?:{_ANSWER})\|>
      | <(?:{_ANSWER}){_ATTRIBUTES}>
      | <\|channel\|?>\s*final\b | <channel\|>
    )
  | (?P<beginning>
        [<◁]\|?\s*(?:(?:begin|start)_(?:of_)?)?{_THOUGHT}{_ATTRIBUTES}\s*\|?[>▷] | \[THINK\]
      | <\|channel\|?>\s*\w
    )
    """,
    regex.VERBOSE | regex.IGNORECASE,
)


def is_thought(content: str, start: int, end: int) -> bool:
    """Tell whether content[start:end] lies among a model's thoughts.

    It does behind a mark that begins thoughts, and before any mark: the answer is what comes after the last.
    """
    if _MARK.search(content, end):
        return True
    begins = False
    for mark in _MARK.finditer(content, 0, start):
        begins = mark["beginning"] is not None
    return begins


def answer_part(content: str) -> str:
    """Return what stands outside the thoughts: behind the last mark that ends them, before the next one."""
    start = 0
    for mark in _MARK.finditer(content):
        if mark["end"] is not None:
            start = mark.end()
    beginning = _MARK.search(content, start)
    return content[start : beginning.start()] if beginning else content[start:]
