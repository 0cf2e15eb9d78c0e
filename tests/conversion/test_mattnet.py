"""Checkpoints of MAttNet: whole modules of PyTorch 0.2, written by Python 2, and state dicts."""

import collections

import numpy as np
import pytest

from cmpc_tf2.conversion.names.mattnet import FAMILY, infer_config, mattnet_pairs
from cmpc_tf2.conversion.pytorch import convert, convert_back
from cmpc_tf2.conversion.torch_checkpoint import TorchCheckpoint
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.systems import SYSTEMS, System
from mattnet_original import TINY, network_inputs, read_golden
from torch_files import OldCall, OldObject, OldPickle, number, old_text
from twostage_original import read_manifest, state_by_rule

CLASSES = {
    "": "layers.joint_match.JointMatching",
    "rnn_encoder": "layers.lang_encoder.RNNEncoder",
    "rnn_encoder.embedding": "torch.nn.modules.sparse.Embedding",
    "rnn_encoder.rnn": "torch.nn.modules.rnn.LSTM",
    "sub_attn": "layers.lang_encoder.PhraseAttention",
    "loc_attn": "layers.lang_encoder.PhraseAttention",
    "rel_attn": "layers.lang_encoder.PhraseAttention",
    "sub_encoder": "layers.visual_encoder.SubjectEncoder",
    "loc_encoder": "layers.visual_encoder.LocationEncoder",
    "rel_encoder": "layers.visual_encoder.RelationEncoder",
    "sub_matching": "layers.joint_match.Matching",
    "loc_matching": "layers.joint_match.Matching",
    "rel_matching": "layers.joint_match.RelationMatching",
}
VECTOR = np.arange(3, dtype=np.float32)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """MAttNet's network as a system: the widths of the goldens are those of no detector."""
    system = System(
        name="mattnet",
        registered_name="cmpc>MatchingNetwork",
        model="cmpc_tf2.models.mattnet.matching_network:MatchingNetwork",
        config="cmpc_tf2.models.mattnet.config:MAttNetConfig",
        medium=None,
        conversion=("cmpc_tf2.conversion.names.mattnet",),
    )
    monkeypatch.setitem(SYSTEMS, system.name, system)


@pytest.fixture
def write(tmp_path):
    def write(content: bytes, name: str = "mrcn_cmr_with_st.pth") -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def class_of(path: str) -> str:
    if path in CLASSES:
        return CLASSES[path]
    if "_normalizer" in path:
        return "layers.visual_encoder.Normalize_Scale"
    if path.endswith(("mlp", "_fuse", "emb_fc")):
        return "torch.nn.modules.container.Sequential"
    is_norm = path.endswith((".1", ".5")) and "attn_fuse" not in path
    return f"torch.nn.modules.{'batchnorm.BatchNorm1d' if is_norm else 'linear.Linear'}"


def as_object(pickle: OldPickle, state: dict[str, np.ndarray], path: str = "") -> OldObject:
    """The module of a state dict, with what PyTorch keeps in modules of its classes beside tensors."""
    prefix = f"{path}." if path else ""
    inside = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    parts = list(dict.fromkeys(name.partition(".")[0] for name in inside if "." in name))
    own = {name: state[prefix + name] for name in inside if "." not in name}
    module = OldObject(class_of(path))
    attributes = module.attributes
    attributes["_modules"] = collections.OrderedDict((n, as_object(pickle, state, prefix + n)) for n in parts)
    buffers = [name for name in own if name.startswith("running_")]
    attributes["_buffers"] = collections.OrderedDict((name, own[name]) for name in buffers)
    parameters = [(name, pickle.parameter(value)) for name, value in own.items() if name not in buffers]
    attributes["_parameters"] = collections.OrderedDict(parameters)
    if class_of(path).endswith("LSTM"):
        saved = OldObject("torch.backends.cudnn.rnn.Unserializable")
        unsaved = pickle.module_class(saved.name) + b")\x81" + old_text("<unserializable>") + b"b"
        attributes |= {"mode": "LSTM", "dropout": 0.2, "_data_ptrs": [2**30], "dropout_state": {"desc_0": unsaved}}
        attributes |= {"_all_weights": [[name for name in own if not name.endswith("reverse")]], "bias": True}
    return module


