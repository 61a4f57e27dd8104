"""LaTeX in markdown as MathML, which browsers draw themselves: no script, no font and no request is needed."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from html import escape, unescape

from lab.report.site import sanitize

_MATH = re.compile(
    r"(?P<code>```.*?```|~~~.*?~~~|`[^`\n]+`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|\\\[(?P<bracket>.+?)\\\]"
    r"|(?P<environment>\\begin\{(?P<name>equation|align|aligned|gather|multline)\*?\}.+?\\end\{(?P=name)\*?\})"
    r"|\\\((?P<round>.+?)\\\)"
    r"|(?<![\\\w$])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\w$])",
    re.S,
)


def extract(text: str) -> tuple[str, list[str]]:
    """Markdown with its formulas replaced by marks, and the MathML of each mark; code is left alone."""
    formulas: list[str] = []

    def replace(match):
        if match["code"]:
            return match["code"]
        block = match["block"] or match["bracket"] or match["environment"]
        formulas.append(mathml(block or match["round"] or match["inline"], display=block is not None))
        return f"\x02{len(formulas) - 1}\x03"

    return _MATH.sub(replace, text.translate({2: None, 3: None})), formulas


def restore(html: str, formulas: list[str]) -> str:
    """Put the formulas back where their marks stand: in text, since :mod:`sanitize` leaves no mark in an attribute."""
    return re.sub(r"\x02(\d+)\x03", lambda match: formulas[int(match[1])], html)


@lru_cache(maxsize=4096)
def mathml(tex: str, display: bool = False) -> str:
    """One formula as MathML with its source as title; what cannot be read is shown as its source."""
    from latex2mathml import exceptions
    from latex2mathml.converter import convert

    unreadable = tuple(
        kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)
    )
    tex = tex.strip()
    try:
        body = convert(_simplify(tex), display="block" if display else "inline")
    except (*unreadable, LookupError, ValueError, TypeError, AttributeError, StopIteration):
        return f'<code class="tex">{escape(tex)}</code>'
    body = _TEXT.sub(
        lambda match: f"<{match[1]}{match[2]}>{escape(unescape(match[3]), quote=False)}</{match[1]}>", body
    )
    body = _VARIANT.sub(_letter, body).replace("negativethinmathspace", "-0.167em")
    body = sanitize.formula(body.replace("<math ", f'<math title="{escape(tex, quote=True)}" ', 1))
    return f'<div class="formula">{body}</div>' if display else body


_TEXT = re.compile(
    r"<(mi|mn|mo|ms|mtext)((?:\s[^<>]*)?)>(.*?)</\1>", re.S
)  # where the converter leaves characters as they are
_VARIANT = re.compile(r'<(mi|mn|mo) mathvariant="([a-z-]+)">([^<]+)</\1>')
_ALPHABETS = {
    "bold": "BOLD",
    "bold-italic": "BOLD ITALIC",
    "double-struck": "DOUBLE-STRUCK",
    "script": "SCRIPT",
    "fraktur": "FRAKTUR",
}
_ALPHABETS |= {
    "sans-serif": "SANS-SERIF",
    "monospace": "MONOSPACE",
    "bold-script": "BOLD SCRIPT",
    "bold-fraktur": "BOLD FRAKTUR",
}


def _letter(match):
    """Browsers read ``mathvariant="normal"`` only; the other alphabets are characters of their own."""
    element, variant, text = match.groups()
    character = unescape(text)
    if variant not in _ALPHABETS or len(character) != 1:
        return match[0]
    name = unicodedata.name(character, "")
    for kind in ("CAPITAL", "SMALL"):
        name = name.replace(f"LATIN {kind} LETTER", kind).replace(f"GREEK {kind} LETTER", kind)
    try:
        found = unicodedata.lookup(f"MATHEMATICAL {_ALPHABETS[variant]} {name}")
    except KeyError:
        return match[0]
    return f"<{element}>{found}</{element}>"


def _simplify(tex):
    tex = re.sub(r"\\(d|t)frac", r"\\frac", tex)
    tex = re.sub(r"\\begin\{(equation|gather|multline)\*?\}(.*?)\\end\{\1\*?\}", r"\2", tex, flags=re.S)
    tex = re.sub(r"\\(begin|end)\{(align|aligned)\*?\}", r"\\\1{align*}", tex)
    tex = re.sub(r"\\label\{[^}]*\}|\\nonumber|\\notag", "", tex)
    return tex.replace(r"\lVert", r"\|").replace(r"\rVert", r"\|").replace(r"\lvert", "|").replace(r"\rvert", "|")
