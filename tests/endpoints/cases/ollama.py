"""Ollama, on the user's own machine."""

from typing import Any

from tests.endpoints.case import (
    Case,
    Fills,
    Provider,
    Rule,
    Stops,
    carries,
    chat,
    first,
    json_schema,
    message_changed,
    openai_error,
)


def _think_closed_only(message: dict[str, Any]) -> None:
    message["content"] = f'A draft {{"songs": {{"1": {{}}}}}} first.\n</think>\n{message["content"]}'


def _into(name: str) -> Any:
    def change(message: dict[str, Any]) -> None:
        message.update({"content": "", name: message["content"]})

    return message_changed(change)


OLLAMA = Provider(
    "Ollama",
    "http://localhost:11434/v1",
    (
        Case(
            "has a model that cannot think (400)",
            "https://github.com/Gitlawb/openclaude/issues/1371",
            (
                Rule(
                    carries("reasoning_effort"), openai_error(400, '"llama3.1:8b" does not support thinking')
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "has a model that thinks otherwise (400 `api_error`)",
            "https://github.com/ollama/ollama/issues/12561",
            (
                Rule(
                    carries("reasoning_effort"),
                    openai_error(400, 'think value "none" is not supported for this model', "api_error"),
                ),
            ),
            Fills(more_requests=8),
        ),
        Case(
            "cannot constrain this model's answers (500)",
            "https://github.com/bmachek/lrc-ai-assistant/issues/37",
            (
                Rule(
                    json_schema,
                    openai_error(500, "failed to load model vocabulary required for format", "api_error"),
                ),
            ),
            Fills(more_requests=24),
        ),
        Case(
            "swallows the opening `<think>`",
            "https://ollama.com/blog/thinking",
            (Rule(chat, message_changed(_think_closed_only)),),
            Fills(),
        ),
        Case(
            "writes the answer into `reasoning` alone",
            "https://github.com/nashsu/llm_wiki/pull/348",
            (Rule(chat, _into("reasoning")),),
            Fills(),
        ),
        Case(
            "has not pulled the model (404)",
            "https://docs.ollama.com/api/errors",
            (Rule(chat, openai_error(404, 'model "luna" not found, try pulling it first', "api_error")),),
            Stops("not found, try pulling it first"),
        ),
        Case(
            "is busy now and then (503)",
            "https://docs.ollama.com/faq",
            (
                Rule(
                    first(2),
                    openai_error(
                        503, "server busy, please try again. maximum pending requests exceeded", "api_error"
                    ),
                ),
            ),
            Fills(more_requests=2),
        ),
    ),
)