def in_one_storage(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with the weights of the LSTM in one storage, as cuDNN wants them."""
    names = [name for name in state if name.startswith("rnn_encoder.rnn.")]
    flat, views, start = np.concatenate([state[name].ravel() for name in names]), {}, 0
    for name in names:
        views[name] = np.ndarray(state[name].shape, flat.dtype, flat, start * flat.itemsize)
        start += state[name].size
    return {**state, **views}


def released(state: dict[str, np.ndarray]) -> bytes:
    """A file as the authors' script saves it."""
    pickle = OldPickle()
    options = {"id": "mrcn_cmr_with_st", "learning_rate": 4e-4, "num_cxt": 5, "start_from": None, "gpuid": 0}
    return pickle.file({"model": as_object(pickle, in_one_storage(state)), "opt": options})


def scores_of(network) -> np.ndarray:
    encoded = network.encode(network_inputs(13))
    return np.asarray(network.decode(encoded, read_golden()["labels"][10:11])["scores"])[0]


def test_a_released_model(write, tmp_path, parity):
    state, output = state_by_rule("mattnet_tiny"), tmp_path / "m.keras"
    path = write(released(state))
    checkpoint = TorchCheckpoint(path)
    assert list(checkpoint.tensors) == list(state) and len(state) == 115
    for name, value in state.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], value)
    report = convert(path, str(output))
    assert (report["model"], report["config"], report["assumed"]) == (
        "mattnet", TINY.to_dict(), ["max_words", "contexts"],
    )  # fmt: skip
    assert {entry["torch"] for entry in report["converted"]} == state.keys() and report["ignored"] == []
    network = load_model(output)
    assert type(network) is MatchingNetwork
    parity.within("MAttNet, converted: scores", scores_of(network), read_golden()["2/scores"], 1e-6)


def test_there_and_back(write, write_torch, tmp_path):
    state = state_by_rule("mattnet_tiny")
    counts = {name.replace("running_var", "num_batches_tracked"): np.array(3) for name in state
              if name.endswith("running_var")}  # fmt: skip
    report = convert(write_torch({"model": {**state, **counts}}), str(tmp_path / "m.keras"))
    assert {entry["torch"] for entry in report["ignored"]} == counts.keys() and len(counts) == 13
    assert convert_back(str(tmp_path / "m.keras"), str(tmp_path / "back.pth")) == 115
    back = read_torch_file(tmp_path / "back.pth")
    assert back["sizes"] == TINY.to_dict() and back["model"].keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back["model"][name], value)
    report = convert(str(tmp_path / "back.pth"), str(tmp_path / "again.keras"))
    assert report["assumed"] == []


def test_sizes():
    assert infer_config(read_manifest("mattnet_full")) == MAttNetConfig()
    assert infer_config(read_manifest("mattnet_tiny")) == TINY
    shapes = {**read_manifest("mattnet_full"), "rnn_encoder.embedding.weight": (3349, 512)}
    assert infer_config(shapes) == MAttNetConfig(vocabulary_size=3349, max_words=20)  # RefCOCOg.
    assert FAMILY.fits(read_manifest("mattnet_tiny")) and not FAMILY.fits(["resnet.conv1.weight"])
    pairs = mattnet_pairs(TINY)
    assert len({pair.torch for pair in pairs}) == 115 and len({pair.keras for pair in pairs}) == 116


def test_every_misfit_is_listed(write, tmp_path):
    state = state_by_rule("mattnet_tiny")
    del state["weight_fc.bias"]
    state["novelty"] = VECTOR
    state["loc_encoder.fc.weight"] = np.zeros((28, 31), np.float32)
    state["sub_encoder.attn_fuse.0.weight"] = np.zeros((28, 60), np.float32)
    path, before = write(released(state)), sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as failure:
        convert(path, str(tmp_path / "m.keras"))
    for words in (
        "1 missing, 1 unexpected, 2 of another shape); nothing was written",
        "missing: weight_fc.bias",
        "unexpected: novelty",
        "wrong shape: loc_encoder.fc.weight is [28, 31], expected [28, 30]",
        "wrong shape: sub_encoder.attn_fuse.0.weight is [28, 60], expected [28, 66]",
    ):
        assert words in str(failure.value)
    assert sorted(tmp_path.iterdir()) == before


def assert_refused(path: str, *expected: str):
    with pytest.raises(InputError) as failure:
        TorchCheckpoint(path)
    message = str(failure.value)
    for words in (path, *expected):
        assert words in message
    assert "\n" not in message


def test_whole_modules_are_read_as_models_only(write):
    with pytest.raises(InputError, match=r"names layers\.joint_match\.JointMatching; only tensors, numbers"):
        read_torch_file(write(released(state_by_rule("mattnet_tiny"))))


