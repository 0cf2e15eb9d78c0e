"""The models of pictures, by the names that `train --model-name` takes."""

from cmpc_tf2.models.cmpc import CMPC
from cmpc_tf2.models.lstm_baseline import LSTMBaseline
from cmpc_tf2.models.rmi import RMI
from cmpc_tf2.models.rrn import RRN

IMAGE_MODELS = {"cmpc": CMPC, "rrn": RRN, "rmi": RMI, "lstm": LSTMBaseline}
