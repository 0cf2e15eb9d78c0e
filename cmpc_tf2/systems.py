"""The table of systems: every model that the project can train, load and convert.

Everything that depends on the available systems uses this table. It imports only the standard library; the modules of a
system are imported when they are needed.
"""

import dataclasses
import importlib


@dataclasses.dataclass(frozen=True)
class System:
    """A model that the commands know by name.

    Attributes:
        name: Name on the command line and in reports.
        registered_name: Name of its class in model files.
        model: Its class, as `module:name`.
        medium: `pictures`, `clips`, `grounding` (boxes in pictures) or `grounding_clips`; None for a part that other
            models start from.
        config: The class of its sizes, as `module:name`.
        recipe: Its training recipe, as `module:name`; None for a part that other models start from.
        other_recipes: Further ones by their name on the command line.
        conversion: Modules with a `FAMILY`, which maps the variables of the original's checkpoints to weights.
        samples: The class of the samples that it is trained on, as `module:name`; None for that of the medium.
        start_option: Option of `train` that takes its files, if it is a part.
    """

    name: str
    registered_name: str
    model: str
    medium: str | None = "pictures"
    config: str = "cmpc_tf2.models.config:DeepLabModelConfig"
    recipe: str | None = None
    other_recipes: dict[str, str] = dataclasses.field(default_factory=dict)
    conversion: tuple[str, ...] = ()
    samples: str | None = None
    start_option: str = "--backbone"

    @property
    def model_type(self) -> type:
        """Its class."""
        return import_object(self.model)

    @property
    def config_type(self) -> type:
        """The class of its sizes."""
        return import_object(self.config)

    @property
    def train_config_type(self) -> type:
        """The class that describes its training runs."""
        return import_object(_TRAIN_CONFIGS[self.medium])

    @property
    def recipes(self) -> dict[str, str]:
        """Its training recipes by their name on the command line, as `module:name`."""
        return {"original": self.recipe, **self.other_recipes} if self.recipe else {}

    def load_recipe(self, name: str = "original"):
        """One of its training recipes, a `recipes.recipe.Recipe`."""
        return import_object(self.recipes[name])

    @property
    def usage(self) -> str:
        """The commands that accept its model files, for messages."""
        return {
            "pictures": f"`python -m cmpc_tf2` (to train it: --model-name {self.name})",
            "clips": "`python -m cmpc_video_tf2`",
            "grounding": "`python -m cogrounding_tf2`",
            "grounding_clips": "`python -m cogrounding_tf2`",
            None: f"`python -m cmpc_tf2 train {self.start_option}`",
        }[self.medium]


def import_object(path: str):
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


