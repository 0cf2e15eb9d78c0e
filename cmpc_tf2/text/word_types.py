"""The parts that words play in a referring expression."""

import enum


class WordType(str, enum.Enum):
    """What a word does in a referring expression."""

    ENTITY = "entity"
    ATTRIBUTE = "attribute"
    RELATION = "relation"
    ACTION = "action"
    UNNECESSARY = "unnecessary"
