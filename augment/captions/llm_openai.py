"""Language models behind an OpenAI-compatible endpoint."""

import base64
import os
from collections.abc import Sequence
from typing import Any

from didgen.augment.captions.llm import MAX_NEW_TOKENS, Question, chat_name, shown
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.images import encoded

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key; it is read from nowhere else."""

TIMEOUT = 120.0
"""Seconds that one request may take before it is tried again."""


class OpenAIChat:
    """A model asked over HTTP by the `openai` client, `concurrency` questions at once.

    Lost connections, overload and faults of the server are tried again `retries` times, at growing
    distances or when the server says. A server that takes no schema is asked without.
    """

    def __init__(
        self, model: str, base_url: str | None = None, concurrency: int = 8, retries: int = 5
    ) -> None:
        try:
            import openai
        except ImportError:
            raise DidgenError(
                "The backend openai needs its client; install it with `pip install 'didgen[llm]'`."
            ) from None
        self._openai = openai
        # Servers of one's own mostly want no key, but the client wants one.
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=os.environ.get(KEY) or "none",
            max_retries=retries,
            timeout=TIMEOUT,
        )
        self._model = model
        self.name = chat_name("openai", model)
        self.structured = True
        self.batch_size, self.concurrency = 1, concurrency
        self._answered = self._filled = self._doubted = False

    def ask(self, questions: Sequence[Question]) -> list[str | None]:
        """Ask one question after the other; see `Chat`."""
        return [self._ask(question) for question in questions]

    def _ask(self, question: Question) -> str | None:
        schema: dict[str, Any] = {}
        if question.schema is not None:
            form = {
                "name": question.schema.__name__,
                "schema": question.schema.model_json_schema(),
                "strict": True,
            }
            schema["response_format"] = {"type": "json_schema", "json_schema": form}
        try:
            completion = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": _content(question)}],
                max_completion_tokens=MAX_NEW_TOKENS,
                **schema,
            )
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
            if question.schema is not None:
                self._doubted = True
            elif not self._answered:
                raise self._unusable(error) from None
            return None
        except self._openai.OpenAIError as error:
            raise self._unusable(error) from None
        self._answered = True
        if question.schema is not None:
            self._filled = True
        elif self._doubted and not self._filled:
            # It was the schema: a server that fills some has refused an image, not a schema.
            self.structured = False
        choices = completion.choices or []
        return choices[0].message.content if choices else None

    def _unusable(self, error: Exception) -> DidgenError:
        reason = in_short(error, 300)
        return DidgenError(
            f"The endpoint {self._client.base_url} does not answer for the model {self._model} "
            f"({reason}); finished captions are kept: mend the endpoint, --model, or {KEY} in the "
            "environment, and run the command again."
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _content(question: Question) -> Any:
    """The content of a message: plain text, or text and image as the protocol has them."""
    if question.image is None:
        return question.text
    data = base64.b64encode(encoded(shown(question.image), "JPEG", quality=90)).decode()
    return [
        {"type": "text", "text": question.text},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
    ]
