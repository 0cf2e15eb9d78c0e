"""Networks that turn a picture into feature maps, behind the interface of `backbone.Backbone`.

Not here: how a model uses the maps (`models`), and how weights are converted (`conversion`).
"""
