"""Language models behind an OpenAI-compatible endpoint.

Notable choices:
- The body of an answer is read here, not by the client: what is no completion becomes one sentence.
- No redirect is followed: photographs go to the address that was named, and to no other.
- The key, and a password in the address, are in no message and in no file.
"""

import base64
import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ValidationError

from didgen.augment.captions.answers import Unfit
from didgen.augment.captions.llm import MAX_NEW_TOKENS, Question, chat_name, shown
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.images import encoded

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key; it is read from nowhere else."""

ADDRESS = "OPENAI_BASE_URL"
"""The environment variable that holds the address, if no option does."""

TIMEOUT = 120.0
"""Seconds that one request may take before it is tried again."""

SHOWN = 300
"""Characters of the longest reason that is passed on from an endpoint."""


class NoCompletion(ValueError):
    """A body of status 200 that is no chat completion."""


class _Message(BaseModel):
    content: Any = None


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: Any = None


class _Completion(BaseModel):
    choices: list[_Choice] | None = None
    error: Any = None


def read_answer(body: bytes) -> str | Unfit:
    """What a body of status 200 answers; `NoCompletion` where it is none of the protocol."""
    if not body.strip():
        raise NoCompletion("status 200 without a body")
    if body.lstrip()[:1] == b"<":
        raise NoCompletion("status 200 with an HTML page; an address mostly ends in /v1")
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        torn = any(fault["type"] == "json_invalid" for fault in error.errors())
        what = "torn JSON, or none" if torn else "JSON that is no chat completion"
        raise NoCompletion(f"status 200 with {what}") from None
    if completion.error:
        raise NoCompletion(_message_of(completion.error))
    if completion.choices is None:
        raise NoCompletion("status 200 with JSON that is no chat completion")
    message = completion.choices[0].message if completion.choices else None
    finish = completion.choices[0].finish_reason if completion.choices else None
    text = "" if message is None else _text(message.content)
    if finish == "content_filter" or not text:
        return Unfit("refused")
    return Unfit("cut off in the middle", text) if finish == "length" else text


def _text(content: Any) -> str:
    """The text of a message: a string, or a list of parts of which some are text."""
    match content:
        case str():
            return content
        case list():
            return "".join(map(_text, content))
        case {"text": str() as text}:
            return text
    return ""


def _message_of(error: Any) -> str:
    """What an endpoint says of a fault, in whatever form."""
    match error:
        case {"message": str() as message} | {"error": {"message": str() as message}}:
            return message
        case {"error": str() as message} | {"detail": str() as message} | (str() as message):
            page = message.lstrip().startswith("<")
            return "an HTML page" if page else message
    return "no reason given"


def shown_address(address: str) -> str:
    """An address without user, password, query and fragment; a DidgenError if it is none."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    bare = re.fullmatch(r"[\x21-\x7e]+", address) and host
    if not bare or parts.scheme not in ("http", "https"):
        raise DidgenError(
            f"The address of the endpoint, --base-url or {ADDRESS}, is no http or https URL; give "
            "one like http://localhost:8000/v1."
        )
    name = f"[{host}]" if ":" in str(host) else host
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{parts.path}"


def _key() -> str:
    """The key from the environment; a DidgenError, which does not show it, if it can be none."""
    key = os.environ.get(KEY, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise DidgenError(
            f"{KEY} holds a space, a line break or a letter that is not ASCII, as no key does; set "
            "it again."
        )
    # Servers of one's own mostly want no key, but the client wants one.
    return key or "none"


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
        address = base_url or os.environ.get(ADDRESS) or "https://api.openai.com/v1"
        self._address, key = shown_address(address), _key()
        parts = urlsplit(address)
        secrets = {key, parts.password or "", unquote(parts.password or ""), parts.query}
        self._secrets = sorted(secrets - {"", "none"}, key=len, reverse=True)
        self._client = openai.OpenAI(
            base_url=address,
            api_key=key,
            max_retries=retries,
            timeout=TIMEOUT,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        self._model = model
        self.name = chat_name("openai", model)
        self.structured = True
        self.batch_size, self.concurrency = 1, concurrency
        self._answered = self._filled = self._doubted = False

    def ask(self, questions: Sequence[Question]) -> list[str | Unfit]:
        """Ask one question after the other; see `Chat`."""
        return [self._ask(question) for question in questions]

    def _ask(self, question: Question) -> str | Unfit:
        options: dict[str, Any] = {}
        if question.schema is not None:
            form = {
                "name": question.schema.__name__,
                "schema": question.schema.model_json_schema(),
                "strict": True,
            }
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        if question.seed is not None:
            # Some endpoints take no seed, but all sample at this temperature.
            options["temperature"] = 1.0
        try:
            response = self._client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=[{"role": "user", "content": _content(question)}],
                max_completion_tokens=MAX_NEW_TOKENS,
                **options,
            )
            answer = read_answer(response.http_response.content)
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
            if question.schema is not None:
                self._doubted = True
            elif not self._answered:
                raise self._unusable(error) from None
            return Unfit("refused")
        except (self._openai.OpenAIError, NoCompletion, UnicodeError) as error:
            raise self._unusable(error) from None
        self._answered = True
        if question.schema is not None:
            self._filled = True
        elif self._doubted and not self._filled:
            # It was the schema: a server that fills some has refused an image, not a schema.
            self.structured = False
        return answer

    def _unusable(self, error: Exception) -> DidgenError:
        return DidgenError(
            f"The endpoint {self._address} does not answer for the model {self._model} "
            f"({self._reason(error)}); finished captions are kept: mend the endpoint, --base-url, "
            f"--model, or {KEY} in the environment, and run the command again."
        )

    def _reason(self, error: Exception) -> str:
        """Why a request failed, in short, without a secret."""
        if isinstance(error, self._openai.APITimeoutError):
            return f"no answer within {TIMEOUT:g} seconds"
        reason = in_short(error, 10 * SHOWN)
        if isinstance(error, self._openai.APIStatusError):
            status = error.status_code
            location = error.response.headers.get("location")
            if location is not None and 300 <= status < 400:
                return f"status {status}: it redirects{_elsewhere(location)}, where nothing is sent"
            reason = f"status {status}: {_message_of(error.body or error.response.text)}"
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        reason = re.sub(r"//[^/@\s]+@", "//", reason)
        return " ".join(reason.split())[:SHOWN].rstrip(".")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _elsewhere(location: str) -> str:
    """Where a redirect leads, if that can be shown."""
    try:
        return f" to {shown_address(location)}"
    except DidgenError:
        return ""


def _content(question: Question) -> Any:
    """The content of a message: plain text, or text and image as the protocol has them."""
    if question.image is None:
        return question.text
    data = base64.b64encode(encoded(shown(question.image), "JPEG", quality=90)).decode()
    return [
        {"type": "text", "text": question.text},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
    ]
