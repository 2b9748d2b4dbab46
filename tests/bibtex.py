"""A small reader of BibTeX that knows nothing of metashot: braces balance, and entries are what stands between them."""


def parsed(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Key -> (kind, fields). Raises ValueError where braces do not balance, or a key or field is given twice."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    place = 0
    while (start := text.find("@", place)) >= 0:
        opening = text.index("{", start)
        place = _closing(text, opening) + 1
        key, *fields = _split(text[opening + 1 : place - 1])
        if key in found or not key.isidentifier():
            raise ValueError(f"key {key!r} is no word, or given twice")
        pairs = [(name.strip(), value.strip()) for name, _, value in (field.partition("=") for field in fields)]
        if len(dict(pairs)) != len(pairs) or not all(value[:1] == "{" and value[-1:] == "}" for _, value in pairs):
            raise ValueError(f"{key}: a field twice, or one without braces")
        found[key] = (text[start + 1 : opening], {name: value[1:-1] for name, value in pairs})
    return found


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place
    raise ValueError(f"the brace at {opening} is not closed")


def _split(body: str) -> list[str]:
    """At commas outside braces."""
    parts, depth = [""], 0
    for letter in body:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
