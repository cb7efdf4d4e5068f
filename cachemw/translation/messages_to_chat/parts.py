"""Say the blocks that are parts of a message's content, text, images and documents, as chat completions have them."""

from typing import Any

from cachemw.translation.base import CannotSay
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat.reading import (
    Notes,
    list_at,
    object_at,
    switch_at,
    text_at,
    text_or_empty_at,
)

ChatPart = dict[str, Any]
"""One part of the content of a chat message."""

BlockAt = tuple[str, dict[str, Any]]
"""A block of a message's content, and the path to it."""

_TEXT = frozenset({"type", "text", "cache_control"})
_IMAGE = frozenset({"type", "source", "cache_control"})
_DOCUMENT = frozenset({"type", "source", "title", "context", "citations", "cache_control"})
_PDF = "application/pdf"
_NO_BLOCK = "the upstream has no blocks of this type"


def blocks_at(content: Any, path: str) -> list[BlockAt]:
    """Return the blocks of a content; a string is one of text."""
    if isinstance(content, str):
        return [(path, {"type": "text", "text": content})]
    return [
        (at, object_at(block, at)) for at, block in ((f"{path}.{n}", block) for n, block in enumerate(list_at(content, path)))
    ]


def texts_at(content: Any, path: str, notes: Notes) -> list[str]:
    """Return the texts of a content that is nothing else."""
    texts = []
    for at, block in blocks_at(content, path):
        if block.get("type") != "text":
            raise CannotSay(at, "only text can stand here")
        texts.append(text_of(block, at, notes))
    return texts


def text_of(block: dict[str, Any], path: str, notes: Notes) -> str:
    """Return the text of a block; what it cites cannot be said."""
    text = text_at(block.get("text"), f"{path}.text")
    others = {name: value for name, value in block.items() if value != []}  # as `citations` often are
    notes.tell_others(others, _TEXT, "messages.text.")
    return text


def content_of(parts: list[ChatPart]) -> str | list[ChatPart]:
    """Return parts as the content of a message: one text is a string."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def text_part(text: str) -> ChatPart:
    """Return a text as a part."""
    return {"type": "text", "text": text}


def part_of(block: dict[str, Any], path: str, row: ChatRow, notes: Notes) -> ChatPart:
    """Return a block of a user's turn as a part; those that it cannot be are refused."""
    match block.get("type"):
        case "text":
            return text_part(text_of(block, path, notes))
        case "image":
            return _image(block, path, row, notes)
        case "document":
            return _document(block, path, row, notes)
    raise CannotSay(path, _NO_BLOCK)


def _image(block: dict[str, Any], path: str, row: ChatRow, notes: Notes) -> ChatPart:
    if not row.images:
        raise CannotSay(path, "the model reads text only")
    notes.tell_others(block, _IMAGE, "messages.image.")
    source = object_at(block.get("source"), f"{path}.source")
    match source.get("type"):
        case "base64":
            url = _data_url(source, path)
        case "url":
            url = text_at(source.get("url"), f"{path}.source.url")
        case _:
            raise CannotSay(f"{path}.source", "only an image in base64, or at a URL, can be passed on")
    return {"type": "image_url", "image_url": {"url": url}}


def _data_url(source: dict[str, Any], path: str) -> str:
    media_type = text_at(source.get("media_type"), f"{path}.source.media_type")
    return f"data:{media_type};base64,{text_at(source.get('data'), f'{path}.source.data')}"


def _document(block: dict[str, Any], path: str, row: ChatRow, notes: Notes) -> ChatPart:
    notes.tell_others(block, _DOCUMENT, "messages.document.")
    if (citations := block.get("citations")) is not None:
        _refuse_citations(object_at(citations, f"{path}.citations"), path)
    title = text_or_empty_at(block.get("title"), f"{path}.title")
    context = text_or_empty_at(block.get("context"), f"{path}.context")
    source = object_at(block.get("source"), f"{path}.source")
    match source.get("type"):
        case "text":
            notes.tell("messages.document", "approximated")
            return text_part(text_at(source.get("data"), f"{path}.source.data"))
        case "base64" if row.documents and source.get("media_type") == _PDF:
            if context:
                notes.tell("messages.document.context", "dropped")
            file = {"filename": title or "document.pdf", "file_data": _data_url(source, path)}
            return {"type": "file", "file": file}
    raise CannotSay(f"{path}.source", "the upstream does not read documents of this kind")


def _refuse_citations(citations: dict[str, Any], path: str) -> None:
    if switch_at(citations.get("enabled"), f"{path}.citations.enabled"):
        raise CannotSay(f"{path}.citations", "the upstream cannot cite a document")
