"""How words get into a model: tokenizers and vocabularies, word vectors, and the layers that read a sentence.

Not here: what a family makes of the words (`models`).
"""
