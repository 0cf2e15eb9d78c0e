"""How each system is trained: loss, optimizer, trained weights, schedule, augmentation.

Not here: the loop over steps, and what a run writes (`training`).
"""
