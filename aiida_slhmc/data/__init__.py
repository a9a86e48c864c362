"""AiiDA data types: the model, labelled frames, and the dataset that grows by chunks."""

from .dataset import DatasetData
from .frames import FramesData
from .model import MaceModelData

__all__ = ["DatasetData", "FramesData", "MaceModelData"]
