"""Networks that turn a picture into feature maps, behind the interface of `backbone.Backbone`.

Not here: what a model makes of the maps (`models`), and how weights are read (`conversion`).
"""
