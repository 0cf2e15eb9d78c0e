"""Types of words in referring expressions."""

import enum


class WordType(str, enum.Enum):
    """The role of a word in a referring expression."""

    ENTITY = "entity"
    ATTRIBUTE = "attribute"
    RELATION = "relation"
    ACTION = "action"
    UNNECESSARY = "unnecessary"