@pytest.mark.parametrize(
    "name",
    ["os.system", "torch.nnx.Linear", "layersx.Evil", "layers", "torch.hub.load", "torch.backends.cudnn.rnn.other",
     "torch.utils.data.DataLoader", "__builtin__.eval", "subprocess.Popen"],
)  # fmt: skip
def test_other_classes_are_refused_by_name(name, write):
    name = name if "." in name else f".{name}"
    for value in (
        OldObject(name),
        OldObject("layers.a.A", hook=OldCall(name, "true")),
        OldObject("layers.a.A", _modules={"a": OldObject(name)}),
    ):
        assert_refused(write(OldPickle().file({"model": value})), f"names {name}; only tensors, numbers, strings")


def test_nothing_is_executed(write):
    """Classes of modules are stubs: they take no arguments."""
    for name in ("torch.nn.utils.convert_parameters._run", "layers.evil.Evil", "layers.os.system"):
        value = OldObject("layers.a.A", x=OldCall(name, "true"))
        assert_refused(write(OldPickle().file({"model": value})), "is damaged or cut off")
    persistent = b"(" + old_text("module") + old_text("os.system") + b"NNtQ"
    assert_refused(write(OldPickle().file({"model": persistent})), "is damaged or cut off")


@pytest.mark.parametrize(
    "attributes, words",
    [
        ({"_parameters": []}, "the model is no module with _parameters"),
        ({"_buffers": {1: VECTOR}}, "the model is no module with _buffers"),
        ({"_modules": None}, "the model is no module with _modules"),
        ({"_modules": {"a\nb": 3}}, r"'a\nb' is no module with _parameters"),
        ({"_parameters": {"a": 3}}, "has a int, not a tensor, for 'a'"),
        ({"_parameters": {"a\nb": OldObject("layers.a.A")}}, r"has a Module, not a tensor, for 'a\nb'"),
        ({"_parameters": {"a": VECTOR}, "_buffers": {"a": VECTOR}}, "has two tensors for 'a'"),
        ({"_modules": {"x" * 2000: OldObject("layers.a.A")}}, "names of more than 1000 characters"),
        ({}, "found 0 tensors"),
    ],
)
def test_modules_of_another_form(attributes, words, write):
    assert_refused(write(OldPickle().file({"model": OldObject("layers.a.A", **attributes)})), words)


def test_parameters_that_are_left_out(write):
    module = OldObject("layers.a.A", _parameters={"bias": None, "weight": VECTOR}, _modules={"dropout": None})
    assert list(TorchCheckpoint(write(OldPickle().file({"model": module}))).tensors) == ["weight"]


def test_modules_within_themselves_and_in_many_others(write):
    def module(content: bytes, put: bytes = b"") -> bytes:
        """A module whose other modules are the content of a dict."""
        empty = b"".join(old_text(key) + b"}" for key in ("_parameters", "_buffers"))
        return b"clayers.a\nA\n)\x81" + put + b"}(" + empty + old_text("_modules") + b"}(" + content + b"uub"

    itself = module(old_text("a") + b"h\x00", put=b"q\x00")
    assert_refused(write(OldPickle().file({"model": itself})), "holds a Module that contains itself")
    # Each is twice in the next: as a tree, 2^40 of them.
    nested = module(b"")
    for level in range(40):
        nested = module(old_text("a") + nested + b"q" + bytes([level]) + old_text("b") + b"h" + bytes([level]))
    assert_refused(write(OldPickle().file({"model": nested})), "holds more than 10000 modules")


def test_a_legacy_file_of_tensors_on_a_gpu(write):
    """A state dict of PyTorch 0.2, as the detector's."""
    path = write(OldPickle().file(collections.OrderedDict([("a", VECTOR), ("b", VECTOR.astype("float64"))])))
    found = read_torch_file(path)
    np.testing.assert_array_equal(found["a"], VECTOR)
    assert found["b"].dtype == np.float64 and found["a"].dtype == np.float32


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.999])
def test_truncated_files(part, write):
    content = released(state_by_rule("mattnet_tiny"))
    assert_refused(write(content[: int(part * len(content))]), "")


def test_strings_of_python_2(write):
    """Short and long ones, with any bytes, and numbers of either kind."""
    content = {"short": "a\xe9", "long": "\xff" * 300, "line": b"S'it\\'s'\n", "large": number(2**70), "a": VECTOR}
    found = read_torch_file(write(OldPickle().file(content)))
    assert found["short"] == "a\xe9" and found["long"] == "\xff" * 300
    assert found["line"] == "it's" and found["large"] == 2**70
