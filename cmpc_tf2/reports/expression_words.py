"""The words by which expressions are grouped.

The classes follow the attributes of ReferItGame (Kazemzadeh et al., EMNLP 2014, section 5): colour, size, absolute
location, relation to another object; comparisons are its sizes and further properties in the comparative or
superlative. The colours are the eleven basic terms of Berlin and Kay ("Basic Color Terms", 1969) and usual words for
clothes and hair. The lists are our own; words that are as common in other senses, such as `light`, are left out.
"""

import re

# More than one word is a phrase. "left of", unlike "left", needs another object.
RELATION = """
above; across from; among; behind; below; beneath; beside; between; in front of; left of; near; next to; on top of;
over; right of; under; underneath
"""
COMPARISON = """
bigger; biggest; brighter; brightest; closer; closest; darker; darkest; farther; farthest; fatter; fattest; fewer;
fewest; fuller; fullest; further; furthest; heavier; heaviest; higher; highest; larger; largest; least; less; lighter;
lightest; longer; longest; lowest; more; most; narrower; narrowest; nearer; nearest; newer; newest; older; oldest;
shorter; shortest; skinnier; skinniest; smaller; smallest; taller; tallest; than; thicker; thickest; thinner; thinnest;
wider; widest; younger; youngest
"""
POSITION = """
1st; 2nd; 3rd; 4th; 5th; back; background; bottom; bottommost; center; centre; corner; edge; far; fifth; first;
foreground; fourth; front; last; left; leftmost; lft; lower; mid; middle; rear; right; rightmost; row; rt; second; side;
third; top; topmost; upper; uppermost
"""
COLOUR = """
beige; black; blond; blonde; blue; brown; brunette; gold; golden; gray; green; grey; maroon; navy; orange; pink; purple;
red; silver; tan; teal; turquoise; white; yellow
"""
# The first class of which an expression has a word is its class: from what needs most to what needs least.
CLASSES = {"relation": RELATION, "comparison": COMPARISON, "position": POSITION, "colour": COLOUR}
OTHER = "none of these"

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_PATTERNS = {
    name: re.compile(r" (?:" + "|".join(phrase.strip() for phrase in phrases.split(";")) + ") ")
    for name, phrases in CLASSES.items()
}


def split_words(expression: str) -> list[str]:
    """The words of an expression in lower case, without punctuation."""
    return _WORD.findall(expression.lower())


def class_of(expression: str) -> str:
    """The class of an expression: the first of `CLASSES` of which it has a word, or `OTHER`."""
    text = f" {' '.join(split_words(expression))} "
    return next((name for name, pattern in _PATTERNS.items() if pattern.search(text)), OTHER)
