"""HTML of a notebook made harmless: only listed elements, attributes, addresses and declarations stay.

One parser reads the HTML as browsers do (nh3, which is ammonia on html5ever) and writes it anew, so that nothing is decided
by looking at text. Vector graphics become pictures, in which no script runs; style sheets, such as those of a pandas
``Styler``, are read by tinycss2 and written anew for the outputs alone.
"""

from __future__ import annotations

import base64
import re
from functools import cache

import nh3
import tinycss2

from lab.report.store.redaction import scrub

PREFIX = "note-"  # before every id that a notebook gives, so that it stands for no part of the page itself
IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".svg": "svg+xml"}

_PHRASE = set(
    "abbr b bdi bdo br cite code del dfn em i ins kbd mark q rp rt ruby s samp small span strong sub sup u var".split()
)
_ELEMENTS = _PHRASE | set(
    "a audio blockquote caption center col colgroup dd details div dl dt figcaption figure font h1 h2 h3 h4 h5 h6 hr img li meter "
    "ol p pre progress section source strike summary table tbody td tfoot th thead time tr tt ul wbr".split()
)
_DROPPED = set(
    "script style title template noscript iframe noembed noframes object embed math svg xmp plaintext".split()
)
_ATTRIBUTES = {
    "*": {"aria-hidden", "aria-label", "class", "dir", "id", "lang", "role", "style", "title"},
    "a": {"href"},
    "audio": {"controls", "src"},
    "source": {"src", "type"},
    "col": {"span", "width"},
    "details": {"open"},
    "font": {"color", "size"},
    "img": {"alt", "height", "src", "width"},
    "li": {"value"},
    "meter": {"high", "low", "max", "min", "optimum", "value"},
    "ol": {"reversed", "start", "type"},
    "progress": {"max", "value"},
    "table": {"align", "border", "cellpadding", "cellspacing", "width"},
    "td": {"align", "colspan", "headers", "rowspan", "valign", "width"},
    "th": {"align", "colspan", "headers", "rowspan", "scope", "valign", "width"},
    "time": {"datetime"},
}
_MATHEMATICS = set(
    "math menclose merror mfenced mfrac mi mlabeledtr mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms "
    "mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none".split()
)
_MATHEMATICAL = set(
    "accent accentunder align columnalign columnlines columnspacing columnspan depth display displaystyle fence form frame height "
    "largeop linethickness lspace mathbackground mathcolor mathsize mathvariant maxsize minsize movablelimits notation rowalign "
    "rowlines rowspacing rowspan rspace scriptlevel separator stretchy symmetric title voffset width".split()
)
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}")
_SOUND = re.compile(r"data:audio/(?:x-)?wav;base64,[A-Za-z0-9+/]+={0,2}")
_SHEET = re.compile(r"<style\b[^>]*>(.*?)</style\s*>", re.S | re.I)
_GRAPHIC = re.compile(r"<svg\b(?:(?!<svg\b).)*?</svg\s*>", re.S | re.I)
_PROPERTIES = re.compile(
    r"(?:background|background-color|color|cursor|display|direction|float|clear|height|letter-spacing|line-height|opacity|"
    r"table-layout|vertical-align|visibility|white-space|width|word-break|word-spacing|overflow-wrap|hyphens|gap|row-gap|"
    r"column-gap|box-sizing|caption-side|empty-cells|order|object-fit|box-shadow|"
    r"(?:min|max)-(?:width|height)|(?:border|font|text|padding|margin|list-style|outline|overflow|flex|grid|align|justify)"
    r"(?:-[a-z-]+)?)"
)
_FUNCTIONS = set("rgb rgba hsl hsla calc min max clamp minmax repeat linear-gradient radial-gradient".split())
_SELECTING = set("nth-child nth-last-child nth-of-type nth-last-of-type not".split())


def clean(html: str) -> str:
    """``html`` with what only shows: text, tables, pictures and style; no script, frame, form or request."""
    sheets = "".join(_sheet(css) for css in _SHEET.findall(html))
    html = _GRAPHIC.sub(lambda match: _as_picture(match[0]), _SHEET.sub("", html))
    return sheets + _cleaner().clean(scrub(html))


def phrase(html: str) -> str:
    """``html`` of one line, such as a title: emphasis, code and the like; no link and no picture."""
    return _phrase_cleaner().clean(scrub(html))


def formula(mathml: str) -> str:
    """MathML with its elements and attributes alone."""
    return _formula_cleaner().clean(mathml)


def picture(kind: str, content: str) -> str:
    """The address ``data:image/...`` of a picture in base64, or an empty string for what is none."""
    address = f"data:{kind};base64,{''.join(content.split())}"
    return address if _PICTURE.fullmatch(address) else ""


def is_picture(address: str) -> bool:
    """Whether an address holds a picture itself and asks nobody for anything."""
    return _PICTURE.fullmatch(address) is not None


