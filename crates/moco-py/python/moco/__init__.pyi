from os import PathLike
from typing import Any, Optional, Sequence, Union

import numpy as np
from numpy.typing import NDArray

_Path = Union[str, PathLike[str]]
__version__: str

class MocoError(ValueError):
    """What a person can mend, in one sentence."""

class Encoder:
    """An image encoder that is no longer trained."""

    @property
    def view(self) -> str:
        """What is done to an image before it is encoded."""
    @property
    def dim(self) -> int:
        """Width of a feature."""
    @property
    def notes(self) -> list[str]:
        """What there is to say of how the weights were read."""
    def embed(
        self,
        images: Union[_Path, Sequence[_Path], NDArray[np.uint8]],
        feature: str = "backbone",
    ) -> NDArray[np.float32]:
        """Features, [N, F], of a data set by its path, of image files, or of pixels [N, H, W, 3].

        Raises MocoError if an image cannot be read.
        """
    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """The backbone's weights under torchvision's or timm's names; torch.from_numpy takes them."""

def load_encoder(
    source: _Path,
    *,
    layout: Optional[str] = None,
    network: Optional[str] = None,
    heads: Optional[int] = None,
    stem_padding: Optional[int] = None,
    view: Optional[str] = None,
    device: str = "cpu",
) -> Encoder:
    """The encoder of a run's folder, or weights of another program."""

def pretrain(
    data: _Path,
    out: _Path,
    *,
    method: Optional[str] = None,
    recipe: Optional[str] = None,
    backbone: Optional[str] = None,
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
    seed: Optional[int] = None,
    init: Optional[_Path] = None,
    settings: Optional[dict[str, Any]] = None,
    device: str = "cpu",
    threads: Optional[int] = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains an encoder and returns steps, whether it was stopped, and the last kNN accuracy.

    Ctrl-C saves the run, after which KeyboardInterrupt is raised; an existing run in `out` goes on.
    """

def doctor(path: _Path, *, threads: Optional[int] = None) -> dict[str, Any]:
    """What is in a data set, and what is wrong with it."""

def knn(
    train: NDArray[np.float32],
    train_labels: NDArray[np.integer[Any]],
    test: NDArray[np.float32],
    test_labels: NDArray[np.integer[Any]],
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Share of test rows that their weighted nearest training rows classify rightly, 0..=1."""
