"""From sentences to word features: tokenizers and vocabularies, word vectors, and the layers that read a sentence.

Not here: how a family uses the words (`models`).
"""