# The classes that describe training runs, by medium, as `module:name`.
_TRAIN_CONFIGS = {
    "pictures": "cmpc_tf2.training.config:TrainConfig",
    "clips": "cmpc_video_tf2.config:VideoTrainConfig",
    "grounding": "cogrounding_tf2.config:GroundingTrainConfig",
    "grounding_clips": "cogrounding_tf2.config:CoGroundingTrainConfig",
}
_NAMES = "cmpc_tf2.conversion.names"
SYSTEMS = {
    system.name: system
    for system in (
        System(
            name="cmpc",
            registered_name="cmpc>CMPC",
            model="cmpc_tf2.models.cmpc.model:CMPC",
            config="cmpc_tf2.models.cmpc.config:CMPCConfig",
            recipe="cmpc_tf2.recipes.cmpc:CMPC",
            other_recipes={"masked": "cmpc_tf2.recipes.masked_passes:CMPC"},
            conversion=(f"{_NAMES}.cmpc",),
        ),
        System(
            name="cmpc_video",
            medium="clips",
            registered_name="cmpc_video>CMPCVideo",
            model="cmpc_video_tf2.models.cmpc_video:CMPCVideo",
            config="cmpc_video_tf2.config:CMPCVideoConfig",
            recipe="cmpc_video_tf2.recipe:CMPC_VIDEO",
            conversion=("cmpc_video_tf2.conversion",),
        ),
        System(
            name="rrn",
            registered_name="cmpc>RRN",
            model="cmpc_tf2.models.rrn.model:RRN",
            recipe="cmpc_tf2.recipes.cmpc:RRN",
            other_recipes={"masked": "cmpc_tf2.recipes.masked_passes:RRN"},
            conversion=(f"{_NAMES}.rrn",),
        ),
        System(
            name="rmi",
            registered_name="cmpc>RMI",
            model="cmpc_tf2.models.rmi.model:RMI",
            recipe="cmpc_tf2.recipes.cmpc:RMI",
            other_recipes={"masked": "cmpc_tf2.recipes.masked_passes:RMI"},
            conversion=(f"{_NAMES}.rmi",),
        ),
        System(
            name="lstm",
            registered_name="cmpc>LSTMBaseline",
            model="cmpc_tf2.models.lstm_baseline.model:LSTMBaseline",
            recipe="cmpc_tf2.recipes.cmpc:LSTM_BASELINE",
            other_recipes={"masked": "cmpc_tf2.recipes.masked_passes:LSTM_BASELINE"},
            conversion=(f"{_NAMES}.lstm_baseline",),
        ),
        System(
            name="maskris",
            registered_name="cmpc>MaskRIS",
            model="cmpc_tf2.models.maskris.model:MaskRIS",
            config="cmpc_tf2.models.maskris.config:MaskRISConfig",
            recipe="cmpc_tf2.recipes.maskris:MASKRIS",
            other_recipes={"caris": "cmpc_tf2.recipes.maskris:CARIS"},
            conversion=(f"{_NAMES}.maskris",),
        ),
        System(
            name="mattnet",
            registered_name="cmpc>MAttNet",
            model="cmpc_tf2.models.mattnet.model:MAttNet",
            config="cmpc_tf2.models.mattnet.config:MAttNetConfig",
            recipe="cmpc_tf2.recipes.mattnet:MATTNET",
            conversion=(f"{_NAMES}.mattnet",),
            samples="cmpc_tf2.data.objects:ObjectSample",
        ),
        System(
            name="cac",
            registered_name="cmpc>CAC",
            model="cmpc_tf2.models.cac.model:CAC",
            config="cmpc_tf2.models.cac.config:CACConfig",
            recipe="cmpc_tf2.recipes.cac.recipe:CAC",
            conversion=(f"{_NAMES}.cac",),
            samples="cmpc_tf2.data.objects:ObjectSample",
        ),
        System(
            name="sl_att",
            medium="grounding",
            registered_name="cogrounding>SLAtt",
            model="cogrounding_tf2.models.sl_att:SLAtt",
            config="cogrounding_tf2.config:GroundingConfig",
            recipe="cogrounding_tf2.recipe:SL_ATT",
            conversion=("cogrounding_tf2.conversion.image",),
        ),
        System(
            name="cg_sl_att",
            medium="grounding_clips",
            registered_name="cogrounding>CGSLAtt",
            model="cogrounding_tf2.models.cg_sl_att:CGSLAtt",
            config="cogrounding_tf2.config:CoGroundingConfig",
            recipe="cogrounding_tf2.recipe:CG_SL_ATT",
            conversion=("cogrounding_tf2.conversion.video",),
        ),
        System(
            name="backbone",
            medium=None,
            registered_name="cmpc>DeepLabResNet",
            model="cmpc_tf2.backbones.deeplab_resnet:DeepLabResNet",
            config="cmpc_tf2.backbones.config:DeepLabResNetConfig",
            # Checkpoints of CMPC and RRN use other names for it than those of RMI and the LSTM baseline.
            conversion=(f"{_NAMES}.backbone", f"{_NAMES}.deeplab"),
        ),
        System(
            name="i3d",
            medium=None,
            registered_name="cmpc>InceptionI3D",
            model="cmpc_tf2.backbones.i3d:InceptionI3D",
            config="cmpc_tf2.backbones.config:I3DConfig",
            conversion=(f"{_NAMES}.i3d",),
        ),
        System(
            name="swin",
            medium=None,
            registered_name="cmpc>SwinTransformer",
            model="cmpc_tf2.backbones.swin:SwinTransformer",
            config="cmpc_tf2.backbones.config:SwinConfig",
            conversion=(f"{_NAMES}.swin",),
        ),
        System(
            name="darknet",
            medium=None,
            registered_name="cmpc>DarkNet53",
            model="cmpc_tf2.backbones.darknet53:DarkNet53",
            config="cmpc_tf2.backbones.config:DarkNet53Config",
            conversion=(f"{_NAMES}.darknet",),
        ),
        System(
            name="mask_rcnn",
            medium=None,
            registered_name="cmpc>MaskRCNNC4",
            model="cmpc_tf2.models.mask_rcnn_c4.model:MaskRCNNC4",
            config="cmpc_tf2.models.mask_rcnn_c4.config:MaskRCNNC4Config",
            conversion=(f"{_NAMES}.mask_rcnn",),
        ),
        System(
            name="bert",
            medium=None,
            registered_name="cmpc>BertEncoder",
            model="cmpc_tf2.text.bert_encoder:BertEncoder",
            config="cmpc_tf2.text.config:BertConfig",
            conversion=(f"{_NAMES}.bert",),
            start_option="--bert",
        ),
    )
}


def systems_of(medium: str) -> dict[str, System]:
    """The systems of a medium by name, the default one first."""
    return {name: system for name, system in SYSTEMS.items() if system.medium == medium}


def find_system(registered_name: str) -> System | None:
    """The system whose class has a registered name; None if there is none."""
    return next((system for system in SYSTEMS.values() if system.registered_name == registered_name), None)