@cache
def _cleaner():
    return nh3.Cleaner(
        tags=_ELEMENTS, attributes=_ATTRIBUTES, clean_content_tags=_DROPPED, attribute_filter=_attribute, id_prefix=PREFIX,
        url_schemes={"http", "https", "mailto", "data"},
    )  # fmt: skip


@cache
def _phrase_cleaner():
    return nh3.Cleaner(tags=_PHRASE, attributes={}, clean_content_tags=_DROPPED, link_rel=None)


@cache
def _formula_cleaner():
    allowed = dict.fromkeys(_MATHEMATICS, _MATHEMATICAL)
    return nh3.Cleaner(tags=_MATHEMATICS, attributes=allowed, clean_content_tags=_DROPPED - {"math"}, link_rel=None)


def _attribute(element, name, value):
    if name == "href":
        return _link(value)
    if name == "src" and element in ("audio", "source"):
        return _sound(value)
    if name == "src":
        return (picture(*parts) or None) if (parts := _data(value)) else None
    if name == "style":
        return _declarations(tinycss2.parse_blocks_contents(value)) or None
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", value)


def _sound(value):
    """A WAV file that the address holds itself, or ``None``."""
    value = "".join(value.split())
    return value if _SOUND.fullmatch(value) else None


def _link(value):
    """An address that leads to a page or a place in this one, or ``None``."""
    value = value.strip(" \t\r\n\f")
    while (scrubbed := scrub(value)) != value:  # what is taken out must not bring a scheme to the front
        value = scrubbed
    if value.startswith("#"):
        return f"#{PREFIX}{value[1:].removeprefix(PREFIX)}"
    if _CONTROL.search(value) or "\\" in value or value.startswith("//"):
        return None
    scheme = _SCHEME.match(value)
    if scheme is None:
        return None if ":" in re.split(r"[/?#]", value)[0] else value
    return value if scheme[0].lower() in ("http:", "https:", "mailto:") else None


def _data(value):
    """``data:image/png;base64,...`` as ``("image/png", "...")``."""
    found = re.fullmatch(r"\s*data:([a-z/+-]+);base64,(.*)", value, re.S | re.I)
    return (found[1].lower(), found[2]) if found else None


def _as_picture(svg):
    """Vector graphics as the source of a picture: browsers draw it without scripts, frames and requests."""
    head = svg[: svg.index(">") + 1] if ">" in svg else svg
    if "xmlns=" not in head:
        svg = '<svg xmlns="http://www.w3.org/2000/svg"' + svg[4:]
    if "xlink:" in svg and "xmlns:xlink" not in head:
        svg = svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    label = re.search(r"<title[^>]*>([^<]*)</title>", svg, re.I)
    code = base64.b64encode(scrub(svg).encode("utf-8", "replace")).decode()
    return f'<img alt="{label[1].replace(chr(34), "") if label else "drawing"}" src="data:image/svg+xml;base64,{code}">'


def _sheet(css):
    """A style sheet for outputs alone: rules of listed properties, no at-rules, no addresses."""
    rules = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule":
            selectors, body = _selectors(rule.prelude), _declarations(tinycss2.parse_blocks_contents(rule.content))
            if selectors and body:
                rules.append(f"{selectors}{{{body}}}")
    text = "\n".join(rules)
    return f"<style>{text}</style>" if text and "<" not in text else ""


def _selectors(prelude):
    """Selectors below the outputs of the page, or an empty string where one of them is of another form."""
    parts, current = [], []
    for token in [*prelude, None]:
        if token is None or (token.type == "literal" and token.value == ","):
            text = tinycss2.serialize(current).strip()
            if not text or text[0] in "+~>":
                return ""
            parts.append(f":is(.output,.prose) {text}")
            current = []
        elif token.type == "hash":
            current.append(tinycss2.ast.HashToken(0, 0, f"{PREFIX}{token.value.removeprefix(PREFIX)}", True))
        elif (
            token.type == "function"
            and token.lower_name in _SELECTING
            or token.type in ("ident", "whitespace", "comment")
        ):
            current.append(token)
        elif token.type == "literal" and token.value in (".", ":", ">", "+", "~", "*"):
            current.append(token)
        else:
            return ""
    return ",".join(parts)


def _declarations(nodes):
    """The listed declarations among ``nodes``, as CSS."""
    kept = []
    for node in nodes:
        if node.type == "declaration" and _PROPERTIES.fullmatch(node.lower_name) and _is_harmless(node.value):
            text = tinycss2.serialize(node.value).strip()
            negative = node.lower_name.startswith(("margin", "outline")) and "-" in text
            if not negative and not re.search(r"[<>\\{}@;]", text):
                kept.append(f"{node.lower_name}:{text}{'!important' if node.important else ''}")
    return ";".join(kept)


def _is_harmless(tokens):
    for token in tokens:
        if token.type in ("url", "error", "string") and (token.type != "string" or "url" in token.value.lower()):
            return False
        if token.type == "function" and (token.lower_name not in _FUNCTIONS or not _is_harmless(token.arguments)):
            return False
        if token.type in ("() block", "[] block", "{} block") and not _is_harmless(token.content):
            return False
    return True
