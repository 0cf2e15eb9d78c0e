"""State dicts of PyTorch with random values, for tests."""

import numpy as np

from cmpc_tf2.conversion.names.maskris import optimizer_groups


def random_state(pairs, shapes: dict[str, tuple], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A state dict of the parameters of a converter's pairs; `shapes` are those of the weights by their path."""
    axes = {"linear": (1, 0), "conv": (3, 2, 0, 1)}
    values = {pair.torch: rng.normal(size=shapes[pair.keras]).astype("float32") for pair in pairs}
    return {
        pair.torch: np.ascontiguousarray(values[pair.torch].transpose(axes.get(pair.transform)))
        if pair.transform in axes
        else values[pair.torch]
        for pair in pairs
    }


def adamw_state(parameters: dict[str, np.ndarray], step: int, rng: np.random.Generator) -> tuple[dict, list[str]]:
    """The state of AdamW of a MaskRIS, and the names of the parameters in its order."""
    groups = optimizer_groups(list(parameters))
    names = [name for group in groups for name in group]
    state = {
        index: {
            "step": step,
            "exp_avg": rng.normal(size=parameters[name].shape).astype("float32"),
            "exp_avg_sq": rng.random(parameters[name].shape).astype("float32"),
        }
        for index, name in enumerate(names)
    }
    ends = np.cumsum([len(group) for group in groups]).tolist()
    indices = [list(range(start, end)) for start, end in zip([0, *ends], ends, strict=False)]
    return {"state": state, "param_groups": [{"lr": 0.1, "params": group} for group in indices]}, names
