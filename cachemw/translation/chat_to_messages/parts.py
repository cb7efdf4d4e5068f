"""Make the parts of a chat message the content blocks of Messages."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cachemw.translation.base import CannotSay
from cachemw.translation.chat_to_messages.reading import DROPPED, JsonMembers, Telling, items_in, object_in, text_in

_Reader = Callable[[JsonMembers, str, Telling], list[JsonMembers]]
Parts = Mapping[str, _Reader]
"""The types of parts that a message may have, and what reads each."""

PDF = "application/pdf"

_DATA_URL = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_IMAGES = {f"image/{name}": f"image/{name}" for name in ("jpeg", "png", "gif", "webp")} | {"image/jpg": "image/jpeg"}


def blocks_of(content: Any, member: str, parts: Parts, telling: Telling) -> list[JsonMembers]:
    """Return the blocks of a message's content, a text or parts of these types; of what is absent there are none."""
    if isinstance(content, str):
        return text_blocks(content, telling)
    blocks: list[JsonMembers] = []
    for at, value in enumerate(items_in(content, member)):
        where = f"{member}[{at}]"
        part = object_in(value, where)
        kind = text_in(part.get("type"), f"{where}.type")
        if kind not in parts:
            raise CannotSay(f"{where}.type", "Anthropic's API has no such part here")
        telling.tell_others(part, ("type", kind), "messages.content.")
        blocks += parts[kind](part, where, telling)
    return blocks


def text_blocks(text: str, telling: Telling) -> list[JsonMembers]:
    """Return the block of a text. An empty one says nothing; one of blanks says it, but Anthropic's API refuses it."""
    if text and text.isspace():
        telling.tell("messages.content", DROPPED)
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _text(part: JsonMembers, where: str, telling: Telling) -> list[JsonMembers]:
    return text_blocks(text_in(part.get("text"), f"{where}.text"), telling)


def refusal_blocks(text: str, telling: Telling) -> list[JsonMembers]:
    """Return what the model refused with as the text that it is to the other dialect."""
    if text:
        telling.tell("messages.refusal", "text")
    return text_blocks(text, telling)


def _refusal(part: JsonMembers, where: str, telling: Telling) -> list[JsonMembers]:
    return refusal_blocks(text_in(part.get("refusal"), f"{where}.refusal"), telling)


def _image(part: JsonMembers, where: str, telling: Telling) -> list[JsonMembers]:
    image = object_in(part.get("image_url"), f"{where}.image_url")
    url = text_in(image.get("url"), f"{where}.image_url.url")
    if image.get("detail") not in (None, "auto"):
        telling.tell("messages.content.image_url.detail", DROPPED)
    telling.tell_others(image, ("url", "detail"), "messages.content.image_url.")
    if _WEB_URL.match(url):
        return [{"type": "image", "source": {"type": "url", "url": url}}]
    media_type, data = _of_data_url(url)
    if media_type not in _IMAGES:
        raise CannotSay(f"{where}.image_url.url", "this has to be a web address, or a data URL of JPEG, PNG, GIF or WebP")
    return [{"type": "image", "source": {"type": "base64", "media_type": _IMAGES[media_type], "data": data}}]


def _file(part: JsonMembers, where: str, telling: Telling) -> list[JsonMembers]:
    file = object_in(part.get("file"), f"{where}.file")
    if file.get("file_id") is not None:
        raise CannotSay(f"{where}.file.file_id", "the file lies at another provider: send its data")
    media_type, data = _of_data_url(text_in(file.get("file_data"), f"{where}.file.file_data"))
    if media_type != PDF:
        raise CannotSay(f"{where}.file.file_data", "this has to be a data URL of a PDF document")
    telling.tell_others(file, ("file_data", "filename", "file_id"), "messages.content.file.")
    document: JsonMembers = {"type": "document", "source": {"type": "base64", "media_type": PDF, "data": data}}
    if file.get("filename") is not None:
        document["title"] = text_in(file["filename"], f"{where}.file.filename")
    return [document]


def _of_data_url(url: str) -> tuple[str, str]:
    """Return the media type of a data URL (RFC 2397) and its data, which is base64; nothing of what is none."""
    head = _DATA_URL.match(url)
    return (head[1].lower(), url[head.end() :]) if head else ("", "")


OF_SYSTEM: Parts = {"text": _text}
OF_ASSISTANT: Parts = {"text": _text, "refusal": _refusal}
OF_TOOL: Parts = {"text": _text, "image_url": _image}
OF_USER: Parts = {"text": _text, "image_url": _image, "file": _file}
